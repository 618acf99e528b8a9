"""A job as it is stored: its states, the transitions between them, and the snapshots that reads return.

Every statement that changes a state makes a move of `TRANSITIONS`; the test suite installs the same table as a trigger
in the database, so that any other move fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

JobId = NewType("JobId", int)


class JobState(StrEnum):
    """The state of a job."""

    AWAITING = "awaiting"
    """Its parent job has not ended."""
    SCHEDULED = "scheduled"
    """Not due yet."""
    READY = "ready"
    """It waits for a free worker."""
    RUNNING = "running"
    """Claimed by a live process."""
    RETRYING = "retrying"
    """It failed, and is scheduled again."""
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    """Its attempts are used up, or the error is permanent: a person has to act."""
    CANCELLED = "cancelled"
    PARKED = "parked"
    """No process that can run it has claimed it yet, or its queue or task is paused; it is kept."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in ENDED


ENDED = frozenset({JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED})

_S = JobState
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    # The parent ended as the continuation requires, or otherwise, or the continuation was cancelled.
    _S.AWAITING: frozenset({_S.READY, _S.SCHEDULED, _S.CANCELLED}),
    _S.SCHEDULED: frozenset({_S.READY, _S.CANCELLED}),
    # Expired jobs are cancelled when they are to be claimed, and those of a paused task or queue are parked. Scheduled:
    # it was given a later time.
    _S.READY: frozenset({_S.RUNNING, _S.CANCELLED, _S.PARKED, _S.SCHEDULED}),
    # Back to ready: released at a stop, or its process died. Dead also by too many crashes.
    # Scheduled: it put itself off.
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.RETRYING, _S.DEAD, _S.CANCELLED, _S.READY, _S.PARKED, _S.SCHEDULED}),
    _S.RETRYING: frozenset({_S.READY, _S.CANCELLED}),
    _S.PARKED: frozenset({_S.RUNNING, _S.READY, _S.CANCELLED}),
    # Retried by hand; a continuation of a retried job waits again.
    _S.DEAD: frozenset({_S.READY}),
    _S.CANCELLED: frozenset({_S.READY, _S.AWAITING}),
    _S.SUCCEEDED: frozenset(),
}


class Trigger(StrEnum):
    """The end of the parent job that starts a continuation."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The parent is dead."""
    FINISHED = "finished"
    """Any end, including cancelled."""

    def fires_on(self, state: JobState) -> bool:
        """Whether a parent that ended in `state` starts the continuation."""
        if self is Trigger.FINISHED:
            return True
        return state is (JobState.SUCCEEDED if self is Trigger.SUCCESS else JobState.DEAD)


class Ending(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    """Its process died."""
    RELEASED = "released"
    """Its process stopped first; the attempt does not count."""
    PARKED = "parked"
    SNOOZED = "snoozed"
    """It put itself off; the attempt does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job that is over.

    Attributes:
        number: 1 for the first run.
        error: exception type and message, or why it crashed; None after a success.
        traceback: as text; None when there was none.
        server: the process that ran it.
    """

    number: int
    ending: Ending
    started_at: datetime
    finished_at: datetime
    error: str | None
    traceback: str | None
    server: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a job wrote with `current_job().log(...)`."""

    at: datetime
    attempt: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A snapshot of one stored job. Nothing here was unpickled, and no job code was imported to make it.

    Attributes:
        name: the function's registered name, `module:qualname` unless it was given another.
        arguments: the stored arguments as JSON text: a list of two, positional and by name.
        source: the source text of a function stored by value, for people to read.
        executor: "thread", "async" or "process".
        priority: higher is sooner, within a queue.
        run_at: when it is, or was, due.
        attempt: how many runs have been started and counted (a crash or a stop does not count).
        crashes: how many times its process died while it ran.
        error: the last error's type and message, why it was cancelled or put off, or what it needs.
        overdue: it ran longer than its timeout and has not ended.
        result: the stored result as JSON text; None while there is none.
        server: the process that runs it now.
        schedule: the recurring job that made it.
        progress: 0.0 to 1.0, as the job reported it.
        damaged: the attributes that have a stored value which cannot be shown: the row was edited by hand, or damaged.
            Such a moment is shown as "damaged", and such a state or trigger is not a member of its type.
    """

    id: JobId
    state: JobState
    name: str
    arguments: str
    source: str | None
    queue: str
    executor: str
    priority: int
    tags: tuple[str, ...]
    idempotency_key: str | None
    parent_id: JobId | None
    trigger: Trigger | None
    schedule: str | None
    created_at: datetime
    run_at: datetime
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    delete_at: datetime | None
    attempt: int
    crashes: int
    cancel_requested: bool
    overdue: bool
    server: int | None
    error: str | None
    result: str | None
    progress: float | None
    progress_note: str | None
    damaged: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with datetimes in ISO 8601, UTC."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name in self.__slots__
            for value in (getattr(self, name),)
        }

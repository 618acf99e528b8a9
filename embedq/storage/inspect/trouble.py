"""The overview: what is broken comes first. Everything here has a bound, whatever there is of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from embedq.job import Job, JobId, JobState
from embedq.storage.base import Transaction
from embedq.storage.inspect.glance import Count
from embedq.storage.inspect.processes import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Errors that are the same but for numbers and names; see `fingerprint`.

    Attributes:
        fingerprint: for `Search.error_group`.
        error: the newest in full.
        names: the functions, by name.
        count: of those that were looked at.
        last_hour: how many of them are of the last hour.
        example: the newest job with it.
    """

    fingerprint: str
    error: str
    names: tuple[str, ...]
    count: int
    last_hour: int
    first_seen: datetime
    last_seen: datetime
    example: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroups:
    """The most frequent first.

    Attributes:
        looked_at: how many errors were grouped: the newest, and not more when `capped`.
    """

    groups: list[ErrorGroup]
    looked_at: int
    capped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTrouble:
    """A recurring job that is late, or fails.

    Attributes:
        late_seconds: how long ago it should have fired; None when it is not late by more than a minute.
        error: why it could not fire, or the error of its last job; None when it is only late.
        job: its last job, when that is dead.
    """

    name: str
    task: str
    next_fire_at: datetime
    late_seconds: float | None
    error: str | None
    job: JobId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedNeed:
    """Jobs that no process can run.

    Attributes:
        needs: what a process must have, for example "task shop.mail:send".
    """

    needs: str
    count: Count
    oldest: datetime
    example: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueWait:
    """How long the oldest ready job of a queue has been due, in seconds."""

    queue: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is broken, worst first in each list; and how much there is of everything.

    Attributes:
        counts: jobs by state.
        waits: by queue, the longest first.
        failed_last_hour, failed_last_day: failed attempts, exact, from the counters.
        failures: failed attempts of the last day, also of jobs that went on to succeed.
        dead: dead letters by error, of the newest of them.
        silent: processes whose last heartbeat is older than the lease.
        overdue: runs that outlived their timeout and do not yield.
    """

    at: datetime
    counts: dict[JobState, Count]
    waits: list[QueueWait]
    failed_last_hour: int
    failed_last_day: int
    failures: ErrorGroups
    dead: ErrorGroups
    schedules: list[ScheduleTrouble]
    silent: list[Server]
    parked: list[ParkedNeed]
    overdue: list[Job]


def overview(tx: Transaction, *, now: int, lease: float) -> Overview:
    """Everything that somebody should look at.

    Args:
        lease: seconds without a heartbeat after which a process counts as silent.
    """
    raise NotImplementedError


def failures(tx: Transaction, *, now: int, seconds: float = 86_400) -> ErrorGroups:
    """Failed attempts of the last `seconds`, by error."""
    raise NotImplementedError


def dead_letters(tx: Transaction) -> ErrorGroups:
    """The newest dead letters by error."""
    raise NotImplementedError

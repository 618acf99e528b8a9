"""One job: its row, its attempts, what it said, and the jobs before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from embedq.clock import to_datetime
from embedq.errors import JobNotFoundError
from embedq.job import Attempt, Ending, Job, JobId, JobState, LogLine, Trigger
from embedq.storage.base import Transaction
from embedq.storage.inspect.rows import job_from_row


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Lines that a job wrote, oldest first.

    Attributes:
        next: a cursor for `after`: the lines that come later, also those that are not written yet.
        more: there are more already.
    """

    lines: list[LogLine]
    next: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A job in a family.

    Attributes:
        trigger: which end of the parent sets it off.
        generation: 0 for the job that was asked about, negative for its ancestors.
    """

    id: JobId
    name: str
    state: JobState
    parent_id: JobId | None
    trigger: Trigger | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The jobs before and after one: a tree, parents before their children.

    Attributes:
        complete: False when there are more ancestors or descendants than are given here.
    """

    members: list[Relative]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step in the life of a job.

    Attributes:
        what: "created", "due", "started", an ending ("succeeded", "failed", "timed out", "cancelled", "crashed",
            "parked"), "cancel requested", "cancelled", "expires" or "deleted" (the last two may lie ahead).
        attempt: for what belongs to one.
        detail: the error, for example.
    """

    at: datetime
    what: str
    attempt: int | None
    detail: str | None
    server: int | None


def log_page(tx: Transaction, job_id: int, *, after: int = 0, limit: int = 200) -> LogPage:
    """The lines behind a cursor; 0 is before the first."""
    raise NotImplementedError


def last_logs(tx: Transaction, job_id: int, *, limit: int = 200) -> LogPage:
    """The latest lines, and the cursor for those to come; `more` says that there are earlier ones."""
    raise NotImplementedError


def family(tx: Transaction, job_id: int) -> Family:
    """Its ancestors, up to 20, and its descendants, up to 100. JobNotFoundError if it is not there."""
    raise NotImplementedError


def timeline(tx: Transaction, job_id: int, *, now: int) -> list[Moment]:
    """What has happened to a job and when, as far as it is stored, in order. JobNotFoundError if it is not there."""
    raise NotImplementedError


def job(tx: Transaction, job_id: int) -> Job:
    """One job. JobNotFoundError if it is not there."""
    row = tx.one("job", (job_id,))
    if row is None:
        raise JobNotFoundError(f"no job {job_id}; it may have been pruned after its retention time")
    return job_from_row(row)


def attempts(tx: Transaction, job_id: int) -> list[Attempt]:
    """Every attempt that is over, oldest first; a success is the last."""
    found = [
        Attempt(
            number=number,
            ending=Ending(ending),
            started_at=to_datetime(started_at),
            finished_at=to_datetime(finished_at),
            error=error,
            traceback=traceback,
            server=server,
        )
        for number, ending, started_at, finished_at, error, traceback, server in tx.all("attempts", (job_id,))
    ]
    last = job(tx, job_id)
    if last.state is JobState.SUCCEEDED:
        assert last.started_at is not None
        assert last.finished_at is not None
        found.append(
            Attempt(
                number=last.attempt,
                ending=Ending.SUCCEEDED,
                started_at=last.started_at,
                finished_at=last.finished_at,
                error=None,
                traceback=None,
                server=None,
            )
        )
    return found


def logs(tx: Transaction, job_id: int) -> list[LogLine]:
    """What the job wrote, oldest first."""
    return [
        LogLine(at=to_datetime(at), attempt=attempt, message=text) for at, attempt, text in tx.all("logs", (job_id,))
    ]


def children(tx: Transaction, job_id: int) -> list[JobId]:
    """The jobs that continue this one."""
    return [JobId(child) for (child,) in tx.all("children", (job_id,))]


def outcome(tx: Transaction, job_id: int) -> tuple[JobState, str | None, str | None] | None:
    """State, stored result and error of a job; None if it is not there."""
    row = tx.one("outcome", (job_id,))
    return None if row is None else (JobState(row[0]), row[1], row[2])


def last_traceback(tx: Transaction, job_id: int) -> str | None:
    """The traceback of the last attempt that failed."""
    row = tx.one("last_traceback", (job_id,))
    return row[0] if row else None

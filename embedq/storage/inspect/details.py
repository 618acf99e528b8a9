"""One job: its row, its attempts, what it said, and the jobs before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from embedq.clock import to_datetime, to_micros
from embedq.config import FOR_EVER
from embedq.errors import JobNotFoundError
from embedq.job import Attempt, Ending, Job, JobId, JobState, LogLine, Trigger
from embedq.storage.base import Row, Transaction
from embedq.storage.inspect.rows import job_from_row

MOST_ANCESTORS, MOST_DESCENDANTS = 20, 100


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
    attempt: int | None = None
    detail: str | None = None
    server: int | None = None


def log_page(tx: Transaction, job_id: int, *, after: int = 0, limit: int = 200) -> LogPage:
    """The lines behind a cursor; 0 is before the first."""
    return _log_page(tx.all("logs_after", (job_id, after, limit + 1)), after, limit)


def last_logs(tx: Transaction, job_id: int, *, limit: int = 200) -> LogPage:
    """The latest lines, and the cursor for those to come; `more` says that there are earlier ones."""
    newest = tx.all("logs_latest", (job_id, limit + 1))
    found = _log_page(newest[limit - 1 :: -1], 0, limit)
    return replace(found, more=len(newest) > limit)


def _log_page(rows: Sequence[Row], after: int, limit: int) -> LogPage:
    lines = [LogLine(at=to_datetime(at), attempt=attempt, message=text) for _, at, attempt, text in rows[:limit]]
    return LogPage(lines=lines, next=rows[:limit][-1][0] if rows else after, more=len(rows) > limit)


def family(tx: Transaction, job_id: int) -> Family:
    """Its ancestors, up to 20, and its descendants, up to 100. JobNotFoundError if it is not there."""
    own = _relative(tx, job_id, 0)
    if own is None:
        raise _missing(job_id)
    above, complete = [own], True
    while (parent := above[0].parent_id) is not None:
        if len(above) > MOST_ANCESTORS:
            complete = False
            break
        found = _relative(tx, parent, above[0].generation - 1)
        if found is None:
            # Pruned: nobody waits for it any more.
            break
        above.insert(0, found)
    below: list[Relative] = []
    parents = [own]
    while parents:
        parents = [child for parent in parents for child in _children(tx, parent, MOST_DESCENDANTS + 1 - len(below))]
        below += parents
        if len(below) > MOST_DESCENDANTS:
            below, complete, parents = below[:MOST_DESCENDANTS], False, []
    return Family(members=[*above, *below], complete=complete)


def _relative(tx: Transaction, job_id: int, generation: int) -> Relative | None:
    row = tx.one("relative", (job_id,))
    return None if row is None else _as_relative(row, generation)


def _children(tx: Transaction, parent: Relative, limit: int) -> list[Relative]:
    rows = tx.all("child_relatives", (parent.id, limit)) if limit > 0 else []
    return [_as_relative(row, parent.generation + 1) for row in rows]


def _as_relative(row: Row, generation: int) -> Relative:
    job_id, name, state, parent_id, trigger = row
    return Relative(
        id=JobId(job_id),
        name=name,
        state=JobState(state),
        parent_id=None if parent_id is None else JobId(parent_id),
        trigger=None if trigger is None else Trigger(trigger),
        generation=generation,
    )


def timeline(tx: Transaction, job_id: int) -> list[Moment]:
    """What has happened to a job and when, as far as it is stored, in order. JobNotFoundError if it is not there."""
    found = job(tx, job_id)
    tried = attempts(tx, job_id)
    moments = [Moment(at=found.created_at, what="created")]
    if found.run_at > found.created_at:
        moments.append(Moment(at=found.run_at, what="due"))
    for attempt in tried:
        moments += [
            Moment(at=attempt.started_at, what="started", attempt=attempt.number, server=attempt.server),
            Moment(
                at=attempt.finished_at,
                what=attempt.ending.value,
                attempt=attempt.number,
                detail=attempt.error,
                server=attempt.server,
            ),
        ]
    if found.state is JobState.RUNNING and found.started_at is not None:
        moments.append(Moment(at=found.started_at, what="started", attempt=found.attempt, server=found.server))
    row = tx.one("cancel_asked_at", (job_id,))
    if row is not None and row[0] is not None and not found.state.ended:
        moments.append(Moment(at=to_datetime(row[0]), what="cancel requested"))
    stopped = bool(tried) and tried[-1].ending is Ending.CANCELLED
    if found.state is JobState.CANCELLED and found.finished_at is not None and not stopped:
        moments.append(Moment(at=found.finished_at, what="cancelled", detail=found.error))
    if found.expires_at is not None and found.started_at is None and not found.state.ended:
        moments.append(Moment(at=found.expires_at, what="expires"))
    if found.delete_at is not None and to_micros(found.delete_at) < FOR_EVER:
        moments.append(Moment(at=found.delete_at, what="deleted"))
    # Of two at the same moment, what was said first came first.
    return sorted(moments, key=lambda moment: moment.at)


def job(tx: Transaction, job_id: int) -> Job:
    """One job. JobNotFoundError if it is not there."""
    row = tx.one("job", (job_id,))
    if row is None:
        raise _missing(job_id)
    return job_from_row(row)


def _missing(job_id: int) -> JobNotFoundError:
    return JobNotFoundError(f"no job {job_id}; it may have been pruned after its retention time")


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
                server=last.server,
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

"""One job: its row, its attempts, its log, and the jobs before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from embedq.clock import to_datetime, to_micros
from embedq.config import FOR_EVER
from embedq.display.units import brief
from embedq.errors import JobNotFoundError
from embedq.job import Attempt, Ending, Job, JobId, JobState, LogLine, Trigger
from embedq.storage.base import Row, Transaction
from embedq.storage.damage import member
from embedq.storage.inspect.filters import LARGEST
from embedq.storage.inspect.rows import job_from_row
from embedq.storage.rows import json_ids

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
    """Return the lines after a cursor; 0 is before the first."""
    return _log_page(tx.all("logs_after", (job_id, after, limit + 1)), after, limit)


def last_logs(tx: Transaction, job_id: int, *, limit: int = 200) -> LogPage:
    """Return the latest lines, and the cursor for later ones; `more` shows that there are earlier lines."""
    newest = tx.all("logs_latest", (job_id, limit + 1))
    found = _log_page(newest[limit - 1 :: -1], 0, limit)
    return replace(found, more=len(newest) > limit)


def _log_page(rows: Sequence[Row], after: int, limit: int) -> LogPage:
    lines = [LogLine(at=to_datetime(at), attempt=attempt, message=text) for _, at, attempt, text in rows[:limit]]
    return LogPage(lines=lines, next=rows[:limit][-1][0] if rows else after, more=len(rows) > limit)


def family(tx: Transaction, job_id: int) -> Family:
    """Return its ancestors, up to 20, and its descendants, up to 100. JobNotFoundError if it is not there."""
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
            # It has been pruned.
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
    row = tx.one("relative", (job_id,)) if is_id(job_id) else None
    return None if row is None else _as_relative(row, generation)


def _children(tx: Transaction, parent: Relative, limit: int) -> list[Relative]:
    rows = tx.all("child_relatives", (parent.id, limit)) if limit > 0 else []
    return [_as_relative(row, parent.generation + 1) for row in rows]


def _as_relative(row: Row, generation: int) -> Relative:
    job_id, name, state, parent_id, trigger = row
    return Relative(
        id=JobId(job_id),
        name=name,
        state=member(JobState, state),
        parent_id=None if parent_id is None else JobId(parent_id),
        trigger=None if trigger is None else member(Trigger, trigger),
        generation=generation,
    )


def timeline(tx: Transaction, job_id: int) -> list[Moment]:
    """Return the stored events of a job in order. JobNotFoundError if it is not there."""
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
    # The sort is stable: of two at the same moment, the first in the list came first.
    return sorted(moments, key=lambda moment: moment.at)


def job(tx: Transaction, job_id: int) -> Job:
    """Return one job. JobNotFoundError if it is not there."""
    row = tx.one("job", (job_id,)) if is_id(job_id) else None
    if row is None:
        raise _missing(job_id)
    return job_from_row(row)


def options(tx: Transaction, job_id: int) -> str | None:
    """Return a job's stored options, as text. JobNotFoundError if it is not there."""
    rows = tx.select("SELECT options FROM embedq_jobs WHERE id = ?", (job_id,)) if is_id(job_id) else []
    if not rows:
        raise _missing(job_id)
    text: str | None = rows[0][0]
    return text


def is_id(number: int) -> bool:
    """Return whether a database can hold the number."""
    return -LARGEST <= number <= LARGEST


def _missing(job_id: int) -> JobNotFoundError:
    return JobNotFoundError(
        f"no job {brief(job_id)}; it may have been pruned after its retention time, or was to run on a failure that "
        "did not come"
    )


def attempts(tx: Transaction, job_id: int) -> list[Attempt]:
    """Return every finished attempt, oldest first; a success is the last. JobNotFoundError if the job is not there."""
    last = job(tx, job_id)
    found = [
        Attempt(
            number=number,
            ending=member(Ending, ending),
            started_at=to_datetime(started_at),
            finished_at=to_datetime(finished_at),
            error=error,
            traceback=traceback,
            server=server,
        )
        for number, ending, started_at, finished_at, error, traceback, server in tx.all("attempts", (job_id,))
    ]
    if last.state is JobState.SUCCEEDED:
        found.append(
            Attempt(
                number=last.attempt,
                ending=Ending.SUCCEEDED,
                # Both are there, but in a damaged row.
                started_at=last.started_at or last.run_at,
                finished_at=last.finished_at or last.run_at,
                error=None,
                traceback=None,
                server=last.server,
            )
        )
    return found


def logs(tx: Transaction, job_id: int) -> list[LogLine]:
    """Return the job's log lines, oldest first."""
    rows = tx.all("logs", (job_id,)) if is_id(job_id) else []
    return [LogLine(at=to_datetime(at), attempt=attempt, message=text) for at, attempt, text in rows]


def children(tx: Transaction, job_id: int) -> list[JobId]:
    """Return the jobs that continue this one."""
    return [JobId(child) for (child,) in tx.all("children", (job_id,))]


def outcome(tx: Transaction, job_id: int) -> tuple[JobState, str | None, str | None] | None:
    """Return state, stored result and error of a job; None if it is not there."""
    row = tx.one("outcome", (job_id,)) if is_id(job_id) else None
    return None if row is None else (member(JobState, row[0]), row[1], row[2])


class StoredOutcome(NamedTuple):
    """The state of a job, and its result.

    Attributes:
        state: as stored, which may be no known state.
        traceback: of its last failure, if it is dead.
    """

    state: str
    result: str | None
    error: str | None
    traceback: str | None


def states(tx: Transaction, job_ids: Sequence[int]) -> dict[int, str]:
    """Return the states of these jobs; missing jobs are left out."""
    return dict(tx.all("job_states", (json_ids(job_ids),)))


def outcomes(tx: Transaction, job_ids: Sequence[int]) -> dict[int, StoredOutcome]:
    """Return the outcomes of these jobs; missing jobs are left out."""
    return {
        job_id: StoredOutcome(state, result, error, last_traceback(tx, job_id) if state == JobState.DEAD else None)
        for job_id, state, result, error in tx.all("outcomes", (json_ids(job_ids),))
    }


def last_traceback(tx: Transaction, job_id: int) -> str | None:
    """Return the traceback of the last failed attempt."""
    row = tx.one("last_traceback", (job_id,))
    return row[0] if row else None

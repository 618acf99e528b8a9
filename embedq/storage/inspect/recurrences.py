"""Recurring jobs, and the ledger of their occurrences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from embedq.clock import SECOND, to_datetime
from embedq.job import JobId, JobState
from embedq.storage.base import Transaction
from embedq.storage.damage import member
from embedq.storage.schedules import ScheduleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One line of a schedule's ledger: an occurrence that was enqueued, or a run of them that was not.

    Attributes:
        outcome: "enqueued", "triggered" (by hand), "passed", or "changed" (the schedule, and no occurrence).
        count: how many occurrences, from `fire_at` to `last_fire_at`; 1 unless passed.
        job_id: the job it became.
        job_state: the state of that job now; None if there is none, or it has been pruned.
    """

    fire_at: datetime
    last_fire_at: datetime
    outcome: str
    count: int
    job_id: JobId | None
    job_state: JobState | None
    reason: str | None
    recorded_at: datetime


# A schedule is late when it should have fired longer ago than this; the leader fires within a second.
LATE = 60 * SECOND


class ScheduleState(StrEnum):
    """The states by which recurring jobs can be filtered."""

    ACTIVE = "active"
    """Not paused."""
    PAUSED = "paused"
    FAILING = "failing"
    """Its last turn could not fire."""
    LATE = "late"
    """Not paused, and due for more than a minute."""


_CONDITIONS = {
    ScheduleState.ACTIVE: "paused_at IS NULL",
    ScheduleState.PAUSED: "paused_at IS NOT NULL",
    ScheduleState.FAILING: "error IS NOT NULL",
    ScheduleState.LATE: "paused_at IS NULL AND next_fire_at < ?",
}


def schedules(
    tx: Transaction,
    *,
    part: str | None = None,
    state: ScheduleState | None = None,
    after: str | None = None,
    before: str | None = None,
    limit: int | None = None,
    now: int = 0,
) -> list[ScheduleRow]:
    """Return recurring jobs by name; all of them, unless filtered.

    Args:
        part: of their names.
        after, before: names: those behind, or the last ones before.
        limit: how many at most.
        now: microseconds; for those that are late.
    """
    where: list[str] = []
    params: list[object] = []
    for condition, value in (("{name_contains}", part), ("name > ?", after), ("name < ?", before)):
        if value is not None:
            where.append(condition)
            params.append(value)
    if state is not None:
        where.append(_CONDITIONS[state])
        params += [now - LATE] if state is ScheduleState.LATE else []
    clause = f"WHERE {' AND '.join(where)} " if where else ""
    order = "ORDER BY name DESC" if before is not None else "ORDER BY name"
    rows = tx.select(f"{{schedules}} {clause}{order}{'' if limit is None else f' LIMIT {int(limit)}'}", params)
    found = [ScheduleRow._make(row) for row in rows]
    return found[::-1] if before is not None else found


class ComingRow(NamedTuple):
    """What must be known of a schedule to tell when it fires. Microseconds."""

    name: str
    task: str
    spec: str
    next_fire_at: int
    due_at: int


def coming(tx: Transaction, *, before: int, name: str | None, part: str | None, limit: int) -> list[ComingRow]:
    """Schedules that are not paused and whose turn comes before that moment, the next first.

    Args:
        name: only this one.
        part: only those with this in their names.
    """
    where = ["paused_at IS NULL", "due_at < ?"]
    params: list[object] = [before]
    for condition, value in (("name = ?", name), ("{name_contains}", part)):
        if value is not None:
            where.append(condition)
            params.append(value)
    columns = "name, task, spec, next_fire_at, due_at"
    clause = " AND ".join(where)
    sql = f"SELECT {columns} FROM embedq_schedules WHERE {clause} ORDER BY due_at, name LIMIT {int(limit)}"
    return [ComingRow._make(row) for row in tx.select(sql, params)]


def occurrences(tx: Transaction, schedule: str, limit: int = 100) -> list[Occurrence]:
    """The latest lines of a schedule's ledger, newest first."""
    rows = tx.all("occurrences", (schedule, limit))
    return [
        Occurrence(
            fire_at=to_datetime(fire_at),
            last_fire_at=to_datetime(last),
            outcome=outcome,
            count=count,
            job_id=job_id,
            job_state=None if state is None else member(JobState, state),
            reason=reason,
            recorded_at=to_datetime(recorded_at),
        )
        for fire_at, outcome, last, count, job_id, state, reason, recorded_at in rows
    ]

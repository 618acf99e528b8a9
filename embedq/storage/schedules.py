"""Recurring jobs, and the ledger that makes each of their occurrences happen once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.errors import ScheduleNotFoundError
from embedq.storage import jobs
from embedq.storage.base import Transaction
from embedq.storage.rows import NewJob


class ScheduleRow(NamedTuple):
    """A recurring job as stored. Instants are microseconds; `template` is the job to insert, as JSON."""

    name: str
    spec: str
    misfire: str
    task: str
    template: str
    next_fire_at: int
    last_fire_at: int | None
    last_job_id: int | None
    paused_at: int | None
    error: str | None
    created_at: int
    updated_at: int


class Passed(NamedTuple):
    """A run of occurrences that were not enqueued: the first and last of them, how many, and why."""

    first: int
    last: int
    occurrences: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one schedule does now: decided without the database, applied in one transaction."""

    fires: Sequence[int]
    passed: Sequence[Passed]
    next_fire_at: int


def load(tx: Transaction, name: str) -> ScheduleRow:
    """One schedule.

    Raises:
        ScheduleNotFoundError: there is none of that name.
    """
    row = tx.one("schedule", (name,))
    if row is None:
        raise ScheduleNotFoundError(f"no recurring job named {name!r}; embedq.recurring({name!r}, …) adds it")
    return ScheduleRow._make(row)


class Change(NamedTuple):
    """What `put` did: the name of the function that the schedule ran before; None if it is new."""

    formerly: str | None


def put(
    tx: Transaction, *, name: str, spec: str, misfire: str, task: str, template: str, first_fire: int, now: int
) -> Change | None:
    """Add a schedule, or bring it up to date; None when it is the same already.

    Every process does this at every start, so a schedule that is the same already is left alone, and its next
    occurrence with it: what was missed while no process ran is still known.
    """
    row = tx.one("schedule", (name,))
    if row is None:
        tx.run("insert_schedule", (name, spec, misfire, task, template, first_fire, now, now))
        return Change(None)
    old = ScheduleRow._make(row)
    if (old.spec, old.misfire, old.task, old.template) == (spec, misfire, task, template):
        return None
    next_fire_at = old.next_fire_at if old.spec == spec else first_fire
    tx.run("update_schedule", (spec, misfire, task, template, next_fire_at, now, name))
    return Change(old.task)


def remove(tx: Transaction, name: str) -> None:
    """Forget a schedule; its jobs and its ledger stay until their retention ends. ScheduleNotFoundError if absent."""
    load(tx, name)
    tx.run("delete_schedule", (name,))


def pause(tx: Transaction, name: str, *, now: int) -> None:
    """Stop firing until `resume`. ScheduleNotFoundError if absent; nothing if it is paused already."""
    load(tx, name)
    tx.run("pause_schedule", (now, now, name))


def resume(tx: Transaction, name: str, *, next_fire: Callable[[ScheduleRow], int], now: int) -> None:
    """Fire again, from now on: what passed during the pause was meant not to run."""
    row = load(tx, name)
    tx.run("resume_schedule", (next_fire(row), now, name))


def due(tx: Transaction, *, now: int, limit: int = 100) -> list[str]:
    """The names of the schedules that have an occurrence due, the latest first."""
    return [name for (name,) in tx.all("due_schedules", (now, limit))]


class Waiting(NamedTuple):
    """When a schedule that is not paused fires next, and when its turn comes. Microseconds."""

    name: str
    spec: str
    next_fire_at: int
    due_at: int


def waiting(tx: Transaction) -> list[Waiting]:
    """Every schedule that is not paused."""
    return [Waiting._make(row) for row in tx.all("waiting_schedules")]


def bring_forward(tx: Transaction, schedule: Waiting, *, next_fire_at: int) -> bool:
    """Let its next occurrence be another one, unless it has taken its turn, was paused or changed meanwhile."""
    row = tx.one("schedule", (schedule.name,))
    if row is None:
        return False
    found = ScheduleRow._make(row)
    if found.paused_at is not None or (found.spec, found.next_fire_at) != (schedule.spec, schedule.next_fire_at):
        return False
    tx.run("advance_schedule", (next_fire_at, None, None, schedule.name))
    return True


def next_fire(tx: Transaction) -> int | None:
    """When the next schedule is due, in microseconds."""
    row = tx.one("next_fire")
    return row[0] if row else None


def fire(
    tx: Transaction,
    name: str,
    decide: Callable[[ScheduleRow], Turn],
    make_job: Callable[[ScheduleRow, int], NewJob],
    *,
    now: int,
) -> list[int]:
    """Take one schedule's turn: enqueue what is due, record everything, move on. Returns the new jobs' ids.

    The occurrence's row and its job are written together, and the row's key is (schedule, fire_at): whoever comes
    second, by a lost lease or a clock that moved, enqueues nothing.
    """
    row = tx.one("schedule", (name,))
    if row is None:
        return []
    schedule = ScheduleRow._make(row)
    if schedule.paused_at is not None or schedule.next_fire_at > now:
        return []
    turn = decide(schedule)
    created = []
    for passed in turn.passed:
        tx.run(
            "record_occurrence",
            (name, passed.first, "passed", passed.last, passed.occurrences, None, passed.reason, now),
        )
    for fire_at in turn.fires:
        job_id = _fire_once(tx, schedule, fire_at, make_job, now=now)
        if job_id is not None:
            created.append(job_id)
    last_fire = turn.fires[-1] if created else None
    tx.run("advance_schedule", (turn.next_fire_at, last_fire, created[-1] if created else None, name))
    return created


def _fire_once(
    tx: Transaction, schedule: ScheduleRow, fire_at: int, make_job: Callable[[ScheduleRow, int], NewJob], *, now: int
) -> int | None:
    recorded = tx.run("record_occurrence", (schedule.name, fire_at, "enqueued", fire_at, 1, None, None, now))
    if not recorded:
        return None
    inserted = jobs.insert(tx, make_job(schedule, fire_at))
    tx.run("set_occurrence_job", (inserted.id, schedule.name, fire_at))
    return inserted.id


def fail(tx: Transaction, name: str, error: str, *, again_at: int) -> None:
    """Record why a schedule could not take its turn, and let it try again at `again_at`; what is due stays due."""
    tx.run("fail_schedule", (error, again_at, name))


def trigger(tx: Transaction, name: str, make_job: Callable[[ScheduleRow, int], NewJob], *, now: int) -> int:
    """Enqueue one run now, outside the schedule, and record it. ScheduleNotFoundError if absent."""
    schedule = load(tx, name)
    job_id = jobs.insert(tx, make_job(schedule, now)).id
    at = now
    while not tx.run("record_occurrence", (name, at, "triggered", at, 1, job_id, "run by hand", now)):
        # Its line stands beside that of another run of the same microsecond.
        at += 1
    return job_id

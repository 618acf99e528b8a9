"""Recurring jobs, and the ledger that makes each of their occurrences happen once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.errors import ScheduleNotFoundError
from embedq.scheduling.schedule import changed_times
from embedq.storage.base import Row, Transaction

# So many schedules take their turns in one transaction, and so many characters of jobs.
TURNS = 500
SET_SIZE = 1_000_000


class ScheduleRow(NamedTuple):
    """A recurring job as stored. Instants are microseconds.

    Attributes:
        template: the job to insert, as JSON.
        runs: the jobs that had not ended after its last turn, a JSON list of ids; None if it has had none.
        skipped: how many occurrences in a row were skipped because a run was in the way.
        declared_in: the set of declared schedules of which it is one; None for one that is kept at run time.
        missing_since: since when the code no longer declares it.
    """

    name: str
    spec: str
    misfire: str
    task: str
    template: str
    overlap: str
    next_fire_at: int
    last_fire_at: int | None
    last_job_id: int | None
    paused_at: int | None
    error: str | None
    created_at: int
    updated_at: int
    runs: str | None
    skipped: int
    declared_in: str | None
    missing_since: int | None


class Passed(NamedTuple):
    """A run of occurrences that were not enqueued: the first and last of them, how many, and why."""

    first: int
    last: int
    occurrences: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one schedule does now: decided without the database, applied in one transaction.

    Attributes:
        catching_up: the fires were missed, and are not skipped because a run is in their way.
    """

    fires: Sequence[int]
    passed: Sequence[Passed]
    next_fire_at: int
    catching_up: bool = False


def load(tx: Transaction, name: str) -> ScheduleRow:
    """One schedule.

    Raises:
        ScheduleNotFoundError: there is none of that name.
    """
    row = tx.one("schedule", (name,))
    if row is None:
        raise ScheduleNotFoundError(f"no recurring job named {name!r}; embedq.recurring({name!r}, …) adds it")
    return ScheduleRow._make(row)


class DeclaredSchedule(NamedTuple):
    """A schedule as the code gives it; columns as in `ScheduleRow`."""

    name: str
    spec: str
    misfire: str
    task: str
    template: str
    overlap: str


class Change(NamedTuple):
    """What `put` did: the name of the function that the schedule ran before; None if it is new."""

    formerly: str | None


def unlike(tx: Transaction, declared: Sequence[DeclaredSchedule]) -> list[DeclaredSchedule]:
    """Those that are not stored as they are declared."""
    found = {row.name: row for row in named(tx, [one.name for one in declared])}
    return [one for one in declared if (row := found.get(one.name)) is None or one != row[: len(one)]]


def put(
    tx: Transaction,
    declared: Sequence[DeclaredSchedule],
    *,
    first_fire: Callable[[DeclaredSchedule], int],
    now: int,
) -> dict[str, Change]:
    """Add schedules, or bring them up to date; return what was done to those that were not the same already, by name.

    Every process does this at every start, so a schedule that is the same already is left alone, and its next
    occurrence with it: what was missed while no process ran is still known.

    Args:
        first_fire: returns the first occurrence of a schedule that is new, or due at other times than before.
    """
    found = {row.name: row for row in named_in(tx, "schedules_to_put", [one.name for one in declared])}
    changes = {}
    # By name, so that two processes that do this at once wait for each other in one order.
    for one in sorted(declared):
        row = found.get(one.name)
        if row is None:
            tx.run("insert_schedule", (*one, first_fire(one), now, now))
            changes[one.name] = Change(None)
        elif one != row[: len(one)]:
            change = None if row.spec == one.spec else changed_times(row.spec, one.spec)
            if change is not None:
                _record_change(tx, row, change, now=now)
            next_fire_at = row.next_fire_at if change is None else first_fire(one)
            tx.run("update_schedule", (*one[1:], next_fire_at, now, one.name))
            changes[one.name] = Change(row.task)
    return changes


def _record_change(tx: Transaction, row: ScheduleRow, change: str, *, now: int) -> None:
    """Leave a line in the ledger that its times are others from now on, and one for what was due and is dropped."""
    if row.paused_at is None and row.next_fire_at <= now:
        dropped = f"due when the schedule was changed {change}"
        tx.run("record_occurrence", (row.name, row.next_fire_at, "passed", row.next_fire_at, 1, None, dropped, now))
    record_beside(tx, row.name, now, "changed", None, change, now=now)


def record_beside(
    tx: Transaction, name: str, at: int, outcome: str, job_id: int | None, reason: str, *, now: int
) -> None:
    """Add a line to a schedule's ledger that stands for no occurrence; it gives way to those that do."""
    while not tx.run("record_occurrence", (name, at, outcome, at, 1, job_id, reason, now)):
        # Its line stands beside that of another of the same microsecond.
        at += 1


def sync(tx: Transaction, names: Sequence[str], *, declared_in: str, prune: bool, now: int) -> list[str]:
    """Record which schedules the code declares; return those that were in this set and are in it no longer.

    Args:
        names: all that the code declares.
        prune: remove those that it no longer declares; otherwise they are marked, and continue to fire.
    """
    declared = set(names)
    missing = sorted(name for (name,) in tx.all("declared_schedules", (declared_in,)) if name not in declared)
    for start in range(0, len(names), TURNS):
        tx.run("declare_schedules", (declared_in, as_json(list(names[start : start + TURNS]))))
    for name in missing:
        if prune:
            tx.run("delete_schedule", (name,))
        else:
            tx.run("miss_schedule", (now, name))
    return missing


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


def due(tx: Transaction, *, now: int, limit: int = TURNS, size: int = SET_SIZE) -> list[ScheduleRow]:
    """Schedules that have an occurrence due, enough for one transaction: those that have waited longest.

    Where there are more, a few whose time has come last go before them: a crowd that is due at once does not hold up
    one that is due each second.

    Args:
        limit: how many are enough.
        size: how many characters of what they enqueue are enough.
    """
    found = tx.all("due_schedules", (now, limit))
    latest = tx.all("latest_due_schedules", (now, limit // 10)) if len(found) == limit else []
    names = dict.fromkeys([*_within(latest, size // 2), *_within(found, size)])
    rows = {row.name: row for row in named(tx, list(names))}
    return [rows[name] for name in names if name in rows]


def _within(found: Sequence[Row], size: int) -> Iterator[str]:
    """The names of the first ones that have no more than `size` together; of one at least."""
    for number, (name, length) in enumerate(found):
        size -= length
        if number and size < 0:
            return
        yield name


def named(tx: Transaction, names: Sequence[str]) -> list[ScheduleRow]:
    """Those of these schedules that are there, in no order."""
    return named_in(tx, "schedules_named", names)


def named_in(tx: Transaction, statement: str, names: Sequence[str]) -> list[ScheduleRow]:
    """Those of these schedules that a statement finds."""
    plain = [name for name in names if "\x00" not in name]
    rows = tx.all(statement, (as_json(plain),)) if plain else []
    if len(plain) < len(names):
        # SQLite ends the strings of JSON at a NUL character.
        rows += [row for name in names if "\x00" in name and (row := tx.one("schedule", (name,))) is not None]
    return [ScheduleRow._make(row) for row in rows]


def as_json(value: Sequence[object]) -> str:
    """Return a list as JSON for a statement."""
    # As they are: not every server reads the escapes of what is beyond 16 bits.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class WaitingSchedule(NamedTuple):
    """When a schedule that is not paused fires next, and when its turn comes. Microseconds."""

    name: str
    spec: str
    next_fire_at: int
    due_at: int


def waiting(tx: Transaction, *, after: int) -> list[WaitingSchedule]:
    """The schedules that are not paused whose turn comes after that moment."""
    return [WaitingSchedule._make(row) for row in tx.all("waiting_schedules", (after,))]


def bring_forward(tx: Transaction, schedule: WaitingSchedule, *, next_fire_at: int) -> bool:
    """Let its next occurrence be another one, unless it has taken its turn, was paused or changed meanwhile."""
    row = tx.one("schedule", (schedule.name,))
    if row is None:
        return False
    found = ScheduleRow._make(row)
    if found.paused_at is not None or (found.spec, found.next_fire_at) != (schedule.spec, schedule.next_fire_at):
        return False
    tx.run("advance_schedule", (next_fire_at, None, None, found.runs, found.skipped, schedule.name))
    return True


def next_fire(tx: Transaction) -> int | None:
    """When the next schedule is due, in microseconds."""
    row = tx.one("next_fire")
    return row[0] if row else None

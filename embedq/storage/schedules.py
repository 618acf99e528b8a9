"""Recurring jobs, and the ledger that makes each of their occurrences happen once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.errors import ScheduleNotFoundError
from embedq.flow.unique import may_have_rule
from embedq.storage import jobs
from embedq.storage.base import Row, Transaction
from embedq.storage.rows import NewJob

# So many schedules take their turns in one transaction, and so many characters of jobs.
TURNS = 500
SET_SIZE = 1_000_000


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


class DeclaredSchedule(NamedTuple):
    """A schedule as the code gives it; columns as in `ScheduleRow`."""

    name: str
    spec: str
    misfire: str
    task: str
    template: str


class Change(NamedTuple):
    """What `put` did: the name of the function that the schedule ran before; None if it is new."""

    formerly: str | None


def unlike(tx: Transaction, declared: Sequence[DeclaredSchedule]) -> list[DeclaredSchedule]:
    """Those that are not stored as they are declared."""
    found = {row.name: row for row in named(tx, [one.name for one in declared])}
    return [one for one in declared if (row := found.get(one.name)) is None or one != row[: len(one)]]


def put(
    tx: Transaction, declared: Sequence[DeclaredSchedule], *, first_fire: Callable[[DeclaredSchedule], int], now: int
) -> dict[str, Change]:
    """Add schedules, or bring them up to date; return what was done to those that were not the same already, by name.

    Every process does this at every start, so a schedule that is the same already is left alone, and its next
    occurrence with it: what was missed while no process ran is still known.

    Args:
        first_fire: returns the first occurrence of a schedule that is new, or due at other times than before.
    """
    found = {row.name: row for row in _named(tx, "schedules_to_put", [one.name for one in declared])}
    changes = {}
    # By name, so that two processes that do this at once wait for each other in one order.
    for one in sorted(declared):
        row = found.get(one.name)
        if row is None:
            tx.run("insert_schedule", (*one, first_fire(one), now, now))
            changes[one.name] = Change(None)
        elif one != row[: len(one)]:
            next_fire_at = row.next_fire_at if row.spec == one.spec else first_fire(one)
            tx.run("update_schedule", (*one[1:], next_fire_at, now, one.name))
            changes[one.name] = Change(row.task)
    return changes


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
    return _named(tx, "schedules_named", names)


def _named(tx: Transaction, statement: str, names: Sequence[str]) -> list[ScheduleRow]:
    plain = [name for name in names if "\x00" not in name]
    rows = tx.all(statement, (_json(plain),)) if plain else []
    if len(plain) < len(names):
        # SQLite ends the strings of JSON at a NUL character.
        rows += [row for name in names if "\x00" in name and (row := tx.one("schedule", (name,))) is not None]
    return [ScheduleRow._make(row) for row in rows]


def _json(value: Sequence[object]) -> str:
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
    tx.run("advance_schedule", (next_fire_at, None, None, schedule.name))
    return True


def next_fire(tx: Transaction) -> int | None:
    """When the next schedule is due, in microseconds."""
    row = tx.one("next_fire")
    return row[0] if row else None


class Planned(NamedTuple):
    """A schedule as it was read, the turn that was decided on for it, and the jobs of that turn's fires."""

    row: ScheduleRow
    turn: Turn
    jobs: Sequence[NewJob]


class Fired(NamedTuple):
    """The result for a set: how many schedules took their turn, and the new jobs' ids."""

    turns: int
    job_ids: Sequence[int]


def fire(tx: Transaction, planned: Sequence[Planned], *, now: int) -> Fired:
    """Let schedules take their turns: enqueue what is due, record everything, move on.

    One that has changed since it was read, or is being changed, is left for the next look. An occurrence's line and its
    job are written together, and the line's key is (schedule, fire_at): a second process, after a lost lease or with
    another clock, enqueues nothing.
    """
    found = {row.name: row for row in _named(tx, "schedules_to_fire", [one.row.name for one in planned])}
    turns = [one for one in planned if found.get(one.row.name) == one.row and is_due(one.row, now)]
    lines = [(one.row.name, at) for one in turns if _is_plain(one) for at in _instants(one.turn)]
    recorded = tx.all("recorded_occurrences", (_json(lines),)) if lines else []
    met = {name for name, *_ in recorded}
    created = _fire_together(tx, [one for one in turns if _is_plain(one) and one.row.name not in met], now=now)
    for one in turns:
        if not _is_plain(one) or one.row.name in met:
            created += _fire_alone(tx, one, now=now)
    return Fired(len(turns), created)


def is_due(row: ScheduleRow, now: int) -> bool:
    """Return whether a schedule has a turn to take."""
    return row.paused_at is None and row.next_fire_at <= now


def _is_plain(one: Planned) -> bool:
    """Return whether what is written of it can go through JSON. SQLite ends its strings at a NUL character."""
    return "\x00" not in one.row.name and "\\u0000" not in one.row.template


def _instants(turn: Turn) -> list[int]:
    return [*turn.fires, *(passed.first for passed in turn.passed)]


def _fire_together(tx: Transaction, turns: Sequence[Planned], *, now: int) -> list[int]:
    """The turns of schedules none of whose occurrences has a line, in a few statements."""
    if not turns:
        return []
    new = [job for one in turns for job in one.jobs]
    if any(may_have_rule(job.options) for job in new):
        ids = [inserted.id for inserted in jobs.insert_many(tx, new)]
    else:
        ids = tx.insert_each("insert_each", new) if new else []
    numbers = iter(ids)
    lines: list[tuple[object, ...]] = []
    ends: list[tuple[object, ...]] = []
    for row, turn, _ in turns:
        lines += [
            (row.name, passed.first, "passed", passed.last, passed.occurrences, None, passed.reason, now)
            for passed in turn.passed
        ]
        made = [(row.name, at, "enqueued", at, 1, next(numbers), None, now) for at in turn.fires]
        lines += made
        ends.append((row.name, turn.next_fire_at, *((made[-1][1], made[-1][5]) if made else (None, None))))
    if lines:
        tx.run("record_occurrences", (_json(lines),))
    tx.run("advance_schedules", (_json(ends),))
    return ids


def _fire_alone(tx: Transaction, one: Planned, *, now: int) -> list[int]:
    """The turn of a schedule of whose occurrences some may have a line: those are not enqueued again."""
    row, turn, new = one
    created = []
    for passed in turn.passed:
        tx.run(
            "record_occurrence",
            (row.name, passed.first, "passed", passed.last, passed.occurrences, None, passed.reason, now),
        )
    for fire_at, job in zip(turn.fires, new, strict=True):
        if tx.run("record_occurrence", (row.name, fire_at, "enqueued", fire_at, 1, None, None, now)):
            created.append(jobs.insert(tx, job).id)
            tx.run("set_occurrence_job", (created[-1], row.name, fire_at))
    last_fire = turn.fires[-1] if created else None
    tx.run("advance_schedule", (turn.next_fire_at, last_fire, created[-1] if created else None, row.name))
    return created


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

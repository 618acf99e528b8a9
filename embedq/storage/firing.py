"""The turns of recurring jobs: enqueue what is due, as the overlap policy has it, and write the ledger.

Start reading in `fire`. The ledger's key, (schedule, fire_at), makes each occurrence happen once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from embedq.config import Retention
from embedq.flow.unique import may_have_rule
from embedq.job import ENDED, JobState, Trigger
from embedq.scheduling.overlap import Placed, UnfinishedRun, parse_overlap, place
from embedq.storage import jobs
from embedq.storage.base import Transaction
from embedq.storage.damage import is_damaged, json_or, member
from embedq.storage.rows import NewJob, json_ids
from embedq.storage.schedules import Passed, ScheduleRow, Turn, as_json, load, named_in, record_beside

CANCELLED = "cancelled: a later occurrence was due (overlap: cancel_other)"
# Of the runs of a schedule that have not ended, so many are known at most, the newest.
MOST_RUNS = 1_000


class Planned(NamedTuple):
    """A schedule as it was read, the turn that was decided on for it, and the jobs of that turn's fires."""

    row: ScheduleRow
    turn: Turn
    jobs: Sequence[NewJob]


class Fired(NamedTuple):
    """The result for a set: how many schedules took their turn, and the new jobs' ids."""

    turns: int
    job_ids: Sequence[int]


class _Turn(NamedTuple):
    """A turn with the decisions about its occurrences, one for each of its jobs; and the runs that have not ended."""

    row: ScheduleRow
    turn: Turn
    jobs: Sequence[NewJob]
    placed: Sequence[Placed]
    runs: Sequence[UnfinishedRun]

    @property
    def starts_at_once(self) -> bool:
        """Whether what it enqueues waits for no run."""
        return all(one.behind is None for one in self.placed)

    def passed(self) -> list[Passed]:
        """What is not enqueued."""
        skipped = [Passed(one.fire_at, one.fire_at, 1, one.skipped) for one in self.placed if one.skipped is not None]
        return [*self.turn.passed, *skipped]

    def enqueued(self) -> list[tuple[int, NewJob, Placed]]:
        """What is enqueued: the number of the run, its job, and the decision."""
        made = zip(range(1, len(self.placed) + 1), self.jobs, self.placed, strict=True)
        return [(-number, job, one) for number, job, one in made if one.skipped is None]

    def end(self, created: Sequence[tuple[int, int]]) -> tuple[object, ...]:
        """Return how the schedule stands afterwards.

        Args:
            created: the occurrences that became jobs, with the jobs' ids.
        """
        gone = {job_id for one in self.placed for job_id in one.cancels}
        left = [run.id for run in self.runs if run.id not in gone or run.state is JobState.RUNNING]
        runs = [*left, *(job_id for _, job_id in created)]
        skipped = sum(one.skipped is not None for one in self.placed)
        return (
            self.turn.next_fire_at,
            *(created[-1] if created else (None, None)),
            json.dumps(runs[-MOST_RUNS:], separators=(",", ":")),
            0 if created else self.row.skipped + skipped,
        )


def fire(tx: Transaction, planned: Sequence[Planned], *, now: int, retention: Retention) -> Fired:
    """Let schedules take their turns: enqueue what is due, record everything, move on.

    One that has changed since it was read, or is being changed, is left for the next look. An occurrence's line and its
    job are written together, and the line's key is (schedule, fire_at): a second process, after a lost lease or with
    another clock, enqueues nothing.
    """
    found = {row.name: row for row in named_in(tx, "schedules_to_fire", [one.row.name for one in planned])}
    turns = _decided(tx, [one for one in planned if found.get(one.row.name) == one.row and is_due(one.row, now)])
    _clear_the_way(tx, turns, now=now, retention=retention)
    lines = [(one.row.name, at) for one in turns if _is_plain(one.row) for at in _instants(one.turn)]
    recorded = tx.all("recorded_occurrences", (as_json(lines),)) if lines else []
    met = {name for name, *_ in recorded}
    together = [one for one in turns if _is_plain(one.row) and one.row.name not in met and one.starts_at_once]
    created = _fire_together(tx, together, now=now)
    alone = {one.row.name for one in turns} - {one.row.name for one in together}
    for one in turns:
        if one.row.name in alone:
            created += _fire_alone(tx, one, now=now, retention=retention)
    return Fired(len(turns), created)


def is_due(row: ScheduleRow, now: int) -> bool:
    """Return whether a schedule has a turn to take."""
    return row.paused_at is None and row.next_fire_at <= now


def _is_plain(row: ScheduleRow) -> bool:
    """Return whether what is written of it can go through JSON. SQLite ends its strings at a NUL character."""
    return "\x00" not in row.name and "\\u0000" not in row.template


def _instants(turn: Turn) -> list[int]:
    return [*turn.fires, *(passed.first for passed in turn.passed)]


# -- what is in the way ------------------------------------------------------------------------------------------------


def _decided(tx: Transaction, turns: Sequence[Planned]) -> list[_Turn]:
    # Also of those that fire nothing now: the turn brings the list up to date.
    runs = _unfinished(tx, [one.row for one in turns])
    decided = []
    for row, turn, new in turns:
        before = runs.get(row.name, ())
        placed = place(parse_overlap(row.overlap), before, turn.fires, catching_up=turn.catching_up)
        decided.append(_Turn(row, turn, new, placed, before))
    return decided


def _unfinished(tx: Transaction, rows: Sequence[ScheduleRow]) -> Mapping[str, list[UnfinishedRun]]:
    """Return the runs of these schedules that have not ended, the oldest first."""
    known = {row.name: _known_runs(row) for row in rows}
    ids = {job_id for some in known.values() for job_id in some}
    states: dict[int, str] = dict(tx.all("job_states", (json_ids(sorted(ids)),))) if ids else {}
    return {name: [run for job_id in some if (run := _run(job_id, states.get(job_id)))] for name, some in known.items()}


def _known_runs(row: ScheduleRow) -> list[int]:
    """Return the runs that had not ended after its last turn; and its last, which an earlier build may have made."""
    stored = [*json_or(row.runs, list, []), row.last_job_id]
    return sorted({job_id for job_id in stored if isinstance(job_id, int)})


def _run(job_id: int, stored: str | None) -> UnfinishedRun | None:
    state = None if stored is None else member(JobState, stored)
    return None if state is None or state in ENDED or is_damaged(state) else UnfinishedRun(job_id, state)


def _clear_the_way(tx: Transaction, turns: Sequence[_Turn], *, now: int, retention: Retention) -> None:
    """Lock all runs that the turns cancel or wait for, in one order, and cancel those that are to be cancelled."""
    cancelled = {job_id for one in turns for placed in one.placed for job_id in placed.cancels}
    awaited = {placed.behind for one in turns for placed in one.placed if placed.behind is not None}
    jobs.lock(tx, cancelled | {job_id for job_id in awaited if job_id > 0})
    if cancelled:
        jobs.cancel_many(tx, sorted(cancelled), now=now, retention=retention, reason=CANCELLED)


# -- what is written ---------------------------------------------------------------------------------------------------


def _fire_together(tx: Transaction, turns: Sequence[_Turn], *, now: int) -> list[int]:
    """The turns of schedules none of whose occurrences has a line or waits for a run, in a few statements."""
    if not turns:
        return []
    new = [job for one in turns for _, job, _ in one.enqueued()]
    if any(may_have_rule(job.options) for job in new):
        ids = [inserted.id for inserted in jobs.insert_many(tx, new)]
    else:
        ids = tx.insert_each("insert_each", new) if new else []
    numbers = iter(ids)
    lines: list[tuple[object, ...]] = []
    ends: list[tuple[object, ...]] = []
    for one in turns:
        lines += [_passed_line(one.row.name, passed, now) for passed in one.passed()]
        made = [(placed.fire_at, next(numbers)) for _, _, placed in one.enqueued()]
        lines += [(one.row.name, at, "enqueued", at, 1, job_id, None, now) for at, job_id in made]
        ends.append((one.row.name, *one.end(made)))
    if lines:
        tx.run("record_occurrences", (as_json(lines),))
    tx.run("advance_schedules", (as_json(ends),))
    return ids


def _passed_line(name: str, passed: Passed, now: int) -> tuple[object, ...]:
    return (name, passed.first, "passed", passed.last, passed.occurrences, None, passed.reason, now)


def _fire_alone(tx: Transaction, one: _Turn, *, now: int, retention: Retention) -> list[int]:
    """The turn of a schedule of whose occurrences some may have a line already, or wait for a run."""
    name = one.row.name
    created: list[tuple[int, int]] = []
    ids: dict[int, int] = {}
    for passed in one.passed():
        tx.run("record_occurrence", _passed_line(name, passed, now))
    for number, job, placed in one.enqueued():
        at, behind = placed.fire_at, placed.behind
        # A run that was to come first may have its line already, and no job of this turn.
        parent = ids.get(behind) if behind is not None and behind < 0 else behind
        waits = None if parent is None else f"waits for job {parent} (overlap: {one.row.overlap})"
        if tx.run("record_occurrence", (name, at, "enqueued", at, 1, None, waits, now)):
            ids[number] = _insert(tx, job, parent, made=ids.values(), retention=retention)
            created.append((at, ids[number]))
            tx.run("set_occurrence_job", (ids[number], name, at))
    tx.run("advance_schedule", (*one.end(created), name))
    return [job_id for _, job_id in created]


def _insert(tx: Transaction, job: NewJob, parent: int | None, *, made: Collection[int], retention: Retention) -> int:
    """Insert a run; behind another it starts when that has ended, however it ended.

    Args:
        made: the runs that this turn has inserted before: they cannot have ended.
    """
    if parent is None or not (parent in made or jobs.lock(tx, {parent})):
        return jobs.insert(tx, job).id
    waiting = job._replace(state=JobState.AWAITING, parent_id=parent, trigger=Trigger.FINISHED)
    if parent in made:
        return jobs.insert(tx, waiting).id
    return jobs.insert_continuation(tx, waiting, retention=retention).id


def fail(tx: Transaction, name: str, error: str, *, again_at: int) -> None:
    """Record why a schedule could not take its turn, and let it try again at `again_at`; what is due stays due."""
    tx.run("fail_schedule", (error, again_at, name))


def trigger(tx: Transaction, name: str, make_job: Callable[[ScheduleRow, int], NewJob], *, now: int) -> int:
    """Enqueue one run now, outside the schedule, and record it. ScheduleNotFoundError if absent.

    No run is in its way; it is in the way of later occurrences.
    """
    row = load(tx, name)
    job_id = jobs.insert(tx, make_job(row, now)).id
    record_beside(tx, name, now, "triggered", job_id, "run by hand", now=now)
    runs = [*_known_runs(row), job_id][-MOST_RUNS:]
    tx.run("set_runs", (json.dumps(runs, separators=(",", ":")), name))
    return job_id

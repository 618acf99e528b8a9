"""Firing recurring jobs: decide what is due, enqueue it, record it.

The surprise is a clock that was far ahead and is corrected: schedules then wait for the next occurrence after a time
in the future, for hours or months. `wake_sleepers` corrects that. The ledger of occurrences ensures that nothing which
was enqueued for that future is enqueued again when the time comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from embedq.clock import SECOND, Clock, to_datetime
from embedq.config import Retention
from embedq.errors import ScheduleError, StorageError, StorageRefusedError
from embedq.observability.log import get_logger
from embedq.scheduling.misfire import FirePlan, misfire_from_text, plan_fires
from embedq.scheduling.schedule import schedule_from_text
from embedq.scheduling.zone_rules import corrected
from embedq.storage import firing, schedules
from embedq.storage.base import Database
from embedq.storage.firing import Fired, Planned
from embedq.storage.rows import NewJob, storable
from embedq.storage.schedules import Passed, ScheduleRow, Turn, WaitingSchedule
from embedq.tasks.options import with_occurrence

logger = get_logger()

# A schedule that could not fire is tried again after this; the others do not wait for it. This is within the grace of
# the misfire policy "skip", so that one failed attempt does not make an occurrence late.
AGAIN_SECONDS = 20
# A change of leaders takes some seconds. An occurrence that is later than this was missed, and is caught up on.
LATE_SECONDS = 60
# A clock that was set back by no more than this shows times again for which schedules have fired: they just wait.
REPEATED_SECONDS = 3600


Failure = tuple[ScheduleRow, Exception]


class ScheduleScan(NamedTuple):
    """The result of one pass over the schedules that are due.

    Attributes:
        due: how many there were.
        turns: how many took their turn, or failed to and wait now.
        made: how many jobs they made.
    """

    due: int
    turns: int
    made: int


def fire_due(database: Database, clock: Clock, retention: Retention) -> int:
    """Let every due schedule take its turn; return how many jobs they made. Raises as `fire_set` does."""
    made = 0
    while (scan := fire_set(database, clock, retention)).turns:
        made += scan.made
    return made


def fire_set(database: Database, clock: Clock, retention: Retention) -> ScheduleScan:
    """Let some of the due schedules take their turns, in one transaction.

    What they do is decided before the transaction; a schedule that has changed since is left for the next pass. A
    schedule that fails is recorded as such, and does not prevent the others.

    Raises:
        StorageError: the database cannot be used.
    """
    now = clock.now()
    rows = database.read(schedules.due, now=now)
    planned: list[Planned] = []
    failed: list[Failure] = []
    jobs, size = schedules.TURNS, schedules.SET_SIZE
    for row in rows:
        if planned and (jobs <= 0 or size < len(row.template)):
            break
        try:
            # Of a schedule with many missed occurrences, the first part; the rest remains due.
            turn = cut(decide(row, now), max(1, min(jobs, size // max(1, len(row.template)))))
            planned.append(Planned(row, turn, [make_job(row, fire_at) for fire_at in turn.fires]))
        except Exception as error:
            failed.append((row, error))
            continue
        jobs, size = jobs - len(turn.fires), size - len(turn.fires) * len(row.template)
    fired, refused = _write(database, planned, now, retention)
    for row, why in [*failed, *refused]:
        _fail(database, row.name, why, now)
    return ScheduleScan(len(rows), fired.turns + len(failed) + len(refused), len(fired.job_ids))


def _write(
    database: Database, planned: Sequence[Planned], now: int, retention: Retention
) -> tuple[Fired, list[Failure]]:
    """Write the turns together, or in ever smaller parts where the database refuses what one of them enqueues."""
    if not planned:
        return Fired(0, []), []
    try:
        return database.write(firing.fire, planned, now=now, retention=retention), []
    except Exception as error:
        if isinstance(error, StorageError) and not isinstance(error, StorageRefusedError):
            # The database has failed, not a schedule: the leader tries all again.
            raise
        if len(planned) == 1:
            return Fired(0, []), [(planned[0].row, error)]
    half = len(planned) // 2
    first, failed = _write(database, planned[:half], now, retention)
    second, also = _write(database, planned[half:], now, retention)
    return Fired(first.turns + second.turns, [*first.job_ids, *second.job_ids]), [*failed, *also]


def _fail(database: Database, name: str, error: Exception, now: int) -> None:
    logger.error("recurring job %r could not fire; trying again in %d s", name, AGAIN_SECONDS, exc_info=error)
    text = storable(f"{type(error).__qualname__}: {error}"[:2000])
    database.write(firing.fail, name, text, again_at=now + AGAIN_SECONDS * SECOND)


def cut(turn: Turn, most: int) -> Turn:
    """Return the first part of a turn that fires more often than `most`. Pure."""
    if len(turn.fires) <= most:
        return turn
    return replace(turn, fires=turn.fires[:most], next_fire_at=turn.fires[most])


def wake_sleepers(database: Database, clock: Clock) -> int:
    """Bring forward the schedules that wait longer than any can, after the clock was set back; return how many."""
    now = clock.now()
    woken = 0
    # A schedule that waits longer than it can is due later than this.
    for schedule in database.read(schedules.waiting, after=now + 2 * AGAIN_SECONDS * SECOND):
        better = sooner(schedule, now)
        if better is not None and database.write(schedules.bring_forward, schedule, next_fire_at=better):
            woken += 1
            logger.info(
                "recurring job %r waited for %s, because the clock has been set back; it continues at %s",
                schedule.name, to_datetime(max(schedule.next_fire_at, schedule.due_at)), to_datetime(better),
            )  # fmt: skip
    return woken


def follow_zone_rules(database: Database, clock: Clock) -> int:
    """Correct the next occurrences that were computed under other rules of their time zones; return how many."""
    moved = 0
    for schedule in database.read(schedules.waiting, after=clock.now()):
        try:
            right = corrected(schedule_from_text(schedule.spec), schedule.next_fire_at)
        except ScheduleError:
            # The schedule cannot be read here.
            continue
        if right != schedule.next_fire_at and database.write(schedules.bring_forward, schedule, next_fire_at=right):
            moved += 1
            logger.info(
                "the rules of its time zone have changed: recurring job %r is due at %s, and not at %s",
                schedule.name, to_datetime(right), to_datetime(schedule.next_fire_at),
            )  # fmt: skip
    return moved


def sooner(schedule: WaitingSchedule, now: int) -> int | None:
    """Return the occurrence that a schedule should wait for if it waits longer than it can; else None. Pure.

    A schedule waits for its next occurrence; for the one after, or for an hour, if the clock was set back a little.
    """
    try:
        when = schedule_from_text(schedule.spec)
        following = when.next_micros(now)
        if schedule.next_fire_at > max(when.next_micros(following), following + REPEATED_SECONDS * SECOND):
            return following
    except ScheduleError:
        # The schedule cannot be read here, or has no further occurrence.
        return None
    # A turn that failed is tried again soon, unless that was recorded before the clock was set back.
    again_by = max(schedule.next_fire_at, now + 2 * AGAIN_SECONDS * SECOND)
    return schedule.next_fire_at if schedule.due_at > again_by else None


def decide(row: ScheduleRow, now: int) -> Turn:
    """Return what a schedule does now. Pure."""
    # Occurrences before its creation do not count, though the clock may have been set back to before it.
    stored = corrected(schedule_from_text(row.spec), row.next_fire_at)
    first = max(stored, row.created_at + 1) if row.created_at < now else stored
    plan = _plan(row.spec, row.misfire, first, now)
    passed = [
        Passed(run.first, run.last, run.count, f"{run.reason}{' (counted up to a limit)' if run.capped else ''}")
        for run in plan.passed
    ]
    return Turn(
        fires=plan.fires, passed=passed, next_fire_at=plan.next_fire_at, catching_up=_catches_up(row, plan, now)
    )


def _catches_up(row: ScheduleRow, plan: FirePlan, now: int) -> bool:
    """Return whether the fires are those that were missed, of which each is to run."""
    missed = len(plan.fires) > 1 or any(fire_at < now - LATE_SECONDS * SECOND for fire_at in plan.fires)
    return missed and misfire_from_text(row.misfire).policy == "all"


@lru_cache(maxsize=1024)
def _plan(spec: str, misfire: str, first: int, now: int) -> FirePlan:
    """Plan the occurrences that are due. Many schedules often have the same plan."""
    return plan_fires(schedule_from_text(spec), misfire_from_text(misfire), next_fire_at=first, now=now)


def make_job(row: ScheduleRow, fire_at: int) -> NewJob:
    """Return the job of one occurrence, due at its time, so that its lateness is visible."""
    return from_template(json.loads(row.template), schedule=row.name, run_at=fire_at)


def to_template(job: NewJob, *, expires_in: int | None) -> str:
    """Return what is stored of a recurring job: the columns that all occurrences share.

    Args:
        expires_in: microseconds from the time of each occurrence.
    """
    shared = {
        name: getattr(job, name)
        for name in ("executor", "queue", "priority", "name", "payload", "code", "options", "tags")
    }
    if job.lane_key is not None:
        shared |= {name: getattr(job, name) for name in ("lane_key", "weight", "limit_1", "key_1", "limit_2", "key_2")}
    return json.dumps(shared | {"expires_in": expires_in}, separators=(",", ":"))


def from_template(template: Mapping[str, Any], *, schedule: str, run_at: int) -> NewJob:
    """Return the job that a template makes at `run_at`."""
    columns = dict(template)
    expires_in = columns.pop("expires_in")
    columns["options"] = with_occurrence(columns["options"], run_at)
    return NewJob(
        **columns,
        state="ready",
        idempotency_key=None,
        parent_id=None,
        trigger=None,
        schedule=schedule,
        created_at=run_at,
        run_at=run_at,
        expires_at=None if expires_in is None else run_at + expires_in,
    )

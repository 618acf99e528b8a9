"""Firing recurring jobs: decide what is due, enqueue it, record it.

The surprise is a clock that was far ahead and is set right: schedules then wait for the next occurrence after a time
that is still to come, for hours or months. `wake_sleepers` brings them back. The ledger sees to it that nothing which
was enqueued in that future is enqueued again when it becomes the present.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from embedq.clock import SECOND, Clock, to_datetime
from embedq.errors import ScheduleError, StorageError, StorageRefusedError
from embedq.misfire import misfire_from_text, plan_fires
from embedq.schedule import schedule_from_text
from embedq.storage import schedules
from embedq.storage.base import Database
from embedq.storage.rows import NewJob, storable
from embedq.storage.schedules import Passed, ScheduleRow, Turn, Waiting

logger = logging.getLogger("embedq")

# A schedule that could not take its turn is tried again after this; the others do not wait for it. Within the grace of
# the misfire policy "skip", so that one failed turn does not make an occurrence late.
AGAIN_SECONDS = 20
# A clock that is set back by no more than this has shown these times before: they are slept through.
SLEPT_THROUGH_SECONDS = 3600


def fire_due(database: Database, clock: Clock) -> int:
    """Let every schedule that is due take its turn, each in a transaction of its own; return how many jobs it made.

    One that fails is noted, and does not keep the others from theirs.

    Raises:
        StorageError: the database is in trouble.
    """
    made = 0
    now = clock.now()
    for name in database.read(schedules.due, now=now):
        try:
            made += len(database.write(schedules.fire, name, lambda row: decide(row, now), make_job, now=now))
        except Exception as error:
            if isinstance(error, StorageError) and not isinstance(error, StorageRefusedError):
                # The database's trouble and not the schedule's: the leader tries all again.
                raise
            logger.exception("recurring job %r could not fire; trying again in %d s", name, AGAIN_SECONDS)
            text = storable(f"{type(error).__qualname__}: {error}"[:2000])
            database.write(schedules.fail, name, text, again_at=now + AGAIN_SECONDS * SECOND)
    return made


def wake_sleepers(database: Database, clock: Clock) -> int:
    """Bring back the schedules that wait for longer than any can; return how many. For when the clock was set back."""
    now = clock.now()
    woken = 0
    for schedule in database.read(schedules.waiting):
        better = sooner(schedule, now)
        if better is not None and database.write(schedules.bring_forward, schedule, next_fire_at=better):
            woken += 1
            logger.info(
                "recurring job %r waited for %s, because the clock has been set back; it goes on at %s",
                schedule.name, to_datetime(max(schedule.next_fire_at, schedule.due_at)), to_datetime(better),
            )  # fmt: skip
    return woken


def sooner(schedule: Waiting, now: int) -> int | None:
    """The occurrence that a schedule must be waiting for when it waits for longer than it can; else None. Pure.

    It waits for its next occurrence; for the one after, or for an hour, if the clock has been set back a little.
    """
    try:
        when = schedule_from_text(schedule.spec)
        following = when.next_micros(now)
        if schedule.next_fire_at > max(when.next_micros(following), following + SLEPT_THROUGH_SECONDS * SECOND):
            return following
    except ScheduleError:
        # It cannot be read here, or ends there.
        return None
    # A turn that failed is tried again soon, unless that was noted before the clock went back.
    again_by = max(schedule.next_fire_at, now + 2 * AGAIN_SECONDS * SECOND)
    return schedule.next_fire_at if schedule.due_at > again_by else None


def decide(row: ScheduleRow, now: int) -> Turn:
    """What a schedule does now. Pure."""
    # What was before it was made is none of its own, though the clock may have been there since.
    first = max(row.next_fire_at, row.created_at + 1) if row.created_at < now else row.next_fire_at
    plan = plan_fires(schedule_from_text(row.spec), misfire_from_text(row.misfire), next_fire_at=first, now=now)
    passed = [
        Passed(run.first, run.last, run.count, f"{run.reason}{' (counted up to a limit)' if run.capped else ''}")
        for run in plan.passed
    ]
    return Turn(fires=plan.fires, passed=passed, next_fire_at=plan.next_fire_at)


def make_job(row: ScheduleRow, fire_at: int) -> NewJob:
    """The job of one occurrence, due at its time, so that its lateness shows."""
    return from_template(json.loads(row.template), schedule=row.name, run_at=fire_at)


def to_template(job: NewJob, *, expires_in: int | None) -> str:
    """What is stored of a recurring job: the columns that every occurrence shares.

    Args:
        expires_in: microseconds from each occurrence's own time.
    """
    shared = {
        name: getattr(job, name)
        for name in ("executor", "queue", "priority", "name", "payload", "code", "options", "tags")
    }
    return json.dumps(shared | {"expires_in": expires_in}, separators=(",", ":"))


def from_template(template: Mapping[str, Any], *, schedule: str, run_at: int) -> NewJob:
    """The job that a template makes at `run_at`."""
    columns = dict(template)
    expires_in = columns.pop("expires_in")
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

"""Firing recurring jobs: decide what is due, enqueue it, record it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from embedq.clock import SECOND, Clock
from embedq.misfire import misfire_from_text, plan_fires
from embedq.schedule import schedule_from_text
from embedq.storage import schedules
from embedq.storage.base import Database
from embedq.storage.rows import NewJob, storable
from embedq.storage.schedules import Passed, ScheduleRow, Turn

logger = logging.getLogger("embedq")

# A schedule that could not take its turn is tried again after this; the others do not wait for it. Within the grace of
# the misfire policy "skip", so that one failed turn does not make an occurrence late.
AGAIN_SECONDS = 20


def fire_due(database: Database, clock: Clock) -> int:
    """Let every schedule that is due take its turn, each in a transaction of its own; return how many jobs it made.

    One that fails is noted, and does not keep the others from theirs.
    """
    made = 0
    now = clock.now()
    for name in database.read(schedules.due, now=now):
        try:
            made += len(database.write(schedules.fire, name, lambda row: decide(row, now), make_job, now=now))
        except Exception as error:
            logger.exception("recurring job %r could not fire; trying again in %d s", name, AGAIN_SECONDS)
            text = storable(f"{type(error).__qualname__}: {error}"[:2000])
            database.write(schedules.fail, name, text, again_at=now + AGAIN_SECONDS * SECOND)
    return made


def decide(row: ScheduleRow, now: int) -> Turn:
    """What a schedule does now. Pure."""
    plan = plan_fires(
        schedule_from_text(row.spec), misfire_from_text(row.misfire), next_fire_at=row.next_fire_at, now=now
    )
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

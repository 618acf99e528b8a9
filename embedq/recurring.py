"""Recurring jobs as the app's verbs see them: put, trigger, pause, resume, remove, list."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from embedq.clock import SECOND, to_datetime
from embedq.drafting import Drafting, check_text
from embedq.engine import Engine
from embedq.errors import ConfigurationError, ScheduleError
from embedq.job import JobId
from embedq.maintenance import recurring as firing
from embedq.misfire import Misfire, misfire_from_text, misfire_to_text, parse_misfire
from embedq.schedule import Cron, Every, parse_schedule, schedule_from_text, schedule_to_text
from embedq.storage import inspect, schedules
from embedq.storage.rows import storable
from embedq.storage.schedules import Change, ScheduleRow
from embedq.task import Call
from embedq.transactions import writing

logger = logging.getLogger("embedq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A recurring job as stored.

    Attributes:
        when: its cron expression or interval; None when it cannot be read here, and then `misfire` is None too.
        task: the name of the function it runs.
        queue: None when what it enqueues cannot be read.
        error: why its last turn could not fire, or why it cannot be read; None when all is well.
    """

    name: str
    when: Cron | Every | None
    misfire: Misfire | None
    task: str
    queue: str | None
    next_fire_at: datetime
    last_fire_at: datetime | None
    last_job_id: JobId | None
    paused: bool
    error: str | None


class RecurringJobs:
    """The recurring jobs of one app."""

    def __init__(self, engine: Engine, drafting: Drafting) -> None:
        self._engine = engine
        self._drafting = drafting
        self._pending: list[Callable[[], None]] = []
        self._declared: dict[str, Callable[[RecurringJobs], None]] = {}

    def put(
        self,
        name: str,
        when: str | Cron | Every | timedelta,
        call: Call,
        *,
        timezone: str | None,
        misfire: str | Misfire,
        grace: timedelta | None,
    ) -> None:
        """Add or update; before the app is connected, when it is. Mistakes are reported at once."""
        if not isinstance(name, str) or not 0 < len(name) <= 255:
            raise ConfigurationError(f"a recurring job's name must be a string of 1 to 255 characters, not {name!r}")
        check_text("the recurring job's name", name)
        if call.task.wanted.idempotency_key is not None:
            raise ConfigurationError(
                f"recurring job {name!r} cannot have an idempotency_key: each occurrence is a new job"
            )
        schedule = parse_schedule(when, timezone=timezone, name=name)
        policy = parse_misfire(misfire, grace)

        def write() -> None:
            row = self._drafting.row(call)
            expires_in = call.task.wanted.expires_in
            now = self._engine.clock.now()
            change: Change | None = writing(self._engine)(
                schedules.put,
                name=name,
                spec=schedule_to_text(schedule),
                misfire=misfire_to_text(policy),
                task=call.task.name,
                template=firing.to_template(row, expires_in=None if expires_in is None else int(expires_in * SECOND)),
                first_fire=schedule.next_micros(now),
                now=now,
            )
            if change is not None:
                self._changed()
                if change.formerly not in (None, call.task.name):
                    self._taken_over(name, change.formerly, call.task.name)

        self._declared[name] = lambda other: other.put(
            name, when, call, timezone=timezone, misfire=misfire, grace=grace
        )
        if self._engine.connected:
            write()
        else:
            self._pending.append(write)

    def declare_in(self, other: RecurringJobs) -> None:
        """Put everything that was put here into another app as well."""
        for put in self._declared.values():
            put(other)

    def write_pending(self) -> None:
        """Write what was put before the app was connected."""
        while self._pending:
            self._pending[0]()
            # Only now: what could not be written is written when it is tried again.
            del self._pending[0]

    def trigger(self, name: str) -> int:
        """Enqueue a run now; return the job's id."""
        job_id = self._engine.database.write(schedules.trigger, name, firing.make_job, now=self._engine.clock.now())
        self._engine.notify(0)
        return job_id

    def pause(self, name: str) -> None:
        """Fire no more until resumed."""
        self._engine.database.write(schedules.pause, name, now=self._engine.clock.now())

    def resume(self, name: str) -> None:
        """Fire again, from the next occurrence on."""
        now = self._engine.clock.now()

        def next_fire(row: ScheduleRow) -> int:
            return schedule_from_text(row.spec).next_micros(now)

        self._engine.database.write(schedules.resume, name, next_fire=next_fire, now=now)
        self._changed()

    def remove(self, name: str) -> None:
        """Forget it."""
        self._engine.database.write(schedules.remove, name)
        self._declared.pop(name, None)

    def _taken_over(self, name: str, formerly: str, task: str) -> None:
        # Imported here: at most starts nothing has changed.
        from embedq.doctor.first_look import warn_of_takeover

        engine = self._engine
        logger.info("recurring job %r runs %s now, and no longer %s", name, task, formerly)
        warn_of_takeover(engine.settings, engine.clock, engine.database, name=name, formerly=formerly, task=task)

    def _changed(self) -> None:
        """Let the leader look again, if it is here."""
        if self._engine.runtime is not None:
            self._engine.runtime.leader.look_again()

    def all(self) -> list[Schedule]:
        """Every recurring job, by name."""
        return [_schedule(row) for row in self._engine.database.read(inspect.schedules)]


def _schedule(row: ScheduleRow) -> Schedule:
    # Written by a newer embedq, in a time zone that this system lacks, or damaged: the others are listed all the same.
    when, misfire, queue, error = None, None, None, row.error
    try:
        queue = str(json.loads(row.template)["queue"])
    except (ValueError, TypeError, KeyError):
        error = f"what it enqueues cannot be read; register it again: {storable(row.template[:200])!r}"
    try:
        when, misfire = schedule_from_text(row.spec), misfire_from_text(row.misfire)
    except ScheduleError as unreadable:
        error = str(unreadable)
    return Schedule(
        name=row.name,
        when=when,
        misfire=misfire,
        task=row.task,
        queue=queue,
        next_fire_at=to_datetime(row.next_fire_at),
        last_fire_at=None if row.last_fire_at is None else to_datetime(row.last_fire_at),
        last_job_id=None if row.last_job_id is None else JobId(row.last_job_id),
        paused=row.paused_at is not None,
        error=error,
    )

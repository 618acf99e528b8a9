"""Recurring jobs, behind the app's verbs: add, trigger, pause, resume, remove, list."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, TypeAlias

from embedq.clock import SECOND, to_datetime
from embedq.config import check_limit
from embedq.display.units import counted
from embedq.engine.job_builder import JobBuilder, check_text
from embedq.engine.lifecycle import Engine
from embedq.engine.transactions import writing
from embedq.errors import ConfigurationError, ScheduleError
from embedq.flow.unique import Unique
from embedq.job import JobId
from embedq.maintenance import scheduler
from embedq.observability.log import get_logger
from embedq.scheduling.misfire import Misfire, misfire_from_text, misfire_to_text, parse_misfire
from embedq.scheduling.overlap import Overlap, parse_overlap
from embedq.scheduling.schedule import Cron, Every, parse_schedule, schedule_from_text, schedule_to_text
from embedq.storage import firing, inspect, schedules
from embedq.storage.base import Database, Transaction
from embedq.storage.inspect import ScheduleState
from embedq.storage.rows import storable
from embedq.storage.schedules import Change, DeclaredSchedule, ScheduleRow
from embedq.tasks.task import Call

logger = get_logger()

# See `StoredSchedules`.
CACHE_AFTER_CALLS = 20
CACHE_SECONDS = 1.0
CACHE_SIZE = 20_000
# So many are named in a log line.
LISTED = 10

WarnOfTakeover: TypeAlias = Callable[[Engine, str, str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A recurring job as stored.

    Attributes:
        when: its cron expression or interval; None when it cannot be read here, and then `misfire` is None too.
        task: the name of the function it runs.
        overlap: what happens to an occurrence while a run has not ended; see embedq.scheduling.overlap.
        queue: None when what it enqueues cannot be read.
        skipped: how many occurrences in a row were skipped, because a run was in their way.
        missing_since: since when the code no longer declares it; see `EmbedQ.sync_recurring`.
        error: why it could not fire last time, or why it cannot be read; None if neither.
    """

    name: str
    when: Cron | Every | None
    misfire: Misfire | None
    overlap: str
    task: str
    queue: str | None
    next_fire_at: datetime
    last_fire_at: datetime | None
    last_job_id: JobId | None
    paused: bool
    error: str | None
    skipped: int
    missing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A recurring job as the code declares it."""

    name: str
    schedule: Cron | Every
    misfire: Misfire
    overlap: Overlap
    call: Call[Any]


class RecurringJobs:
    """The recurring jobs of one app.

    Those that are declared before the app is connected are compared with the stored ones, and written, many at a time.

    Args:
        warn_of_takeover: called with the name of a recurring job that now runs another function, and the former and
            the new function.
    """

    def __init__(self, engine: Engine, builder: JobBuilder, warn_of_takeover: WarnOfTakeover) -> None:
        self._engine = engine
        self._warn_of_takeover = warn_of_takeover
        self._builder = builder
        self._pending: list[Declared] = []
        self._declared: dict[str, Declared] = {}
        # The arguments of a `sync` before the app was connected.
        self._pending_sync: tuple[bool, str] | None = None
        self._stored = StoredSchedules()

    def put(
        self,
        name: str,
        when: str | Cron | Every | timedelta,
        call: Call[Any],
        *,
        timezone: str | tzinfo | None,
        misfire: str | Misfire,
        grace: timedelta | None,
        overlap: str,
    ) -> None:
        """Add or update one, when the app is connected. Mistakes are reported at once."""
        if not isinstance(name, str) or not 0 < len(name) <= 255:
            raise ConfigurationError(f"a recurring job's name must be a string of 1 to 255 characters, not {name!r}")
        check_text("the recurring job's name", name)
        if call.task.effective.idempotency_key is not None:
            raise ConfigurationError(
                f"recurring job {name!r} cannot have an idempotency_key: each occurrence is a new job"
            )
        sameness = call.task.effective.sameness
        if sameness is not None and not (isinstance(sameness, Unique) and sameness.on_conflict != "raise"):
            raise ConfigurationError(
                f"recurring job {name!r}: {sameness!r} does not go with a schedule; use embedq.Unique with "
                'on_conflict="keep" or "replace": an occurrence whose job is there already is that job'
            )
        schedule = parse_schedule(when, timezone=timezone, name=name)
        late, early = parse_misfire(misfire, grace), parse_overlap(overlap)
        self.declare([Declared(name=name, schedule=schedule, misfire=late, overlap=early, call=call)])

    def declare(self, given: Iterable[Declared]) -> None:
        """Add or update all of them."""
        new = list(given)
        # Even if it cannot be written: tests of the app read the declarations, too.
        self._declared.update((one.name, one) for one in new)
        if not self._engine.connected:
            self._pending += new
            return
        while new:
            del new[: self._write_some(new)]

    def declare_in(self, other: RecurringJobs) -> None:
        """Declare everything that was declared here in another app as well."""
        other.declare(self._declared.values())

    def write_pending(self) -> None:
        """Write those that were declared before the app was connected."""
        while self._pending:
            # Removed only when written: the others are written when this is tried again.
            del self._pending[: self._write_some(self._pending)]
        if self._pending_sync is not None:
            prune, declared_in = self._pending_sync
            self.sync(prune=prune, declared_in=declared_in)
            self._pending_sync = None

    def sync(self, *, prune: bool, declared_in: str) -> list[str]:
        """Compare the stored recurring jobs of a set with those declared so far; see `EmbedQ.sync_recurring`."""
        if not isinstance(declared_in, str) or not 0 < len(declared_in) <= 255:
            raise ConfigurationError(f"group={declared_in!r} must be a string of 1 to 255 characters")
        check_text("the group", declared_in)
        if not self._engine.connected:
            self._pending_sync = prune, declared_in
            return []
        now = self._engine.clock.now()
        missing = self._engine.database.write(
            schedules.sync, sorted(self._declared), declared_in=declared_in, prune=prune, now=now
        )
        self._stored.forget()
        if missing:
            logger.warning(
                "the code no longer declares %s: %s; %s",
                counted(len(missing), "recurring job"), ", ".join(map(repr, missing[:LISTED])),
                "removed" if prune else "still firing; sync_recurring(prune=True) removes what is missing",
            )  # fmt: skip
        return missing

    def _write_some(self, given: Sequence[Declared]) -> int:
        """Write the first of them, as many as fit into one transaction; return how many."""
        rows: dict[str, DeclaredSchedule] = {}
        size = taken = 0
        for one in given[: schedules.TURNS]:
            try:
                drafted = self._row_of(one)
            except Exception:
                if not taken:
                    raise
                # Those before it are still written.
                break
            size += len(drafted.template)
            if taken and size > schedules.SET_SIZE:
                break
            rows[one.name] = drafted
            taken += 1
        self._write(rows, {one.name: one.schedule for one in given[:taken]})
        return taken

    def _row_of(self, one: Declared) -> DeclaredSchedule:
        row, expires_in = self._builder.row(one.call), self._builder.resolve(one.call.task).options.expires_in
        return DeclaredSchedule(
            name=one.name,
            spec=schedule_to_text(one.schedule),
            misfire=misfire_to_text(one.misfire),
            task=one.call.task.name,
            template=scheduler.to_template(row, expires_in=None if expires_in is None else int(expires_in * SECOND)),
            overlap=one.overlap,
        )

    def _write(self, rows: Mapping[str, DeclaredSchedule], due: Mapping[str, Cron | Every]) -> None:
        engine = self._engine
        write, other = writing(engine), list(rows.values())
        if write == engine.database.write:
            other = self._stored.unlike(engine.database, other)
            if not other:
                return
        self._stored.forget()
        now = engine.clock.now()
        changes: dict[str, Change] = write(
            schedules.put, other, first_fire=lambda one: due[one.name].next_micros(now), now=now
        )
        if changes:
            self._changed()
        for name, change in changes.items():
            if change.formerly not in (None, rows[name].task):
                self._taken_over(name, change.formerly, rows[name].task)

    def trigger(self, name: str) -> int:
        """Enqueue a run now; return the job's id."""
        job_id = self._engine.database.write(firing.trigger, name, scheduler.make_job, now=self._engine.clock.now())
        self._engine.notify(0)
        return job_id

    def pause(self, name: str) -> None:
        """Do not fire until resumed."""
        self._engine.database.write(schedules.pause, name, now=self._engine.clock.now())

    def resume(self, name: str) -> None:
        """Fire again, from the next occurrence on."""
        now = self._engine.clock.now()

        def next_fire(row: ScheduleRow) -> int:
            return schedule_from_text(row.spec).next_micros(now)

        self._engine.database.write(schedules.resume, name, next_fire=next_fire, now=now)
        self._changed()

    def remove(self, name: str) -> None:
        """Delete it."""
        self._engine.database.write(schedules.remove, name)
        self._declared.pop(name, None)
        self._stored.forget()

    def _taken_over(self, name: str, formerly: str, task: str) -> None:
        logger.info("recurring job %r runs %s now, and no longer %s", name, task, formerly)
        self._warn_of_takeover(self._engine, name, formerly, task)

    def _changed(self) -> None:
        """Wake the leader, if it is here."""
        if self._engine.runtime is not None:
            self._engine.runtime.leader.look_again()

    def find(
        self,
        *,
        name: str | None = None,
        state: ScheduleState | str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> list[Schedule]:
        """Return recurring jobs by name; see `EmbedQ.schedules`. With `before`: the last ones before that name."""
        if limit is not None:
            limit = check_limit("recurring jobs", limit)
        rows = self._engine.database.read(
            inspect.schedules,
            part=name or None,
            state=_state(state),
            after=after,
            before=before,
            limit=limit,
            now=self._engine.clock.now(),
        )
        return [_schedule(row) for row in rows]

    def one(self, name: str) -> Schedule:
        """Return the recurring job of that name. ScheduleNotFoundError if there is none."""
        return _schedule(self._engine.database.read(schedules.load, name))


def _state(state: ScheduleState | str | None) -> ScheduleState | None:
    try:
        return None if state is None else ScheduleState(state)
    except ValueError:
        raise ConfigurationError(f"state={state!r} must be one of: {', '.join(ScheduleState)}") from None


class StoredSchedules:
    """Finds the recurring jobs that are not stored as the code declares them.

    A program that declares thousands, one call after another once it is connected, would query the database as often.
    From call number `CACHE_AFTER_CALLS` within a second on, all stored ones are read at once, and cached until that
    second is over: as if those calls had come a moment earlier.
    """

    def __init__(self) -> None:
        self._since = -math.inf
        self._calls = 0
        self._known: dict[str, int] | None = None

    def unlike(self, database: Database, declared: Sequence[DeclaredSchedule]) -> list[DeclaredSchedule]:
        """Return those that are stored otherwise, or not at all."""
        now = time.monotonic()
        if now - self._since > CACHE_SECONDS:
            self._since, self._calls, self._known = now, 0, None
        self._calls += 1
        if self._known is None and self._calls >= CACHE_AFTER_CALLS:
            self._known = database.read(_known)
        known = self._known or {}
        unknown = [one for one in declared if known.get(one.name) != hash(one)]
        return database.read(schedules.unlike, unknown) if unknown else []

    def forget(self) -> None:
        """Drop the cache: this process changes stored recurring jobs."""
        self._since = -math.inf


def _known(tx: Transaction) -> dict[str, int]:
    page = inspect.schedules(tx, limit=CACHE_SIZE)
    return {row.name: hash(DeclaredSchedule._make(row[: len(DeclaredSchedule._fields)])) for row in page}


def _schedule(row: ScheduleRow) -> Schedule:
    # It may be written by a newer embedq, use a time zone that this system lacks, or be damaged: the others are listed.
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
        overlap=row.overlap,
        task=row.task,
        queue=queue,
        next_fire_at=to_datetime(row.next_fire_at),
        last_fire_at=None if row.last_fire_at is None else to_datetime(row.last_fire_at),
        last_job_id=None if row.last_job_id is None else JobId(row.last_job_id),
        paused=row.paused_at is not None,
        error=error,
        skipped=row.skipped,
        missing_since=None if row.missing_since is None else to_datetime(row.missing_since),
    )

"""Recurring jobs: late ones, failing ones, and those that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from embedq.clock import Clock, to_datetime
from embedq.display.units import counted, span
from embedq.doctor import checks
from embedq.doctor.findings import Section
from embedq.engine.recurring import Schedule
from embedq.errors import ScheduleNotFoundError
from embedq.job import JobState
from embedq.storage import inspect
from embedq.storage.base import Database, Transaction
from embedq.storage.inspect.trouble import schedule_trouble

# The leader fires within a second, and retries a failed turn after 20.
LATE_SECONDS = 60
# So many occurrences in a row that were skipped are worth a word.
SKIPS = 10
# How many schedules are checked one by one, besides those that are late or fail; and how many findings of one kind are
# listed.
EXAMINED, SHOWN = 2_000, 20


class ScheduleSource(Protocol):
    """The part of an app that reads schedules."""

    @property
    def clock(self) -> Clock: ...
    @property
    def database(self) -> Database: ...

    def schedules(self, *, limit: int | None) -> list[Schedule]: ...
    def schedule(self, name: str) -> Schedule: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFacts:
    """The schedules to check.

    Attributes:
        number: the number of all schedules.
        last_states: the states of the last jobs of these schedules, by id.
    """

    schedules: Sequence[Schedule]
    number: int
    last_states: Mapping[int, str]


def read(app: ScheduleSource) -> ScheduleFacts:
    """Read the schedules; of very many, the first ones and those with problems."""
    found = app.schedules(limit=EXAMINED)
    number = len(found)
    if number == EXAMINED:

        def read_others(tx: Transaction) -> tuple[int, list[str]]:
            [(total,)] = tx.select("SELECT count(*) FROM embedq_schedules")
            return int(total), [trouble.name for trouble in schedule_trouble(tx, now=app.clock.now())]

        number, troubled = app.database.read(read_others)
        known = {schedule.name for schedule in found}
        for name in troubled:
            if name not in known:
                with suppress(ScheduleNotFoundError):
                    found.append(app.schedule(name))
    last = [schedule.last_job_id for schedule in found if schedule.last_job_id is not None]
    states: dict[int, str] = {}
    for start in range(0, len(last), EXAMINED):
        states.update(app.database.read(inspect.states, last[start : start + EXAMINED]))
    return ScheduleFacts(schedules=found, number=number, last_states=states)


def check(facts: ScheduleFacts, *, now: int, alive: bool) -> Section:
    """Check every schedule that was read.

    Args:
        alive: whether a process runs jobs.
    """
    section = Section("Recurring jobs")

    def late(schedule: Schedule) -> float:
        return (to_datetime(now) - schedule.next_fire_at).total_seconds()

    broken = [one for one in facts.schedules if one.error is not None]
    for schedule in broken[:SHOWN]:
        section.add(checks.SCHEDULE_BROKEN, name=schedule.name, error=schedule.error)
    behind = [one for one in facts.schedules if one.error is None and not one.paused and late(one) > LATE_SECONDS]
    remedy = "look for errors of embedq in the logs of the processes" if alive else "no process runs jobs: start one"
    for schedule in behind[:SHOWN]:
        section.add(checks.SCHEDULE_LATE, name=schedule.name, late=span(late(schedule)), remedy=remedy)
    for more, found in ((checks.SCHEDULES_BROKEN_MORE, broken), (checks.SCHEDULES_LATE_MORE, behind)):
        if len(found) > SHOWN:
            section.add(more, more=counted(len(found) - SHOWN, "more recurring job"))
    failed = [one for one in facts.schedules if facts.last_states.get(one.last_job_id or 0) == JobState.DEAD]
    for schedule in failed[:SHOWN]:
        section.add(checks.SCHEDULE_FAILS, name=schedule.name, job=schedule.last_job_id)
    silenced = [one for one in facts.schedules if one.skipped >= SKIPS]
    for schedule in silenced[:SHOWN]:
        section.add(checks.SCHEDULE_SKIPS, name=schedule.name, skipped=f"{schedule.skipped:,}")
    missing = [schedule.name for schedule in facts.schedules if schedule.missing_since is not None]
    if missing:
        schedules = counted(len(missing), "recurring job")
        section.add(checks.SCHEDULE_MISSING, schedules=schedules, details=tuple(missing[:5]))
    paused = [schedule.name for schedule in facts.schedules if schedule.paused]
    if paused:
        schedules = counted(len(paused), "recurring job")
        section.add(checks.SCHEDULE_PAUSED, schedules=schedules, details=tuple(paused[:5]))
    if not section.findings:
        section.fine.append(f"{counted(facts.number, 'schedule')}, none late" if facts.number else "none")
    return section

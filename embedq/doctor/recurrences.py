"""Recurring jobs: late ones, failing ones, and those that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from embedq.clock import to_datetime
from embedq.doctor.findings import Section
from embedq.job import JobId, JobState
from embedq.recurring import Schedule
from embedq.wording import counted, span

# The leader fires within a second; a turn that failed is tried again after 20.
LATE_SECONDS = 60


def check(schedules: Sequence[Schedule], ended: Mapping[JobId, JobState], *, now: int, alive: bool) -> Section:
    """Every schedule.

    Args:
        ended: the states of their last jobs.
        alive: some process runs jobs.
    """
    section = Section("Recurring jobs")
    late = 0
    for schedule in schedules:
        seconds = (to_datetime(now) - schedule.next_fire_at).total_seconds()
        if schedule.error is not None:
            section.error(
                "schedule-broken",
                f"recurring job {schedule.name!r} cannot fire: {schedule.error}",
                "register it again from code that can, or remove it: embedq schedules remove NAME",
            )
        elif not schedule.paused and seconds > LATE_SECONDS:
            late += 1
            section.error(
                "schedule-late",
                f"recurring job {schedule.name!r} should have fired {span(seconds)} ago",
                "look for errors of embedq in the processes' logs" if alive else "no process runs jobs: start one",
            )
        if schedule.last_job_id is not None and ended.get(schedule.last_job_id) is JobState.DEAD:
            section.warning(
                "schedule-fails",
                f"the last run of recurring job {schedule.name!r} failed for good",
                f"embedq show {schedule.last_job_id}",
            )
    paused = [schedule.name for schedule in schedules if schedule.paused]
    if paused:
        section.note(
            "schedule-paused",
            f"{counted(len(paused), 'recurring job')} paused",
            "embedq schedules resume NAME",
            tuple(paused[:5]),
        )
    if not section.findings:
        section.fine.append(f"{counted(len(schedules), 'schedule')}, none late" if schedules else "none")
    return section

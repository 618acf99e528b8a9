"""Occurrences that were computed under rules of a time zone that have changed since.

Governments change their clocks at short notice, and an update of tzdata follows. The next occurrence of a schedule is
stored as an instant. After a change it may be none any more: the clock shows the scheduled time an hour earlier or
later. It is replaced by the occurrence next to it, so that none is lost and none happens at another time of the day.
"""

from __future__ import annotations

from embedq.clock import SECOND
from embedq.errors import ScheduleError
from embedq.scheduling.schedule import Cron, Schedule

# Changes of rules were an hour or two, with few exceptions.
MOST_SHIFT = 3 * 3600 * SECOND


def corrected(schedule: Schedule, occurrence: int) -> int:
    """Return a stored occurrence as it is under the present rules, in microseconds; mostly the same.

    What is no occurrence at all, and has none within three hours, is returned as it is.
    """
    if not isinstance(schedule, Cron) or schedule.timezone == "UTC":
        return occurrence
    try:
        later = schedule.next_micros(occurrence - 1)
    except ScheduleError:
        return occurrence
    if later == occurrence:
        return occurrence
    try:
        earlier = schedule.previous_micros(occurrence)
    except ScheduleError:
        earlier = later
    nearest = min(earlier, later, key=lambda one: (abs(one - occurrence), one))
    return nearest if abs(nearest - occurrence) <= MOST_SHIFT else occurrence

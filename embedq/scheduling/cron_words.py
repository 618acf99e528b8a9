"""A cron expression in words: `at 09:00, Monday to Friday`, `every 15 minutes, in January`.

The words are made from what the expression means, not from its text, so equal expressions are described alike; and
nothing is left out, so that expressions described alike match the same readings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from embedq.scheduling.cron import CronExpression, Days, Weekdays
from embedq.scheduling.cron_fields import MONTHS, WEEKDAYS

# So many times of a day are listed.
_MOST_TIMES = 6
_ORDINALS = ("", "first", "second", "third", "fourth", "fifth")


def describe(rule: CronExpression) -> str:
    """Return when the expression matches, in words."""
    parts = [_times(rule)]
    if days := _days(rule):
        parts.append(days)
    elif len(rule.months) == 12 and parts[0].startswith("at ") and not parts[0].endswith(" hour"):
        parts[0] += " every day"
    if len(rule.months) < 12:
        parts.append(f"in {_joined(_runs(sorted(rule.months), lambda month: MONTHS[month - 1].capitalize()))}")
    return ", ".join(parts)


# -- of the day --------------------------------------------------------------------------------------------------------


def _times(rule: CronExpression) -> str:
    hours = sorted({minute // 60 for minute in rule.minutes})
    minutes = sorted({minute % 60 for minute in rule.minutes})
    seconds = rule.seconds
    if len(rule.minutes) <= _MOST_TIMES and len(seconds) == 1:
        ending = f":{seconds[0]:02}" if seconds[0] else ""
        return "at " + _joined(f"{_clock(minute)}{ending}" for minute in rule.minutes)
    text = _within_hours(hours, minutes)
    if seconds == (0,):
        return text
    if (every := _every(seconds, 60, "second")) and len(minutes) == 60:
        return every if len(hours) == 24 else f"{every}{text.removeprefix('every minute')}"
    name = "second" if len(seconds) == 1 else "seconds"
    return f"{text}, at {name} {_joined(_runs(seconds, str))}" if not every else f"{text}, {every} of that minute"


def _within_hours(hours: Sequence[int], minutes: Sequence[int]) -> str:
    every_minute, every_hour = _every(minutes, 60, "minute"), _every(hours, 24, "hour")
    if every_minute:
        if len(hours) == 24:
            return every_minute
        if _is_run(hours):
            return f"{every_minute} from {_clock(hours[0] * 60 + minutes[0])} to {_clock(hours[-1] * 60 + minutes[-1])}"
        return f"{every_minute} of the hours {_joined(_runs(hours, str))}"
    if len(minutes) == 1:
        if len(hours) == 24:
            return "every hour" if minutes == [0] else f"at minute {minutes[0]} of every hour"
        if _is_run(hours):
            return f"every hour from {_clock(hours[0] * 60 + minutes[0])} to {_clock(hours[-1] * 60 + minutes[0])}"
        if every_hour and hours[0] == 0:
            return every_hour if minutes == [0] else f"{every_hour} from {_clock(minutes[0])}"
    listed = f"at minute{'s' if len(minutes) > 1 else ''} {_joined(_runs(minutes, str))}"
    return f"{listed} of every hour" if len(hours) == 24 else f"{listed} of the hours {_joined(_runs(hours, str))}"


def _every(values: Sequence[int], size: int, unit: str) -> str | None:
    """Return `every 15 minutes` where the values go round evenly from 0 on."""
    step = size // len(values)
    if len(values) == 1 or size % len(values) or list(values) != list(range(0, size, step)):
        return None
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


# -- of the year -------------------------------------------------------------------------------------------------------


def _days(rule: CronExpression) -> str:
    days = "" if rule.days is None else _days_of_month(rule.days)
    weekdays = "" if rule.weekdays is None else _days_of_week(rule.weekdays)
    if days and weekdays:
        return f"on {days} or on {weekdays}" if rule.either else f"on {days} if it is {weekdays}"
    return f"on {days}" if days else weekdays


def _days_of_month(days: Days) -> str:
    named = _runs(sorted(days.numbers), _ordinal)
    for moving in sorted(days.moving):
        if moving.from_end:
            back = f"{moving.day} day{'s' if moving.day > 1 else ''} before the last day" if moving.day else "last day"
        else:
            back = _ordinal(moving.day)
        article = "" if moving.day and moving.from_end else "the "
        if moving.weekday and moving == (0, True, True):
            named.append("the last day from Monday to Friday")
        elif moving.weekday:
            named.append(f"the day from Monday to Friday nearest to {article if moving.from_end else ''}{back}")
        else:
            named.append(f"{article}{back}")
    return f"{_joined(named)} of the month"


def _days_of_week(weekdays: Weekdays) -> str:
    # Monday first; a run may end with Sunday.
    numbers = sorted((number + 6) % 7 for number in weekdays.numbers)
    named = _runs(numbers, lambda number: WEEKDAYS[(number + 1) % 7].capitalize())
    for weekday, nth in sorted(weekdays.nth):
        named.append(f"the {_ORDINALS[nth] if nth > 0 else 'last'} {WEEKDAYS[weekday].capitalize()} of the month")
    return _joined(named)


def _ordinal(number: int) -> str:
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"the {number}{ending}"


# -- lists -------------------------------------------------------------------------------------------------------------


def _is_run(values: Sequence[int]) -> bool:
    return len(values) > 2 and values[-1] - values[0] == len(values) - 1


def _runs(values: Sequence[int], name: Callable[[int], str]) -> list[str]:
    """Name ascending values, three and more that follow each other as `first to last`."""
    named: list[str] = []
    start = 0
    for end in range(1, len(values) + 1):
        if end < len(values) and values[end] == values[end - 1] + 1:
            continue
        run = values[start:end]
        named += [f"{name(run[0])} to {name(run[-1])}"] if len(run) > 2 else [name(value) for value in run]
        start = end
    return named


def _joined(items: Iterable[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last

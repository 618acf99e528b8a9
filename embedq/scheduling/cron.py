"""Cron expressions, apart from any time zone.

croniter reads the text (names, ranges, steps, `L`, `#`, `W`, hashed `H`); the search for the next matching reading of
a clock is embedq's own, because croniter's takes 30 to 160 µs a step, and embedq's works alike in both directions.
A reading is an integer, a *wall*: the seconds from 1970-01-01T00:00 to what the clock on the wall shows.

The surprise: some expressions that croniter accepts are refused here, because it reads them as something else:
`9-9` as the whole field, `*/90` minutes as every hour, a reversed range with a step with values missing, `R` as another
random time in every process, and a day of month beside `fri#2`, `L5` or `15W` as if the other field were missing.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from embedq.errors import ScheduleError

DAY_SECONDS = 86_400
HORIZON_YEARS = 50
_HORIZON_DAYS = HORIZON_YEARS * 366
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    size: int
    takes: str
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        """Return the value of a plain item, None for anything else; names count from the field's first value."""
        if text.isdecimal():
            return int(text)
        return self.names.index(text.lower()) if text.lower() in self.names else None


# In the order in which they are written.
_FIELDS = (
    _Field("second", 60, "0-59"),
    _Field("minute", 60, "0-59"),
    _Field("hour", 24, "0-23"),
    _Field("day of month", 31, "1-31, L (the last day) or 15W (the weekday nearest to the 15th)"),
    _Field("month", 12, "1-12 or jan-dec", _MONTHS),
    _Field(
        "day of week",
        7,
        "0-7 (0 and 7 are Sunday) or sun-sat, fri#2 (the second Friday) or L5 (the last Friday)",
        _WEEKDAYS,
    ),
)
_HELP = "write five fields (minute, hour, day of month, month, day of week), six with seconds first, or @daily and such"
_HASHED_STEP = re.compile(r"h/\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CronExpression:
    """The readings of a clock that an expression matches.

    Attributes:
        text: the expression as it was given, for messages.
        follows_elapsed_time: the minute or the hour is a wildcard or an interval (see `embedq.scheduling.schedule`).
        hashed: some field is an `H` form, so the times depend on the hash id.
        minutes: minutes of the day, ascending.
        days: days of the month, None for any; `last_day` adds the last one, `nearest_to` is the day before a `W`.
        weekdays: 0 is Sunday; None for any.
        nth_weekdays: for a weekday, which ones of the month (1 to 5, or "l" for the last); empty without `#` and `L`.
    """

    text: str
    follows_elapsed_time: bool
    hashed: bool
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    months: frozenset[int]
    days: frozenset[int] | None
    last_day: bool
    nearest_to: int | None
    weekdays: frozenset[int] | None
    nth_weekdays: Mapping[int, Collection[int | str]]

    def following(self, wall: int) -> int:
        """Return the first matching reading after `wall`.

        Raises:
            ScheduleError: there is none within 50 years, or before the calendar's end.
        """
        day, second = divmod(wall, DAY_SECONDS)
        if self._matches(day) and (found := self._second_after(second)) is not None:
            return day * DAY_SECONDS + found
        return self._search(day + 1, 1) * DAY_SECONDS + self.minutes[0] * 60 + self.seconds[0]

    def preceding(self, wall: int) -> int:
        """Return the last matching reading at `wall` or before it; raises as `following` does."""
        day, second = divmod(wall, DAY_SECONDS)
        if self._matches(day) and (found := self._second_until(second)) is not None:
            return day * DAY_SECONDS + found
        return self._search(day - 1, -1) * DAY_SECONDS + self.minutes[-1] * 60 + self.seconds[-1]

    def exhausted(self) -> ScheduleError:
        """Return the error for a search that found nothing."""
        return ScheduleError(
            f"{self.text!r} does not happen within {HORIZON_YEARS} years; check its day of month and its month"
        )

    def _second_after(self, second: int) -> int | None:
        minute, second = divmod(second, 60)
        at = bisect_left(self.minutes, minute)
        if at < len(self.minutes) and self.minutes[at] == minute:
            if second < self.seconds[-1]:
                return minute * 60 + self.seconds[bisect_right(self.seconds, second)]
            at += 1
        return self.minutes[at] * 60 + self.seconds[0] if at < len(self.minutes) else None

    def _second_until(self, second: int) -> int | None:
        minute, second = divmod(second, 60)
        at = bisect_right(self.minutes, minute) - 1
        if at >= 0 and self.minutes[at] == minute:
            if second >= self.seconds[0]:
                return minute * 60 + self.seconds[bisect_right(self.seconds, second) - 1]
            at -= 1
        return self.minutes[at] * 60 + self.seconds[-1] if at >= 0 else None

    def _search(self, day: int, step: int) -> int:
        """Return the first matching day from `day` on, forward (step 1) or back (step -1)."""
        end = day + step * _HORIZON_DAYS
        while (end - day) * step > 0 and 0 < day + _EPOCH_ORDINAL <= date.max.toordinal():
            if self._matches(day):
                return day
            day += step * self._days_to_skip(day, step)
        raise self.exhausted()

    def _days_to_skip(self, day: int, step: int) -> int:
        """Return 1, or the days to leave a month that does not match at all."""
        when = date.fromordinal(day + _EPOCH_ORDINAL)
        if when.month in self.months:
            return 1
        return _days_in_month(when) - when.day + 1 if step > 0 else when.day

    def _matches(self, day: int) -> bool:
        any_day = self.days is None and not self.last_day and self.nearest_to is None
        any_weekday = self.weekdays is None and not self.nth_weekdays
        if any_day and any_weekday and len(self.months) == 12:
            return True
        when = date.fromordinal(day + _EPOCH_ORDINAL)
        if when.month not in self.months:
            return False
        if any_day or any_weekday:
            return (any_day or self._matches_day(when)) and (any_weekday or self._matches_weekday(when))
        # As in Vixie cron: when both are given, either is enough.
        return self._matches_day(when) or self._matches_weekday(when)

    def _matches_day(self, when: date) -> bool:
        if self.nearest_to is not None:
            return when.day == _nearest_weekday(when, self.nearest_to)
        return when.day in (self.days or ()) or (self.last_day and when.day == _days_in_month(when))

    def _matches_weekday(self, when: date) -> bool:
        weekday = when.isoweekday() % 7
        if not self.nth_weekdays:
            return weekday in (self.weekdays or ())
        nth = self.nth_weekdays.get(weekday, ())
        return (when.day + 6) // 7 in nth or ("l" in nth and when.day + 7 > _days_in_month(when))


def parse_expression(text: str, hash_id: str | None) -> CronExpression:
    """Read an expression; `hash_id` is what `H` fields are hashed from.

    Raises:
        ScheduleError: it is not one, it can never match, or it has `H` fields and there is no `hash_id`.
    """
    fields = _split(text)
    hashed = any(field[0] in "hH" for field in fields)
    if hashed and not hash_id:
        raise ScheduleError(
            f"{text!r} has H fields, which spread schedules by their names, and it has no name; "
            "give the expression as text to a named schedule, or pass hash_id"
        )
    for field, part in zip(_FIELDS, fields, strict=True):
        _refuse_what_is_not_meant(text, field, part)
    expanded, nth_weekdays = _expand(text, fields, hash_id)
    minutes, hours, days, months, weekdays, seconds = expanded
    _refuse_a_field_without_effect(text, days, weekdays, nth_weekdays, nearest="w" in fields[3].lower())
    return CronExpression(
        text=text,
        follows_elapsed_time=_is_interval(fields[1]) or _is_interval(fields[2]),
        hashed=hashed,
        minutes=tuple(h * 60 + m for h in _numbers(hours, range(24)) for m in _numbers(minutes, range(60))),
        seconds=tuple(_numbers(seconds, range(60))),
        months=frozenset(_numbers(months, range(1, 13))),
        days=None if "*" in days else frozenset(day for day in days if isinstance(day, int)),
        last_day="l" in days,
        nearest_to=int(days[0]) if "w" in fields[3].lower() else None,
        weekdays=None if "*" in weekdays else frozenset(_numbers(weekdays, range(7))),
        nth_weekdays=nth_weekdays,
    )


def _split(text: str) -> list[str]:
    """Return the six fields, seconds first; a missing seconds field is 0."""
    if text.startswith("@"):
        known = _NICKNAMES.get(text.lower())
        if known is None:
            raise ScheduleError(f"{text!r} is not a known nickname; use one of {', '.join(_NICKNAMES)}")
        text = known
    fields = text.split()
    if len(fields) == 7:
        raise ScheduleError(f"{text!r} has seven fields, and a year field is not supported; leave the last one out")
    if len(fields) not in (5, 6):
        raise ScheduleError(f"{text!r} has {len(fields)} fields; {_HELP}")
    return fields if len(fields) == 6 else ["0", *fields]


def _refuse_what_is_not_meant(text: str, field: _Field, part: str) -> None:
    if part[0] in "rR":
        raise ScheduleError(f"{text!r}: R picks another time in every process; use H, which is the same in all of them")
    for item in part.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        start, end = field.number(low), field.number(high)
        if start is not None and start == end:
            raise ScheduleError(f"{text!r}: the range {span} is a single {field.name}; write {low}")
        if step and start is not None and end is not None and start > end:
            raise ScheduleError(f"{text!r}: {item} runs backwards with a step; list the values of the {field.name}")
        if step.isdecimal() and int(step) > field.size:
            raise ScheduleError(
                f"{text!r}: the step of {item} is longer than the {field.name} field, which starts again after "
                f"{field.size}; for an interval of any length use every(...)"
            )


def _expand(text: str, fields: Sequence[str], hash_id: str | None) -> tuple[Any, Mapping[int, Collection[int | str]]]:
    """Return what croniter reads: the values of each field (seconds last), `*` or `l`; the `#` and `L` weekdays."""
    # Imported here because it takes 77 ms, and only cron schedules need it. It has no types.
    croniter: Any = importlib.import_module("croniter")
    key = (hash_id or "").encode()

    def expand(parts: Sequence[str]) -> Any:
        return croniter.croniter.expand(" ".join(parts), hash_id=key, second_at_beginning=True)

    try:
        expanded: tuple[Any, Mapping[int, Collection[int | str]]] = expand(fields)
        return expanded
    except croniter.CroniterUnsupportedSyntaxError:
        raise _mixed_weekdays(text) from None
    except croniter.CroniterError:
        pass
    for at, (field, part) in enumerate(zip(_FIELDS, fields, strict=True)):
        try:
            expand([part if position == at else "*" for position in range(len(_FIELDS))])
        except croniter.CroniterError:
            raise ScheduleError(f"{text!r}: {part!r} is wrong for the {field.name}: it takes {field.takes}") from None
    raise ScheduleError(f"{text!r} is not a cron expression; {_HELP}")


def _refuse_a_field_without_effect(
    text: str, days: Sequence[Any], weekdays: Sequence[Any], nth_weekdays: Mapping[int, Any], *, nearest: bool
) -> None:
    if nth_weekdays and len(nth_weekdays) < 7 and set(weekdays) != set(nth_weekdays):
        raise _mixed_weekdays(text)
    if "*" not in days and nth_weekdays:
        raise ScheduleError(f"{text!r} has a day of month beside a weekday with # or L; use two schedules")
    if "*" not in weekdays and nearest:
        raise ScheduleError(f"{text!r} has a weekday beside a day of month with W; use two schedules")


def _mixed_weekdays(text: str) -> ScheduleError:
    return ScheduleError(f"{text!r} mixes plain weekdays with # or L ones; use two schedules")


def _is_interval(part: str) -> bool:
    return any(item.startswith("*") for item in part.split(",")) or _HASHED_STEP.fullmatch(part) is not None


def _numbers(values: Sequence[Any], everything: range) -> Sequence[int]:
    return everything if "*" in values else sorted(values)


def _days_in_month(when: date) -> int:
    if when.month == 2:
        leap = when.year % 4 == 0 and (when.year % 100 != 0 or when.year % 400 == 0)
        return 29 if leap else 28
    return 30 if when.month in (4, 6, 9, 11) else 31


def _nearest_weekday(when: date, day: int) -> int:
    """Return the day of `when`'s month, Monday to Friday, nearest to `day`, without leaving the month."""
    last = _days_in_month(when)
    day = min(day, last)
    weekday = when.replace(day=day).isoweekday()
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 7:
        return day + 1 if day < last else day - 2
    return day

"""Cron expressions, apart from any time zone.

`embedq.scheduling.cron_fields` reads the fields; here are the search for the next matching reading of a clock, and the
one before, and the rule for the two day fields: where both are restricted either is enough, and a field that begins
with `*` (also `*/2`) is not restricted in this sense, so that both must match. That is how Debian's cron has it.
A reading is an integer, a *wall*: the seconds from 1970-01-01T00:00 to what the clock on the wall shows.

The surprise: two expressions are equal when they mean the same (`00 2 * * *` and `0 2 * * *`, `1-5` and `mon-fri`). A
fixed time and an interval that match the same readings are not: they differ in nights when clocks change.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import date

from embedq.errors import ScheduleError
from embedq.scheduling.cron_fields import FIELDS, NUMBERED_WEEKDAY, FieldError, MonthDay, NthWeekday, Values, read_field

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
_HELP = "write five fields (minute, hour, day of month, month, day of week), six with seconds first, or @daily and such"


@dataclass(frozen=True, slots=True)
class Days:
    """Days of the month: numbers, and those that are other numbers in other months."""

    numbers: frozenset[int]
    moving: frozenset[MonthDay]

    def match(self, when: date) -> bool:
        return when.day in self.numbers or any(_falls_on(moving, when) for moving in self.moving)


@dataclass(frozen=True, slots=True)
class Weekdays:
    """Days of the week, 0 is Sunday: in every week, and in one week of the month."""

    numbers: frozenset[int]
    nth: frozenset[NthWeekday]

    def match(self, when: date) -> bool:
        weekday = when.isoweekday() % 7
        if weekday in self.numbers:
            return True
        return bool(self.nth) and (
            NthWeekday(weekday, (when.day + 6) // 7) in self.nth
            or (NthWeekday(weekday, -1) in self.nth and when.day + 7 > _days_in_month(when))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CronExpression:
    """The readings of a clock that an expression matches.

    Attributes:
        text: the expression as it was given, for messages.
        follows_elapsed_time: the minute or the hour is a wildcard or an interval (see `embedq.scheduling.schedule`).
        hashed: some field is an `H` form, so the times depend on the hash id.
        minutes: minutes of the day, ascending.
        days: None for any day of the month.
        weekdays: None for any.
        either: a day matches by its number or by its weekday; otherwise it must by both.
    """

    text: str = field(compare=False)
    follows_elapsed_time: bool
    hashed: bool = field(compare=False)
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    months: frozenset[int]
    days: Days | None
    weekdays: Weekdays | None
    either: bool

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
        days, weekdays = self.days, self.weekdays
        if days is None and weekdays is None and len(self.months) == 12:
            return True
        when = date.fromordinal(day + _EPOCH_ORDINAL)
        if when.month not in self.months:
            return False
        if self.either and days is not None and weekdays is not None:
            return days.match(when) or weekdays.match(when)
        return (days is None or days.match(when)) and (weekdays is None or weekdays.match(when))


def parse_expression(text: str, hash_id: str | None) -> CronExpression:
    """Read an expression; `hash_id` is what `H` fields are hashed from.

    Raises:
        ScheduleError: it is not one, or it has `H` fields and there is no `hash_id`. The message has how to write it.
    """
    try:
        return _read(text, hash_id)
    except FieldError as error:
        # Imported here because only a wrong expression needs it.
        from embedq.scheduling.cron_advice import advice

        def reads(other: str) -> bool:
            try:
                _read(other, hash_id or "a name")
            except FieldError:
                return False
            return True

        raise ScheduleError(f"{text!r}: {advice(text, reads) or error}") from None


def _read(text: str, hash_id: str | None) -> CronExpression:
    parts = _split(text)
    values = [read_field(of, part, hash_id) for of, part in zip(FIELDS, parts, strict=True)]
    second, minute, hour, day, month, weekday = values
    if "?" in (parts[3], parts[5]) and len(text.split()) > 5 and NUMBERED_WEEKDAY.search(parts[5]):
        raise FieldError("beside a ? a weekday's number has two meanings; write its name (mon)")
    days, weekdays, either = _day_rule(day, weekday)
    return CronExpression(
        text=text,
        follows_elapsed_time=minute.interval or hour.interval,
        hashed=any(value.hashed for value in values),
        minutes=tuple(h * 60 + m for h in sorted(hour.numbers) for m in sorted(minute.numbers)),
        seconds=tuple(sorted(second.numbers)),
        months=month.numbers,
        days=days,
        weekdays=weekdays,
        either=either,
    )


def _split(text: str) -> list[str]:
    """Return the six fields, seconds first; a missing seconds field is 0."""
    parts = _NICKNAMES.get(text.lower(), text).split()
    if text.startswith("@") and len(parts) < 5:
        raise FieldError(f"not a known nickname; use one of {', '.join(_NICKNAMES)}")
    # Seconds first and a year last, as Quartz has it.
    if len(parts) == 7 and parts.pop() not in ("*", "?"):
        raise FieldError(
            "a year field other than * is not supported: a schedule has no end; leave it out, "
            "and remove the recurring job when it is over"
        )
    if len(parts) not in (5, 6):
        raise FieldError(f"it has {len(parts)} fields; {_HELP}")
    return parts if len(parts) == 6 else ["0", *parts]


def _day_rule(day: Values, weekday: Values) -> tuple[Days | None, Weekdays | None, bool]:
    """Return both day fields, None for one that any day matches, and whether either is enough."""
    any_day, any_weekday = len(day.numbers) == 31, len(weekday.numbers) == 7
    either = not day.star and not weekday.star
    if either and (any_day or any_weekday):
        return None, None, False
    days = None if any_day else Days(day.numbers, day.month_days)
    weekdays = None if any_weekday else Weekdays(weekday.numbers, weekday.nth_weekdays)
    return days, weekdays, either and days is not None and weekdays is not None


def _days_in_month(when: date) -> int:
    if when.month == 2:
        leap = when.year % 4 == 0 and (when.year % 100 != 0 or when.year % 400 == 0)
        return 29 if leap else 28
    return 30 if when.month in (4, 6, 9, 11) else 31


def _falls_on(moving: MonthDay, when: date) -> bool:
    last = _days_in_month(when)
    day = last - moving.day if moving.from_end else min(moving.day, last)
    if day < 1:
        return False
    return when.day == (_nearest_weekday(when, day, last) if moving.weekday else day)


def _nearest_weekday(when: date, day: int, last: int) -> int:
    """Return the day of `when`'s month, Monday to Friday, nearest to `day`, without leaving the month."""
    weekday = when.replace(day=day).isoweekday()
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 7:
        return day + 1 if day < last else day - 2
    return day

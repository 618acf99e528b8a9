"""The fields of a cron expression: what each takes, and the values that its text stands for.

croniter reads the standard items, numbers and ranges with a step. What it lacks or reads otherwise than cron does is
read here, and brought to its form where it has one: names in full, `n/step`, `L`, `W`, `#`, and a hash of its own for
`H`, because croniter's leaves most minutes of a day out.

An item is `*`, a value, a range, one of these with a step, or an `H` form; `n/step` is n and every step-th value after
it, in every field. Days of the month also have `L`, `15W` and such, weekdays `fri#2` and `friL`.

The surprise: a field that begins with `*` differs from the same values written otherwise (`Values.star`), because
cron's rule for the two day fields, and the rule for nights when clocks change, depend on it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

_HASHED = re.compile(r"h(?:\((\d+)-(\d+)\))?", re.IGNORECASE | re.ASCII)
_MONTH_END = re.compile(r"l(?:-(\d{1,2}))?(w?)", re.IGNORECASE | re.ASCII)
_NEAREST = re.compile(r"(?:(\d{1,2})w|w(\d{1,2}))", re.IGNORECASE | re.ASCII)
# The number of a weekday, and not that of a step or of a week.
NUMBERED_WEEKDAY = re.compile(r"(?<![/#\d])\d(?!\d)", re.ASCII)
_LAST_WEEKDAY = re.compile(r"(?:l([0-7])|(.+)l)", re.IGNORECASE | re.ASCII)


class FieldError(ValueError):
    """A field's text is wrong; the message has what it takes."""


class MonthDay(NamedTuple):
    """A day of each month that is not the same number in all of them.

    Attributes:
        day: the day's number; with `from_end`, how many days before the last one.
        weekday: moved to the nearest day from Monday to Friday, without leaving the month.
    """

    day: int
    from_end: bool
    weekday: bool


class NthWeekday(NamedTuple):
    """The nth (1 to 5) or last (-1) such weekday of each month; 0 is Sunday."""

    weekday: int
    nth: int


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `last` ends `*` and `n/step`; `hash_last` ends the values of `H`, which every month must have."""

    name: str
    first: int
    last: int
    takes: str
    names: tuple[str, ...] = ()
    hash_last: int | None = None

    def number(self, text: str) -> int:
        """Return the value of a number, or of a name or its beginning (`mon`, `tues`)."""
        if text.isascii() and text.isdecimal():
            value = int(text)
            if self.first <= value <= self.last or (self.names is WEEKDAYS and value == 7):
                return value
            hint = "; midnight is 0" if self.name == "hour" and value == 24 else ""
            raise FieldError(f"{text} is no {self.name}: it takes {self.takes}{hint}")
        for position, name in enumerate(self.names):
            if len(text) >= 3 and name.startswith(text.lower()):
                return position + self.first
        raise FieldError(f"{text!r} is wrong for the {self.name}: it takes {self.takes}")


SECOND = Field("second", 0, 59, "0-59")
MINUTE = Field("minute", 0, 59, "0-59")
HOUR = Field("hour", 0, 23, "0-23")
DAY = Field("day of month", 1, 31, "1-31, L (the last day), L-3, LW or 15W (the weekday nearest to the 15th)", (), 28)
MONTH = Field("month", 1, 12, "1-12 or jan-dec", MONTHS)
WEEKDAY = Field(
    "day of week", 0, 6, "0-7 (0 and 7 are Sunday) or sun-sat, fri#2 (the second Friday) or friL (the last)", WEEKDAYS
)
# In the order in which they are written.
FIELDS = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)


@dataclass(frozen=True, slots=True)
class Values:
    """What a field stands for.

    Attributes:
        star: it begins with `*`, or is `?`.
        interval: some item begins with `*`, or it is `H/n`.
        hashed: some item is an `H` form.
    """

    numbers: frozenset[int]
    month_days: frozenset[MonthDay]
    nth_weekdays: frozenset[NthWeekday]
    star: bool
    interval: bool
    hashed: bool


def read_field(field: Field, part: str, hash_id: str | None) -> Values:
    """Read one field.

    Raises:
        FieldError: it is wrong, or has an `H` and there is no `hash_id`.
    """
    items = part.split(",")
    if not all(items):
        raise FieldError(f"{part!r} is wrong for the {field.name}: a comma stands between two values")
    month_days: set[MonthDay] = set()
    nth_weekdays: set[NthWeekday] = set()
    numbers: set[int] = set()
    for item in items:
        if field is DAY and (month_day := _month_day(item)) is not None:
            month_days.add(month_day)
        elif field is WEEKDAY and (found := _nth_weekdays(item)):
            nth_weekdays.update(found)
        else:
            numbers.update(_numbers(field, item, hash_id))
    if field is WEEKDAY:
        numbers = {number % 7 for number in numbers}
    return Values(
        numbers=frozenset(numbers),
        month_days=frozenset(month_days),
        nth_weekdays=frozenset(nth_weekdays),
        star=part.startswith(("*", "?")),
        interval=any(item.startswith("*") for item in items) or (part[0] in "hH" and part[1:2] == "/"),
        hashed=any(_HASHED.match(item) for item in items),
    )


def _month_day(item: str) -> MonthDay | None:
    if found := _MONTH_END.fullmatch(item):
        back = int(found[1] or 0)
        if back > 30:
            raise FieldError(f"{item}: no month has a day that is {back} days before its last")
        return MonthDay(back, True, bool(found[2]))
    if item.lower() == "wl":
        return MonthDay(0, True, True)
    if found := _NEAREST.fullmatch(item):
        return MonthDay(DAY.number(found[1] or found[2]), False, True)
    return None


def _nth_weekdays(item: str) -> list[NthWeekday]:
    days, numbered, nth = item.partition("#")
    if numbered:
        if nth.lower() in ("l", "last", "-1"):
            raise FieldError(f"{item}: write {days}L for the last one of the month")
        if nth not in {"1", "2", "3", "4", "5"}:
            raise FieldError(f"{item!r} is wrong for the day of week: # stands between a weekday and 1 to 5")
        first, dash, last = days.partition("-")
        numbers = _range(WEEKDAY, item, WEEKDAY.number(first), WEEKDAY.number(last if dash else first), 1)
        return [NthWeekday(number % 7, int(nth)) for number in numbers]
    if item.lower() == "l":
        raise FieldError("L alone is no day of week: friL is the last Friday, and L as day of month the last day")
    if found := _LAST_WEEKDAY.fullmatch(item):
        return [NthWeekday(WEEKDAY.number(found[1] or found[2]) % 7, -1)]
    return []


def _numbers(field: Field, item: str, hash_id: str | None) -> Iterable[int]:
    span, slash, step_text = item.partition("/")
    step = _step(field, item, step_text) if slash else 1
    if span == "*" or (span == "?" and field in (DAY, WEEKDAY) and not slash):
        return range(field.first, field.last + 1, step)
    if span[:1] in ("r", "R") and span[1:2] in ("", "("):
        raise FieldError("R picks another time in every process; use H, which is the same in all of them")
    if hashed := _HASHED.fullmatch(span):
        return _hashed(field, item, hashed, step if slash else None, hash_id)
    low, dash, high = span.partition("-")
    if not low or (dash and not high):
        raise FieldError(f"{item!r} is wrong for the {field.name}: it takes {field.takes}")
    start = field.number(low)
    if not dash and not slash:
        return _standard(field, str(start))
    if not dash:
        return _standard(field, f"{start % 7 if field is WEEKDAY else start}-{field.last}/{step}")
    # The last day ends a range as the 31st does, which the shorter months lack.
    end = field.last if field is DAY and high in ("L", "l") else field.number(high)
    return _range(field, item, start, end, step)


def _step(field: Field, item: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise FieldError(f"{item!r} is wrong for the {field.name}: a step is a whole number from 1 on")
    if int(text) > (size := field.last - field.first + 1):
        raise FieldError(
            f"the step of {item} is longer than the {field.name} field, which starts again after {size}; "
            "for an interval of any length use every(...)"
        )
    return int(text)


def _range(field: Field, item: str, start: int, end: int, step: int) -> Iterable[int]:
    if start == end:
        # croniter takes it for the whole field.
        return _standard(field, str(start))
    if field is WEEKDAY:
        # Sunday ends a range as 7, and begins one as 0.
        start, end = start % 7, end or 7
    if start > end and step > 1:
        raise FieldError(f"{item} runs backwards with a step; list the values of the {field.name}")
    return _standard(field, f"{start}-{end}/{step}")


@lru_cache(maxsize=1024)
def _standard(field: Field, item: str) -> Collection[int]:
    """Return the values of an item of standard syntax, which croniter reads: a number, or a range with a step."""
    # Imported here because it takes 77 ms, and only cron schedules need it. It has no types.
    croniter: Any = importlib.import_module("croniter").croniter
    position = FIELDS.index(field)
    parts = ["*"] * len(FIELDS)
    parts[position] = item
    expanded, _ = croniter.expand(" ".join(parts), second_at_beginning=True)
    # It lists the seconds last.
    values = expanded[position - 1]
    return range(field.first, field.last + 1) if "*" in values else values


def _hashed(field: Field, item: str, found: re.Match[str], step: int | None, hash_id: str | None) -> Sequence[int]:
    if not hash_id:
        raise FieldError(
            "it has H fields, which spread schedules by their names, and it has no name; "
            "give the expression as text to a named schedule, or pass hash_id"
        )
    first, last = field.first, field.hash_last or field.last
    if found[1] is not None:
        first, last = field.number(found[1]), field.number(found[2])
    size = last - first + 1
    if size < (step or 1):
        raise FieldError(f"{item!r} is wrong for the {field.name}: its range is empty or shorter than its step")
    if step is None:
        return (first + _spread(field, hash_id, size),)
    return range(first + _spread(field, hash_id, step), last + 1, step)


def _spread(field: Field, hash_id: str, size: int) -> int:
    """Return a number below `size`, evenly spread over hash ids, and independent from field to field."""
    digest = blake2b(f"{field.name}\0{hash_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % size

"""When recurring jobs are due: `Cron` expressions and intervals made by `every`.

    Cron("30 2 * * *", timezone="Europe/Berlin").next()
    every(minutes=5).upcoming(3)

Both are values: immutable, hashable, equal when they mean the same, and stored as text by `schedule_to_text`. Instants
are integers inside (`next_micros`), aware datetimes in the schedule's zone outside (`next`).

The rule for the nights when clocks change is that of Debian's cron:

- *Fixed time*: neither the minute nor the hour field is a wildcard or an interval (`*`, `*/n`, or the hashed `H/n`).
  Ranges (`9-17`), lists and `0/15` are fixed. Each reading of the clock fires once: a time that is shown twice, when
  the first comes; a time that is skipped, at the first instant after the gap. Several skipped times fall on that same
  instant, and it fires once for all of them, and for itself.
- *Elapsed time*: the minute or the hour field is one of these. The schedule fires at every instant at which the clock
  shows a time that matches: in both passes of an hour that is shown twice, and not at all for a time that is skipped.

A seconds field does not decide which of the two applies. So `*/10 30 2 * * *` is fixed: where 02:00-03:00 is skipped
its six times fall on 03:00:00, once; where it is shown twice, all six fire in the first pass and none in the second.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TypeAlias

from embedq.clock import EPOCH, SECOND, SystemClock, to_datetime, to_micros
from embedq.errors import ScheduleError
from embedq.scheduling.cron import HORIZON_YEARS, CronExpression, parse_expression
from embedq.scheduling.cron_words import describe
from embedq.scheduling.wall_clock import WallClock, wall_clock, zone_name

SHORTEST = timedelta(seconds=0.1)
LONGEST = timedelta(days=36_525)

_HORIZON_SECONDS = HORIZON_YEARS * 366 * 86_400
# Whether a schedule can ever fire is checked from this moment on, so that the result does not depend on the time.
_CHECKED_FROM = to_micros(datetime(2024, 1, 1, tzinfo=UTC))


class _Recurring(ABC):
    """The methods of both kinds of schedule."""

    __slots__ = ()

    @abstractmethod
    def next_micros(self, after: int) -> int:
        """Return the first occurrence strictly after `after`, both in microseconds since the epoch, UTC.

        Raises:
            ScheduleError: there is none within 50 years, or before the year 10000.
        """

    @abstractmethod
    def previous_micros(self, before: int) -> int:
        """Return the last occurrence strictly before `before`; otherwise as `next_micros`."""

    @abstractmethod
    def count(self, first: int, last: int, *, limit: int) -> tuple[int, bool]:
        """Count the occurrences from `first` to `last`, both included.

        A count that takes time for each one stops at `limit`; then the second of the pair is True: there are more.
        """

    @abstractmethod
    def at(self, micros: int) -> datetime:
        """Convert an instant to an aware datetime in the schedule's zone."""

    def next(self, after: datetime | None = None) -> datetime:
        """Return the first occurrence strictly after `after` (None: now), in the schedule's zone.

        Raises:
            ValueError: `after` is naive.
            ScheduleError: there is none.
        """
        return self.at(self.next_micros(_micros_or_now(after)))

    def previous(self, before: datetime | None = None) -> datetime:
        """Return the last occurrence strictly before `before` (None: now); otherwise as `next`."""
        return self.at(self.previous_micros(_micros_or_now(before)))

    def upcoming(self, n: int, after: datetime | None = None) -> list[datetime]:
        """Return the first `n` occurrences strictly after `after`; otherwise as `next`."""
        micros = _micros_or_now(after)
        occurrences = []
        for _ in range(n):
            micros = self.next_micros(micros)
            occurrences.append(self.at(micros))
        return occurrences


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Cron(_Recurring):
    """A cron expression in a time zone.

    Five fields (minute, hour, day of month, month, day of week), six with seconds first, or `@hourly`, `@daily`,
    `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`. Names of months and days, whole or their beginning; `L`
    for the last day of the month, `L-3`, `LW` for its last weekday, `15W` for the weekday nearest to the 15th, `friL`
    for its last Friday, `fri#2` for the second one. When both day fields are restricted either is enough, as in
    Debian's cron; a field that begins with `*` is not restricted. `H` stands for a value hashed from `hash_id`, so that
    many schedules are spread out; embedq passes the schedule's name.

    Two are equal when they mean the same: `00 2 * * *` is `0 2 * * *`.

    Args:
        expression: how often; what the clock shows in `timezone`. See the module for nights when clocks change.
        timezone: an IANA name, or the ZoneInfo of one; kept as the name.
        hash_id: what `H` is hashed from. Dropped where there is no `H`, as it changes nothing.
    Raises:
        ScheduleError: the expression is wrong or can never match, the zone is unknown, or an `H` lacks its `hash_id`.
    """

    expression: str = field(compare=False)
    timezone: str
    hash_id: str | None = field(compare=False)
    _rule: CronExpression = field(init=False)
    _clock: WallClock = field(init=False, compare=False)

    def __init__(self, expression: str, *, timezone: str | tzinfo = "UTC", hash_id: str | None = None) -> None:
        if not isinstance(expression, str):
            raise ScheduleError(f"a cron expression is text, for example '0 9 * * 1-5', not {expression!r}")
        expression = " ".join(expression.split())
        rule = parse_expression(expression, hash_id)
        timezone = zone_name(timezone)
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "timezone", timezone)
        object.__setattr__(self, "hash_id", hash_id if rule.hashed else None)
        object.__setattr__(self, "_rule", rule)
        object.__setattr__(self, "_clock", wall_clock(timezone))
        self.next_micros(_CHECKED_FROM)

    def __repr__(self) -> str:
        hashed = f", hash_id={self.hash_id!r}" if self.hash_id is not None else ""
        return f"Cron({self.expression!r}, timezone={self.timezone!r}{hashed})"

    def describe(self) -> str:
        """Return when it fires, in words, without the time zone: `at 09:00, Monday to Friday`."""
        return describe(self._rule)

    def next_micros(self, after: int) -> int:
        # Occurrences are whole seconds, so an instant between two of them is as good as the earlier one.
        instant = after // SECOND
        found = self._next_elapsed(instant) if self._rule.follows_elapsed_time else self._next_fixed(instant)
        return found * SECOND

    def previous_micros(self, before: int) -> int:
        instant = (before - 1) // SECOND
        found = self._last_elapsed(instant) if self._rule.follows_elapsed_time else self._last_fixed(instant)
        return found * SECOND

    def count(self, first: int, last: int, *, limit: int) -> tuple[int, bool]:
        counted = 0
        micros = self.next_micros(first - 1)
        while micros <= last:
            if counted == limit:
                return counted, True
            counted += 1
            micros = self.next_micros(micros)
        return counted, False

    def at(self, micros: int) -> datetime:
        return to_datetime(micros).astimezone(self._clock.zone)

    # A fixed time fires when the clock first shows it, or a later one. So what has fired by an instant follows from the
    # latest time the clock has shown by then, and the way from times to instants never goes back.

    def _next_fixed(self, after: int) -> int:
        return self._clock.first_reach(self._rule.following(self._clock.latest_shown(after)))

    def _last_fixed(self, until: int) -> int:
        return self._clock.first_reach(self._rule.preceding(self._clock.latest_shown(until)))

    # Elapsed time follows the readings, and takes the two places where they jump into account.

    def _next_elapsed(self, after: int) -> int:
        clock, rule = self._clock, self._rule
        wall = after + clock.offset_at(after)
        before, since = clock.offsets_of(wall)
        if before > since and wall == after + before:
            # In the first of two passes: what is left of it, then the second from its start.
            shift = clock.shift_at(wall)
            if (rest := rule.following(wall) - before) < shift:
                return rest
            wall = shift + since - 1
        end = wall + _HORIZON_SECONDS
        while wall < end:
            wall = rule.following(wall)
            before, since = clock.offsets_of(wall)
            if before >= since and wall - before > after:
                return wall - before
            if before > since:
                return wall - since
            wall = clock.shift_at(wall) + since - 1  # a gap: on from where it ends
        raise rule.exhausted()

    def _last_elapsed(self, until: int) -> int:
        clock, rule = self._clock, self._rule
        wall = until + clock.offset_at(until)
        before, since = clock.offsets_of(wall)
        if before > since and wall == until + since:
            # In the second of two passes: what there was of it, then the first from its end.
            shift = clock.shift_at(wall)
            if (begun := rule.preceding(wall) - since) >= shift:
                return begun
            wall = shift + before - 1
        end = wall - _HORIZON_SECONDS
        while wall > end:
            wall = rule.preceding(wall)
            before, since = clock.offsets_of(wall)
            if before >= since and wall - since <= until:
                return wall - since
            if before > since:
                return wall - before
            wall = clock.shift_at(wall) + before - 1  # a gap: on from before it
        raise rule.exhausted()


@dataclass(frozen=True, slots=True, repr=False)
class Every(_Recurring):
    """An interval, made by `every`. It fires at the multiples of the interval since the epoch, UTC, plus an offset.

    So all processes, and all restarts, agree on the times; a change of clocks does not affect them. The offset is less
    than the interval, so that anchors with the same times make equal schedules.
    """

    interval: timedelta
    offset: timedelta = field(default=timedelta(0), kw_only=True)

    def __post_init__(self) -> None:
        if not SHORTEST <= self.interval <= LONGEST:
            raise ScheduleError(
                f"an interval is from 0.1 seconds to 100 years, not {self.interval.total_seconds():g} s; "
                "for one run at a certain time, delay a job instead"
            )
        object.__setattr__(self, "offset", self.offset % self.interval)

    def __repr__(self) -> str:
        anchor = f", anchor=datetime.fromisoformat('{(EPOCH + self.offset).isoformat()}')" if self.offset else ""
        return f"every(seconds={str(self.interval.total_seconds()).removesuffix('.0')}{anchor})"

    def next_micros(self, after: int) -> int:
        return ((after - self._shift) // self._step + 1) * self._step + self._shift

    def previous_micros(self, before: int) -> int:
        return (before - 1 - self._shift) // self._step * self._step + self._shift

    def count(self, first: int, last: int, *, limit: int) -> tuple[int, bool]:
        return max(0, (last - self._shift) // self._step - (first - 1 - self._shift) // self._step), False

    def at(self, micros: int) -> datetime:
        return to_datetime(micros)

    @property
    def _step(self) -> int:
        return self.interval // timedelta(microseconds=1)

    @property
    def _shift(self) -> int:
        return self.offset // timedelta(microseconds=1)


def every(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    anchor: datetime | None = None,
) -> Every:
    """Return a schedule that fires at the multiples of an interval since the epoch, UTC, or since an anchor.

    `every(hours=6)` is 00:00, 06:00, 12:00 and 18:00 UTC; `every(weeks=1)` is Thursday 00:00 UTC, as the epoch was a
    Thursday. For times of the day in a time zone, use a `Cron`.

    Args:
        anchor: an aware datetime that is one of the times; the others are whole intervals of elapsed time away from it,
            before it as well as after it. It is not a start.
    Raises:
        ScheduleError: the interval is shorter than 0.1 s or longer than 100 years, or the anchor is not aware.
    """
    if anchor is not None and (not isinstance(anchor, datetime) or anchor.utcoffset() is None):
        raise ScheduleError(f"an anchor is a datetime with a time zone, not {anchor!r}; add tzinfo=")
    try:
        interval = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        return Every(interval, offset=timedelta(0) if anchor is None else anchor - EPOCH)
    except (OverflowError, TypeError, ValueError) as error:
        if isinstance(error, ScheduleError):
            raise
        raise ScheduleError(
            f"not an interval: {error}; give weeks, days, hours, minutes or seconds as numbers"
        ) from None


Schedule: TypeAlias = Cron | Every


def parse_schedule(value: str | Cron | Every | timedelta, *, timezone: str | tzinfo | None, name: str) -> Schedule:
    """Return the schedule that a user gave, in any form.

    Args:
        value: a cron expression, a schedule, or the interval of one.
        timezone: for a cron expression; None is UTC.
        name: the schedule's name, from which the `H` fields of an expression are hashed.
    Raises:
        ScheduleError: it is none of these, is invalid, or already has a time zone and another one is given.
    """
    if isinstance(value, str):
        return Cron(value, timezone="UTC" if timezone is None else timezone, hash_id=name)
    if timezone is not None:
        hint = "write Cron(expression, timezone=...)" if isinstance(value, Cron) else "an interval is the same in all"
        raise ScheduleError(f"the time zone {timezone!r} goes with a cron expression given as text; {hint}")
    if isinstance(value, timedelta):
        return Every(value)
    if isinstance(value, Cron | Every):
        return value
    raise ScheduleError(f"{value!r} is not a schedule; give a cron expression, Cron(...), every(...) or a timedelta")


def schedule_to_text(schedule: Schedule) -> str:
    """Return the schedule as JSON. The text of a cron expression is kept, so equal ones may be stored differently."""
    if isinstance(schedule, Every):
        if not schedule.offset:
            return _json({"every_micros": schedule._step})
        # Other keys: an earlier version would read `every_micros` alone, and fire at the wrong times.
        return _json({"anchored_micros": schedule._step, "offset_micros": schedule._shift})
    stored = {"cron": schedule.expression, "timezone": schedule.timezone}
    return _json(stored if schedule.hash_id is None else {**stored, "hash_id": schedule.hash_id})


@lru_cache(maxsize=1024)
def schedule_from_text(text: str) -> Schedule:
    """Read what `schedule_to_text` wrote. Schedules are values, so equal text may return the same object.

    Raises:
        ScheduleError: the text is something else, or cannot work here (a time zone that this system lacks).
    """
    try:
        stored = json.loads(text)
        if "every_micros" in stored:
            return Every(timedelta(microseconds=stored["every_micros"]))
        if "anchored_micros" in stored:
            step, offset = stored["anchored_micros"], stored["offset_micros"]
            return Every(timedelta(microseconds=step), offset=timedelta(microseconds=offset))
        return Cron(stored["cron"], timezone=stored["timezone"], hash_id=stored.get("hash_id"))
    except ScheduleError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise ScheduleError(f"not a stored schedule: {text!r}; was it written by a newer embedq?") from None


def changed_times(before: str, after: str) -> str | None:
    """Compare two stored schedules: None if they mean the same times, otherwise the change in words."""
    try:
        old: Schedule | str = schedule_from_text(before)
    except ScheduleError:
        old = before
    new = schedule_from_text(after)
    return None if old == new else f"from {old} to {new}"


def _json(stored: Mapping[str, str | int]) -> str:
    return json.dumps(stored, separators=(",", ":"), sort_keys=True)


def _micros_or_now(moment: datetime | None) -> int:
    return SystemClock().now() if moment is None else to_micros(moment)

"""When schedules fire. The DST rule is held against an enumeration of what clocks show, made by this file."""

from __future__ import annotations

import pickle
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedq.clock import SECOND, to_datetime, to_micros
from embedq.errors import ScheduleError
from embedq.scheduling.schedule import Cron, Every, every, parse_schedule, schedule_from_text, schedule_to_text

DAY = 86_400
BLOCK = 900  # Seconds. Every offset of every zone below is a multiple of it, and no clock changes inside one.
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def texts(moments: Sequence[datetime]) -> list[str]:
    return [moment.isoformat(timespec="minutes") for moment in moments]


# --- the enumeration --------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """What an expression says, written down apart from it."""

    text: str
    fixed: bool
    minutes: Sequence[int]
    hours: Sequence[int] = range(24)
    on: Callable[[date], bool] = lambda day: True
    seconds: Sequence[int] = (0,)
    _days: dict[int, bool] = field(default_factory=dict)

    def within(self, wall: int) -> list[int]:
        """The seconds after `wall`, the start of a quarter of an hour, that match."""
        day, second = divmod(wall, DAY)
        if second // 3600 not in self.hours:
            return []
        if day not in self._days:
            self._days[day] = self.on(date(1970, 1, 1) + timedelta(days=day))
        if not self._days[day]:
            return []
        begin = second // 60 % 60
        return [(m - begin) * 60 + s for m in self.minutes if begin <= m < begin + 15 for s in self.seconds]


@lru_cache(maxsize=32)
def readings(zone: str, start: int, end: int) -> list[tuple[int, int]]:
    """For every quarter of an hour: the instant, and what the clock shows; both in seconds."""
    tz = ZoneInfo(zone)
    naive = datetime(1970, 1, 1)  # noqa: DTZ001
    shown = []
    for instant in range(start, end, BLOCK):
        wall = datetime.fromtimestamp(instant, tz).replace(tzinfo=None) - naive
        shown.append((instant, wall.days * DAY + wall.seconds))
        assert shown[-1][1] % BLOCK == 0
    return shown


def fires_by_enumeration(said: Said, zone: str, start: int, end: int) -> list[int]:
    """Every instant from `start` to `end` at which the rule says that the schedule fires, in seconds."""
    # Two days more on both sides, for what is first shown, and what is skipped, across the borders.
    shown = readings(zone, start - 2 * DAY, end + 2 * DAY)
    fires = set()
    if said.fixed:
        first_shown: dict[int, int] = {}
        skipped_until: dict[int, int] = {}
        previous = shown[0][1] - BLOCK
        for instant, wall in shown:
            first_shown.setdefault(wall, instant)
            for skipped in range(previous + BLOCK, wall, BLOCK):
                skipped_until[skipped] = instant
            previous = wall
        for wall in range(shown[0][1], shown[-1][1], BLOCK):
            for second in said.within(wall):
                fires.add(first_shown[wall] + second if wall in first_shown else skipped_until[wall])
    else:
        for instant, wall in shown:
            fires.update(instant + second for second in said.within(wall))
    return sorted(fire for fire in fires if start <= fire < end)


def fires_of(cron: Cron, start: int, end: int) -> list[int]:
    """The same from the schedule, going forward."""
    fires = []
    micros = cron.next_micros(start * SECOND - 1)
    while micros < end * SECOND:
        fires.append(micros // SECOND)
        micros = cron.next_micros(micros)
    return fires


def fires_backwards(cron: Cron, start: int, end: int) -> list[int]:
    fires = []
    micros = cron.previous_micros(end * SECOND)
    while micros >= start * SECOND:
        fires.append(micros // SECOND)
        micros = cron.previous_micros(micros)
    return fires[::-1]


def weekday(day: date) -> bool:
    return day.isoweekday() <= 5


def first_fifteenth_or_monday(day: date) -> bool:
    return day.day in (1, 15) or day.isoweekday() == 1


QUARTERS = (0, 15, 30, 45)
YEARS = {
    "2026": (int(at("2026-01-01").timestamp()), int(at("2027-01-01").timestamp())),
    "2026-2027": (int(at("2026-01-01").timestamp()), int(at("2028-01-01").timestamp())),
}
SPARSE = [
    Said("30 2 * * *", True, [30], [2]),
    Said("0 2 * * *", True, [0], [2]),
    Said("0 0 * * *", True, [0], [0]),
    Said("15,45 1-3 * * *", True, [15, 45], [1, 2, 3]),
    Said("*/20 2 * * *", False, [0, 20, 40], [2]),
    Said("0 9 * * 1-5", True, [0], [9], weekday),
    Said("0 0 1,15 * mon", True, [0], [0], first_fifteenth_or_monday),
]
DENSE = [
    Said("*/15 * * * *", False, QUARTERS),
    Said("0 * * * *", False, [0]),
    Said("30 */2 * * *", False, [30], range(0, 24, 2)),
]
ZONES = [BERLIN, NEW_YORK, LORD_HOWE, "America/Santiago", "Africa/Cairo", "Asia/Kolkata", "UTC"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("years", "said"),
    [("2026-2027", said) for said in SPARSE] + [("2026", said) for said in DENSE],
    ids=lambda value: value.text if isinstance(value, Said) else value,
)
def test_whole_years_are_as_the_rule_read_minute_by_minute(zone: str, years: str, said: Said) -> None:
    start, end = YEARS[years]
    assert fires_of(Cron(said.text, timezone=zone), start, end) == fires_by_enumeration(said, zone, start, end)


# Every kind of change there is: by an hour, half an hour, two hours, a day; at night and at midnight; with winter time
# as the exception (Dublin), with a break for Ramadan (Casablanca), for good (Samoa crossed the date line).
CHANGES = [
    (BERLIN, "2026-03-29"),
    (BERLIN, "2026-10-25"),
    (NEW_YORK, "2026-03-08"),
    (NEW_YORK, "2026-11-01"),
    (LORD_HOWE, "2026-04-05"),
    (LORD_HOWE, "2026-10-04"),
    ("America/Santiago", "2026-04-05"),
    ("America/Santiago", "2026-09-06"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("Asia/Beirut", "2026-03-29"),
    ("Asia/Beirut", "2026-10-25"),
    ("Pacific/Apia", "2011-12-30"),
    ("Europe/Dublin", "2026-03-29"),
    ("Europe/Dublin", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
]


def window(day: str) -> tuple[int, int]:
    noon = int(at(day).timestamp()) + DAY // 2
    return noon - DAY * 3 // 2, noon + DAY * 3 // 2


def change_of(zone: str, start: int, end: int) -> int:
    """The instant at which the clocks change."""
    shown = readings(zone, start, end)
    return next(instant for (_, wall), (instant, new) in pairwise(shown) if new != wall + BLOCK)


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, Sequence[int], bool]:
    """A field's text, its values, and whether it is a wildcard or an interval."""
    value = st.integers(low, high)
    kind = draw(st.sampled_from(["*", "*/n", "a", "a,b", "a-b", "a-b/n"]))
    if kind == "*":
        return "*", range(low, high + 1), True
    if kind == "*/n":
        step = draw(st.integers(1, high))
        return f"*/{step}", range(low, high + 1, step), True
    if kind == "a":
        only = draw(value)
        return str(only), [only], False
    if kind == "a,b":
        some = draw(st.lists(value, min_size=1, max_size=4))
        return ",".join(map(str, some)), sorted(set(some)), False
    a, b = sorted(draw(st.lists(value, min_size=2, max_size=2, unique=True)))
    step = draw(st.integers(1, b - a)) if kind == "a-b/n" else 1
    return f"{a}-{b}" + (f"/{step}" if kind == "a-b/n" else ""), range(a, b + 1, step), False


@st.composite
def sayings(draw: st.DrawFn) -> Said:
    minute, minutes, any_minute = draw(fields(0, 59))
    # Mostly the hours in which clocks change.
    hour, hours, any_hour = draw(st.one_of(fields(0, 3), fields(0, 23)))
    if hour.startswith("*"):
        hours = [h for h in range(24) if h % (int(hour[2:] or 1)) == 0]
    days = draw(st.frozensets(st.integers(1, 28), max_size=20))
    weekdays = draw(st.frozensets(st.integers(0, 6), max_size=4))

    def on(day: date) -> bool:
        return (not days and not weekdays) or day.day in days or day.isoweekday() % 7 in weekdays

    text = f"{minute} {hour} {as_list(days)} * {as_list(weekdays)}"
    seconds: Sequence[int] = (0,)
    # A second field with more than a few values a minute makes the test slow and no sharper.
    if draw(st.booleans()):
        seconds = sorted(draw(st.frozensets(st.integers(0, 59), min_size=1, max_size=2)))
        text = f"{as_list(seconds)} {text}"
    return Said(text, not any_minute and not any_hour, minutes, hours, on, seconds)


def as_list(values: Sequence[int] | frozenset[int]) -> str:
    return ",".join(map(str, sorted(values))) or "*"


@settings(max_examples=80, deadline=None)
@given(said=sayings(), change=st.sampled_from(CHANGES))
def test_any_expression_is_as_the_rule_around_any_change_of_clocks_both_ways(
    said: Said, change: tuple[str, str]
) -> None:
    zone, day = change
    start, end = window(day)
    cron = Cron(said.text, timezone=zone)
    expected = fires_by_enumeration(said, zone, start, end)
    assert fires_of(cron, start, end) == expected
    assert fires_backwards(cron, start, end) == expected


NIGHTLY = [
    *(Said(f"0,30 {hour} * * *", True, [0, 30], [hour]) for hour in range(5)),
    *(Said(f"*/30 {hour} * * *", False, [0, 30], [hour]) for hour in range(5)),
    Said("*/10 * * * *", False, range(0, 60, 10)),
    Said("5-59/10 0-23 * * *", True, range(5, 60, 10)),
]


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_from_every_five_minutes_around_a_change_the_next_and_the_previous_are_right(zone: str, day: str) -> None:
    start, end = window(day)
    change = change_of(zone, start, end)
    for said in NIGHTLY:
        cron = Cron(said.text, timezone=zone)
        fires = fires_by_enumeration(said, zone, start - DAY, end + DAY)
        for instant in range(change - 3 * 3600, change + 3 * 3600, 300):
            at_or_before = bisect_right(fires, instant)
            assert cron.next_micros(instant * SECOND) == fires[at_or_before] * SECOND
            assert cron.previous_micros(instant * SECOND + 1) == fires[at_or_before - 1] * SECOND


@settings(max_examples=200, deadline=None)
@given(
    said=sayings(), change=st.sampled_from(CHANGES), seconds=st.integers(-2 * 3600, 2 * 3600), micros=st.integers(0, 1)
)
def test_next_and_previous_of_any_instant_near_a_change_are_the_fires_around_it(
    said: Said, change: tuple[str, str], seconds: int, micros: int
) -> None:
    zone, day = change
    start, end = window(day)
    cron = Cron(said.text, timezone=zone)
    instant = (change_of(zone, start, end) + seconds) * SECOND + micros
    after, before = cron.next_micros(instant), cron.previous_micros(instant)
    assert before < instant < after
    fires = [fire * SECOND for fire in fires_by_enumeration(said, zone, start, end)]
    assert [fire for fire in fires if fire > instant][:1] in ([after], [])
    assert [fire for fire in fires if fire < instant][-1:] in ([before], [])
    # From anywhere between two fires that follow each other, they are the ones around.
    assert cron.next_micros((instant + after) // 2) == cron.next_micros(after - 1) == after
    assert cron.previous_micros(before + 1) == before


@settings(max_examples=200, deadline=None)
@given(said=sayings(), change=st.sampled_from(CHANGES))
def test_every_fire_shows_a_matching_time_or_is_the_end_of_a_gap(said: Said, change: tuple[str, str]) -> None:
    zone, day = change
    start, _ = window(day)
    for moment in Cron(said.text, timezone=zone).upcoming(40, to_datetime(start * SECOND)):
        wall = int(moment.replace(tzinfo=UTC).timestamp())
        matches = wall % BLOCK in said.within(wall - wall % BLOCK)
        instant = moment.astimezone(UTC)
        before = (instant - timedelta(seconds=1)).astimezone(moment.tzinfo)
        gap_ends_here = moment.replace(tzinfo=None) - before.replace(tzinfo=None) > timedelta(seconds=1)
        assert matches or (said.fixed and gap_ends_here)
        assert instant.timestamp() > start


# --- the rule, by example ---------------------------------------------------------------------------------------------


def test_a_fixed_time_inside_the_spring_gap_fires_once_right_after_it() -> None:
    assert texts(Cron("30 2 * * *", timezone=BERLIN).upcoming(3, at("2026-03-28T00:00", BERLIN))) == [
        "2026-03-28T02:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_several_times_inside_one_gap_and_its_end_fire_once_together() -> None:
    assert texts(Cron("0,20,40 2-3 * * *", timezone=BERLIN).upcoming(3, at("2026-03-29T00:00", BERLIN))) == [
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:20+02:00",
        "2026-03-29T03:40+02:00",
    ]


def test_a_fixed_time_that_is_shown_twice_fires_at_the_first() -> None:
    assert texts(Cron("30 2 * * *", timezone=BERLIN).upcoming(2, at("2026-10-25T00:00", BERLIN))) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]


def test_an_interval_fires_in_both_passes_of_an_hour_that_is_shown_twice() -> None:
    assert texts(Cron("*/30 * * * *", timezone=BERLIN).upcoming(5, at("2026-10-25T01:45", BERLIN))) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_an_interval_continues_after_the_gap_and_makes_nothing_up() -> None:
    assert texts(Cron("*/20 2 * * *", timezone=BERLIN).upcoming(2, at("2026-03-28T02:30", BERLIN))) == [
        "2026-03-28T02:40+01:00",
        "2026-03-30T02:00+02:00",
    ]


def test_seconds_do_not_decide_whether_a_time_is_fixed() -> None:
    cron = Cron("*/10 30 2 * * *", timezone=BERLIN)
    gap = cron.upcoming(2, at("2026-03-29T00:00", BERLIN))
    assert texts(gap) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    twice = cron.upcoming(7, at("2026-10-25T00:00", BERLIN))
    assert [moment.second for moment in twice] == [0, 10, 20, 30, 40, 50, 0]
    assert texts(twice[-2:]) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_ranges_lists_and_steps_from_a_number_are_fixed() -> None:
    for expression in ("0-59 2-3 * * *", "0,30 1,2,3 * * *", "0/30 1-3 * * *"):
        night = Cron(expression, timezone=BERLIN).upcoming(300, at("2026-10-25T00:00", BERLIN))
        assert not [moment for moment in night if moment.fold]


def test_a_hashed_step_is_an_interval_as_the_step_it_stands_for() -> None:
    night = Cron("H/20 2 * * *", timezone=BERLIN, hash_id="report").upcoming(6, at("2026-10-25T00:00", BERLIN))
    assert [moment.fold for moment in night] == [0, 0, 0, 1, 1, 1]


def test_midnight_in_a_zone_whose_clocks_change_at_midnight_happens_every_day_once() -> None:
    for zone in ("America/Santiago", "Africa/Cairo", "Asia/Beirut"):
        days = [moment.date() for moment in Cron("@daily", timezone=zone).upcoming(365, at("2026-01-01", zone))]
        assert days == [date(2026, 1, 2) + timedelta(days=n) for n in range(365)]


def test_a_day_that_a_country_skipped_fires_when_the_next_one_begins() -> None:
    assert texts(Cron("0 12 30 12 *", timezone="Pacific/Apia").upcoming(2, at("2011-12-01", "Pacific/Apia"))) == [
        "2011-12-31T00:00+14:00",
        "2012-12-30T12:00+14:00",
    ]
    assert texts(Cron("0 12 * * *", timezone="Pacific/Apia").upcoming(3, at("2011-12-29T00:00", "Pacific/Apia"))) == [
        "2011-12-29T12:00-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T12:00+14:00",
    ]


# --- what is asked and answered ---------------------------------------------------------------------------------------


def test_next_is_strictly_after_and_in_the_schedules_zone() -> None:
    cron = Cron("0 9 * * *", timezone=NEW_YORK)
    nine = at("2026-07-01T13:00")
    assert cron.next(nine - timedelta(microseconds=1)) == nine
    assert cron.next(nine).isoformat() == "2026-07-02T09:00:00-04:00"
    assert cron.next(nine).tzinfo == ZoneInfo(NEW_YORK)
    assert cron.next_micros(to_micros(nine)) == to_micros(nine) + DAY * SECOND


def test_next_counts_from_now_by_default() -> None:
    for schedule in (Cron("* * * * *"), every(minutes=1)):
        before = datetime.now(UTC)
        assert before < schedule.next() <= datetime.now(UTC) + timedelta(minutes=1)
        assert schedule.upcoming(1)[0].second == 0


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Cron("0 9 * * *").next(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="no time zone"):
        every(hours=1).upcoming(1, datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_search_past_the_end_of_the_calendar_reports_it() -> None:
    with pytest.raises(ScheduleError, match="does not happen"):
        Cron("0 0 1 1 *").next(at("9999-06-01"))
    with pytest.raises(ScheduleError, match="does not happen"):
        Cron("0 0 31 12 *").previous_micros(to_micros(at("0001-06-01")))


def test_crons_are_values() -> None:
    cron = Cron("0  9 * *  1-5 ", timezone=BERLIN)
    assert cron == Cron("0 9 * * 1-5", timezone=BERLIN)
    assert hash(cron) == hash(Cron("0 9 * * 1-5", timezone=BERLIN))
    assert cron != Cron("0 9 * * 1-5")
    assert cron == Cron("00 09 * * mon,tue-fri", timezone=BERLIN)
    assert hash(cron) == hash(Cron("00 09 * * mon,tue-fri", timezone=BERLIN))
    assert cron != Cron("0 9 * * 1-6", timezone=BERLIN)
    assert repr(cron) == "Cron('0 9 * * 1-5', timezone='Europe/Berlin')"
    assert repr(Cron("H 9 * * *", hash_id="mail")) == "Cron('H 9 * * *', timezone='UTC', hash_id='mail')"
    assert pickle.loads(pickle.dumps(cron)) == cron
    assert pickle.loads(pickle.dumps(cron)).next(at("2026-01-01")) == cron.next(at("2026-01-01"))
    with pytest.raises(AttributeError):
        cron.expression = "* * * * *"  # type: ignore[misc]


# --- expressions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("@hourly", ["2026-01-01T01:00", "2026-01-01T02:00"]),
        ("@daily", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("@Midnight", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("@weekly", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("@monthly", ["2026-02-01T00:00", "2026-03-01T00:00"]),
        ("@yearly", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("@annually", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("0 0 * * L5", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        ("0 0 * * fri#2", ["2026-01-09T00:00", "2026-02-13T00:00"]),
        ("0 0 * * thu#5", ["2026-01-29T00:00", "2026-04-30T00:00"]),
        ("0 0 15W * *", ["2026-01-15T00:00", "2026-02-16T00:00"]),
        ("0 0 1W aug *", ["2026-08-03T00:00", "2027-08-02T00:00"]),
        ("0 0 31W may *", ["2026-05-29T00:00", "2027-05-31T00:00"]),
        ("0 0 * jul L5", ["2026-07-31T00:00", "2027-07-30T00:00"]),
        ("0 22-1 * * *", ["2026-01-01T01:00", "2026-01-01T22:00"]),
        ("0 0 * mar-apr 7", ["2026-03-01T00:00", "2026-03-08T00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 13 * fri", ["2026-01-02T00:00", "2026-01-09T00:00"]),
        ("0 9 1 1/3 *", ["2026-01-01T09:00", "2026-04-01T09:00"]),
        ("0 0 */2 * 1", ["2026-01-05T00:00", "2026-01-19T00:00"]),
        ("0 9 1-7 * 1", ["2026-01-01T09:00", "2026-01-02T09:00"]),
        ("0 0 LW feb *", ["2026-02-27T00:00", "2027-02-26T00:00"]),
        ("0 0 L-3 * *", ["2026-01-28T00:00", "2026-02-25T00:00"]),
        ("0 0 L-3W may *", ["2026-05-28T00:00", "2027-05-28T00:00"]),
        ("0 0 * * friL", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        ("0 0 * * fridayL", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        ("0 0 * * 5L", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        ("0 0 * september Monday", ["2026-09-07T00:00", "2026-09-14T00:00"]),
        ("0 9-9 * * *", ["2026-01-01T09:00", "2026-01-02T09:00"]),
        ("0 0 13 * fri#2", ["2026-01-09T00:00", "2026-01-13T00:00"]),
        ("0 0 * * mon,fri#2", ["2026-01-05T00:00", "2026-01-09T00:00"]),
        ("0 0 0 ? * MON *", ["2026-01-05T00:00", "2026-01-12T00:00"]),
        ("0 0 ? * mon", ["2026-01-05T00:00", "2026-01-12T00:00"]),
    ],
)
def test_an_expression_means(expression: str, fires: list[str]) -> None:
    assert texts(Cron(expression).upcoming(2, at("2026-01-01"))) == [f"{fire}+00:00" for fire in fires]


def test_six_fields_begin_with_seconds() -> None:
    seconds = Cron("*/20 0 12 * * *").upcoming(4, at("2026-01-01"))
    assert [moment.strftime("%d %H:%M:%S") for moment in seconds] == [
        "01 12:00:00",
        "01 12:00:20",
        "01 12:00:40",
        "02 12:00:00",
    ]


def test_hashed_fields_spread_schedules_by_name_and_stay_put() -> None:
    names = [f"report-{n}" for n in range(40)]
    times = {Cron("H H * * *", hash_id=name).next(at("2026-01-01")).time() for name in names}
    assert len(times) > 30
    assert Cron("H H * * *", hash_id="a") == Cron("H H * * *", hash_id="a")
    assert Cron("H H * * *", hash_id="a") != Cron("H H * * *", hash_id="b")


def test_a_hash_id_changes_nothing_without_hashed_fields() -> None:
    daily = Cron("@daily", hash_id="report")
    assert daily.next(at("2026-01-01")) == at("2026-01-02")
    assert daily == Cron("@daily")
    assert daily.hash_id is None


REFUSED = [
    ("* * * *", "has 4 fields"),
    ("0 0 1 1 * * 2030", "a year field is not supported, .* write '0 0 1 1 "),
    ("61 * * * * *", "61 is no second: it takes 0-59"),
    ("0 0 * 13 *", "13 is no month: it takes 1-12"),
    ("0 0 * * mo", "'mo' is wrong for the day of week: it takes 0-7"),
    ("-5 * * * *", "'-5' is wrong for the minute"),
    ("*/0 * * * *", "'\\*/0' is wrong for the minute: a step is a whole number from 1 on"),
    ("0 0 L-31 * *", "no month has a day that is 31 days before its last"),
    ("0 0 * * 1#6", "'1#6' is wrong for the day of week"),
    ("0 0 30 2 *", "does not happen within 50 years; check its day of month"),
    ("0 0 31 2,4,6,9,11 *", "does not happen within 50 years"),
    ("H 2 * * *", "H fields, .* has no name; .* pass hash_id"),
    ("R 2 * * *", "R picks another time in every process; use H"),
    ("*/90 * * * *", r"longer than the minute field, which starts again after 60; .* use every\(...\)"),
    ("58-2/3 * * * *", "58-2/3 runs backwards with a step; list the values of the minute"),
    ("0 0 * * sat-mon/2", "sat-mon/2 runs backwards with a step"),
]


@pytest.mark.parametrize(("expression", "message"), REFUSED)
def test_a_wrong_expression_is_refused_with_what_is_wrong(expression: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        Cron(expression)


def test_a_time_that_is_always_inside_the_gap_never_happens_for_an_interval() -> None:
    # New York skips 02:00-03:00 on the second Sunday of March, every year.
    with pytest.raises(ScheduleError, match="does not happen"):
        Cron("*/20 2 * 3 sun#2", timezone=NEW_YORK)
    assert Cron("20 2 * 3 sun#2", timezone=NEW_YORK).next(at("2026-01-01")) == at("2026-03-08T03:00", NEW_YORK)


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "Berlin", "", "Europe", "../etc/passwd", "/etc/hosts", None, "a\0b"]
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ScheduleError, match=r"no time zone named .*; use an IANA name such as 'Europe/Berlin'"):
        Cron("0 9 * * *", timezone=zone)


def test_an_expression_must_be_text() -> None:
    with pytest.raises(ScheduleError, match="is text"):
        Cron(5)  # type: ignore[arg-type]


WRITTEN = st.text(alphabet="0123456789*/,-#?LlWwHhRr@ ()monjanfri²١\u00a0", max_size=24)


@settings(max_examples=400, deadline=None)
@given(text=st.one_of(WRITTEN, st.lists(WRITTEN, min_size=5, max_size=6).map(" ".join)))
def test_whatever_is_written_it_is_a_schedule_or_a_schedule_error(text: str) -> None:
    try:
        cron = Cron(text, hash_id="name")
    except ScheduleError:
        return
    assert schedule_from_text(schedule_to_text(cron)) == cron


# --- croniter as a witness --------------------------------------------------------------------------------------------


def limited(low: int, high: int) -> st.SearchStrategy[str]:
    return fields(low, high).filter(lambda f: not f[2] and len(f[1]) < high - low + 1).map(lambda f: f[0])


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Day fields of every kind; the rest as above."""
    day, weekday_field = draw(
        st.one_of(
            st.tuples(st.just("*"), st.just("*")),
            # Beside each other without a leading *, and not every day: there croniter has a rule of its own.
            st.tuples(limited(1, 31), limited(0, 6)),
            st.tuples(fields(1, 31).map(lambda f: f[0]), st.just("*")),
            st.tuples(st.just("*"), fields(0, 6).map(lambda f: f[0])),
            st.tuples(st.sampled_from(["L", "15,L", "5-L", "1W", "31W", "W16", "?"]), st.just("*")),
            st.tuples(st.just("L"), st.sampled_from(["mon", "1-5", "5-7"])),
            st.tuples(
                st.just("*"), st.sampled_from(["fri#2", "L5", "1#1,3#5", "L1,L2", "sun-sat#3", "7#4", "fri-mon"])
            ),
        )
    )
    month = draw(st.sampled_from(["*", "feb", "jan-mar", "nov-feb", "*/5", "1,4,12"]))
    text = f"{draw(fields(0, 59))[0]} {draw(fields(0, 23))[0]} {day} {month} {weekday_field}"
    return f"{draw(fields(0, 59))[0]} {text}" if draw(st.booleans()) else text


@settings(max_examples=200, deadline=None)
@given(
    text=expressions(),
    start=st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)),  # noqa: DTZ001
    offset=st.sampled_from([("UTC", 0), ("Asia/Kolkata", 330), ("Asia/Tokyo", 540), ("America/Phoenix", -420)]),
)
def test_where_clocks_never_change_the_times_are_croniters(text: str, start: datetime, offset: tuple[str, int]) -> None:
    from croniter import CroniterBadDateError, croniter

    zone, minutes = offset
    try:
        witness = croniter(text, start, ret_type=datetime, second_at_beginning=True)
        expected = [witness.get_next() - timedelta(minutes=minutes) for _ in range(12)]
    except CroniterBadDateError:
        with pytest.raises(ScheduleError, match="does not happen"):
            Cron(text, timezone=zone)
        return
    begin = start.replace(tzinfo=UTC) - timedelta(minutes=minutes)
    fires = Cron(text, timezone=zone).upcoming(12, begin)
    assert [fire.astimezone(UTC).replace(tzinfo=None) for fire in fires] == expected
    for fire, following in pairwise(map(to_micros, fires)):
        assert Cron(text, timezone=zone).previous_micros(following) == fire


# --- intervals --------------------------------------------------------------------------------------------------------


def test_an_interval_fires_at_multiples_since_the_epoch() -> None:
    assert texts(every(hours=6).upcoming(3, at("2026-01-01T05:00"))) == [
        "2026-01-01T06:00+00:00",
        "2026-01-01T12:00+00:00",
        "2026-01-01T18:00+00:00",
    ]
    assert every(days=1, hours=2, minutes=3, seconds=0.5) == Every(timedelta(hours=26, minutes=3, seconds=0.5))
    assert repr(every(minutes=1.5)) == "every(seconds=90)"
    assert hash(every(minutes=1)) == hash(every(seconds=60))


@given(step=st.integers(100_000, 10**13), instant=st.integers(-(10**15), 10**16), other=st.integers(0, 10**9))
def test_intervals_go_both_ways_on_one_grid_and_count_what_they_fire(step: int, instant: int, other: int) -> None:
    schedule = Every(timedelta(microseconds=step))
    after, before = schedule.next_micros(instant), schedule.previous_micros(instant)
    assert before < instant < after
    assert after % step == before % step == 0
    assert after - before == (2 * step if instant % step == 0 else step)
    count, capped = schedule.count(instant, instant + other, limit=1)
    assert count == len([t for t in range(before, instant + other + 1, step) if t >= instant])
    assert not capped


@pytest.mark.parametrize(
    "make",
    [
        lambda: every(),
        lambda: every(seconds=0.05),
        lambda: every(hours=-1),
        lambda: every(days=40_000),
        lambda: every(days=float("inf")),
        lambda: every(seconds=float("nan")),
        lambda: Every(timedelta(0)),
    ],
)
def test_an_interval_that_cannot_work_is_refused(make: Callable[[], Every]) -> None:
    with pytest.raises(ScheduleError, match="interval"):
        make()


# --- stored and parsed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Cron("0 9 * * 1-5", timezone=BERLIN), '{"cron":"0 9 * * 1-5","timezone":"Europe/Berlin"}'),
        (Cron("H H * * *", hash_id="mail"), '{"cron":"H H * * *","hash_id":"mail","timezone":"UTC"}'),
        (every(minutes=5), '{"every_micros":300000000}'),
    ],
)
def test_schedules_are_stored_as_text(schedule: Cron | Every, text: str) -> None:
    assert schedule_to_text(schedule) == text
    assert schedule_from_text(text) == schedule


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", "{}", '{"cron":"* * * * *"}', '{"every_micros":"x"}', '"every_micros"']
)
def test_a_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="not a stored schedule"):
        schedule_from_text(text)


def test_a_user_gives_a_schedule_in_any_form() -> None:
    assert parse_schedule("0 9 * * *", timezone=None, name="mail") == Cron("0 9 * * *")
    assert parse_schedule("0 9 * * *", timezone=BERLIN, name="mail") == Cron("0 9 * * *", timezone=BERLIN)
    assert parse_schedule("H 9 * * *", timezone=None, name="mail") == Cron("H 9 * * *", hash_id="mail")
    assert parse_schedule(timedelta(minutes=5), timezone=None, name="mail") == every(minutes=5)
    for schedule in (Cron("0 9 * * *", timezone=BERLIN), every(minutes=5)):
        assert parse_schedule(schedule, timezone=None, name="mail") is schedule


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Cron("0 9 * * *"), r"write Cron\(expression, timezone=...\)"),
        (every(hours=1), "an interval is the same in all"),
        (timedelta(hours=1), "an interval is the same in all"),
    ],
)
def test_a_time_zone_beside_what_already_has_one_is_refused(value: Cron | Every | timedelta, hint: str) -> None:
    with pytest.raises(ScheduleError, match=hint):
        parse_schedule(value, timezone=BERLIN, name="mail")


def test_what_is_no_schedule_at_all_is_refused() -> None:
    with pytest.raises(ScheduleError, match="300 is not a schedule; give a cron expression"):
        parse_schedule(300, timezone=None, name="mail")  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match="no time zone named ''"):
        parse_schedule("0 9 * * *", timezone="", name="mail")


@given(st.integers(100_000, 10**13), st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15), st.integers(0, 5))
def test_an_anchor_is_an_occurrence_and_the_others_are_whole_intervals_away(
    step: int, anchor: int, instant: int, fires: int
) -> None:
    schedule = every(seconds=0, anchor=to_datetime(anchor), minutes=1)
    assert schedule.previous_micros(anchor + 1) == anchor == schedule.next_micros(anchor - 1)
    schedule = Every(timedelta(microseconds=step), offset=timedelta(microseconds=anchor))
    following = schedule.next_micros(instant)
    assert instant < following <= instant + step
    assert (following - anchor) % step == 0
    assert schedule.previous_micros(following) == following - step
    assert schedule.count(instant + 1, instant + fires * step, limit=1) == (fires, False)
    assert schedule_from_text(schedule_to_text(schedule)) == schedule


def test_anchors_with_the_same_times_are_equal_and_one_on_the_epochs_grid_is_stored_as_before() -> None:
    first, later = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2026, 3, 30, 9, tzinfo=UTC)
    assert every(weeks=2, anchor=first) == every(weeks=2, anchor=later)
    assert every(days=7, anchor=datetime(1970, 1, 8, tzinfo=UTC)) == every(weeks=1)
    assert schedule_to_text(every(weeks=1)) == '{"every_micros":604800000000}'
    # An earlier version must refuse it, instead of firing on the epoch's grid.
    assert "every_micros" not in schedule_to_text(every(weeks=2, anchor=first))
    assert eval(repr(every(weeks=2, anchor=first))) == every(weeks=2, anchor=first)


def test_an_anchor_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ScheduleError, match="datetime with a time zone"):
        every(weeks=2, anchor=datetime(2026, 3, 2, 9, tzinfo=UTC).replace(tzinfo=None))

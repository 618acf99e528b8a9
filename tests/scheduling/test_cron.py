"""Cron expressions: which days they match, what `H` spreads, what is equal, and how they are described."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedq.errors import ScheduleError
from embedq.scheduling.schedule import Cron, every

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kolkata"]
Match = Callable[[date], bool]


def last_day(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def nearest(day: date, number: int) -> bool:
    """Whether it is the weekday nearest to a day of its month: the first that is one, from the nearest on."""
    inside = [day.replace(day=n) for n in range(1, last_day(day) + 1)]
    return day == min((d for d in inside if d.isoweekday() < 6), key=lambda d: (abs(d.day - number), d.day))


DAYS: dict[str, Match] = {
    "*": lambda day: True,
    "?": lambda day: True,
    "*/2": lambda day: day.day % 2 == 1,
    "13": lambda day: day.day == 13,
    "1-7": lambda day: day.day <= 7,
    "5/10": lambda day: day.day in (5, 15, 25),
    "28-2": lambda day: day.day >= 28 or day.day <= 2,
    "L": lambda day: day.day == last_day(day),
    "L-3": lambda day: day.day == last_day(day) - 3,
    "1,L-30": lambda day: day.day == 1 or day.day == last_day(day) - 30,
    "15,L": lambda day: day.day in (15, last_day(day)),
    "10W,20": lambda day: nearest(day, 10) or day.day == 20,
}
WEEKDAYS: dict[str, Match] = {
    "*": lambda day: True,
    "?": lambda day: True,
    "*/3": lambda day: day.isoweekday() in (3, 6, 7),
    "mon": lambda day: day.isoweekday() == 1,
    "1/2": lambda day: day.isoweekday() in (1, 3, 5),
    "fri-sun": lambda day: day.isoweekday() >= 5,
    "sat-tue": lambda day: day.isoweekday() in (6, 7, 1, 2),
    "5-7/2": lambda day: day.isoweekday() in (5, 7),
    "fri#2": lambda day: day.isoweekday() == 5 and 8 <= day.day <= 14,
    "tue,friL": lambda day: day.isoweekday() == 2 or (day.isoweekday() == 5 and day.day > last_day(day) - 7),
}
MONTHS: dict[str, Match] = {
    "*": lambda day: True,
    "1/3": lambda day: day.month in (1, 4, 7, 10),
    "nov-feb": lambda day: day.month in (11, 12, 1, 2),
    "february": lambda day: day.month == 2,
}


def days_of(day: str, month: str, weekday: str, start: date, count: int) -> list[date]:
    """The days by the rule, read day by day."""
    both = day[0] in "*?" or weekday[0] in "*?"
    combine = all if both else any
    walk = (start + timedelta(days=n) for n in range(count))
    return [at for at in walk if MONTHS[month](at) and combine((DAYS[day](at), WEEKDAYS[weekday](at)))]


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("weekday", WEEKDAYS)
def test_the_days_of_two_years_are_as_the_rule_read_day_by_day_both_ways(day: str, weekday: str) -> None:
    start, count = date(2027, 6, 1), 800
    for month in MONTHS:
        cron = Cron(f"0 12 {day} {month} {weekday}")
        expected = days_of(day, month, weekday, start, count)
        first, end = datetime(2027, 6, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC) + timedelta(days=count)
        forward, back = [], []
        at = cron.next(first)
        while at < end:
            forward.append(at.date())
            at = cron.next(at)
        at = cron.previous(end)
        while at >= first:
            back.append(at.date())
            at = cron.previous(at)
        assert forward == back[::-1] == expected


@settings(max_examples=200, deadline=None)
@given(
    day=st.sampled_from(sorted(DAYS)), weekday=st.sampled_from(sorted(WEEKDAYS)),
    time=st.sampled_from(["30 2", "0 0", "*/20 2", "15 */2", "* 1-3", "5/25 22-3"]),
    zone=st.sampled_from(ZONES), minute=st.integers(0, 3 * 365 * 1440),
)  # fmt: skip
def test_next_and_previous_undo_each_other_in_zones_with_summer_time(
    day: str, weekday: str, time: str, zone: str, minute: int
) -> None:
    cron = Cron(f"{time} {day} * {weekday}", timezone=zone)
    start = NEW_YEAR + timedelta(minutes=minute)
    after, before = cron.next(start), cron.previous(start)
    assert before < start < after
    assert cron.previous(after) == (start if cron.next(before) == start else before)
    assert cron.next(cron.previous(after)) == after
    assert cron.previous(cron.next(before)) == before


# --- H ----------------------------------------------------------------------------------------------------------------


def test_hashed_times_reach_every_minute_of_the_day_evenly() -> None:
    found = Counter(Cron("H H * * *", hash_id=f"job {n}").next(NEW_YEAR).time() for n in range(20_000))
    assert len(found) == 1440
    # 13.9 on average; Poisson gives no more than 40 in 10^-8 of all cases.
    assert max(found.values()) < 40


def test_a_hashed_date_happens_every_month_or_year_whatever_the_name() -> None:
    days, dates = Counter[int](), set()
    for n in range(1_000):
        days[Cron("0 0 H * *", hash_id=f"job {n}").next(NEW_YEAR).day] += 1
        yearly = Cron("0 0 H H *", hash_id=f"job {n}").next(NEW_YEAR)
        dates.add((yearly.month, yearly.day))
    assert sorted(days) == list(range(1, 29))
    assert len(dates) > 300


def test_a_hashed_step_keeps_its_distance_and_its_range() -> None:
    for n in range(50):
        minutes = [at.minute for at in Cron("H(10-39)/15 * * * *", hash_id=f"job {n}").upcoming(2, NEW_YEAR)]
        assert minutes[1] - minutes[0] == 15
        assert 10 <= minutes[0] < 25


# --- equal and described ----------------------------------------------------------------------------------------------

SAME = [
    ("00 2 * * *", "0 2 * * *"),
    ("0 0 2 * * *", "0 2 * * *"),
    ("0 0 2 * * ? *", "0 2 * * *"),
    ("@daily", "0 0 * * *"),
    ("0 9 * jan,feb sun", "0 9 * 1-2 7"),
    ("0 9 1-31 * *", "0 9 * * *"),
    ("*/1 * * * *", "* * * * *"),
    ("0 9 * * L5", "0 9 * * friL"),
    ("0 9 1,15 * *", "0 9 15,1 * *"),
]
DIFFERENT = [
    ("0 2 * * *", "0 3 * * *"),
    ("0 0 1 * 1", "0 0 */31 * 1"),  # either day, and both
    ("0,30 2 * * *", "*/30 2 * * *"),  # fixed, and as the clock goes
    ("0 0 15 * *", "0 0 15W * *"),
    ("0 0 * * fri#4", "0 0 * * friL"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_expressions_that_mean_the_same_are_equal(one: str, other: str) -> None:
    assert Cron(one) == Cron(other)
    assert hash(Cron(one)) == hash(Cron(other))
    assert Cron(one).describe() == Cron(other).describe()
    assert Cron(one) != Cron(other, timezone="Europe/Berlin")


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_expressions_that_differ_in_any_night_or_day_are_not_equal(one: str, other: str) -> None:
    assert Cron(one) != Cron(other)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * 1-5", "at 09:00, Monday to Friday"),
        ("0 2 * * *", "at 02:00 every day"),
        ("0 9,17 * * sat,sun", "at 09:00 and 17:00, Saturday and Sunday"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("@hourly", "every hour"),
        ("20 * * * *", "at minute 20 of every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("*/10 9-17 * * mon-fri", "every 10 minutes from 09:00 to 17:50, Monday to Friday"),
        ("30 8-18 * * *", "every hour from 08:30 to 18:30"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 0 12 * * *", "at 12:00:30 every day"),
        ("0 9 1 1/3 *", "at 09:00, on the 1st of the month, in January, April, July and October"),
        ("0 0 L * *", "at 00:00, on the last day of the month"),
        ("0 0 LW * *", "at 00:00, on the last day from Monday to Friday of the month"),
        ("0 0 15W * *", "at 00:00, on the day from Monday to Friday nearest to the 15th of the month"),
        ("0 9 * * mon#1", "at 09:00, the first Monday of the month"),
        ("0 9 1-7 * 1", "at 09:00, on the 1st to the 7th of the month or on Monday"),
        ("0 9 */10 * 1", "at 09:00, on the 1st, the 11th, the 21st and the 31st of the month if it is Monday"),
    ],
)
def test_an_expression_in_words(expression: str, words: str) -> None:
    assert Cron(expression).describe() == words


FIELD = st.sampled_from(["*", "0", "5", "*/2", "3/7", "1-4", "0,30", "7-19/3", "*/20", "2-5,9"])
HOUR = st.sampled_from(["*", "0", "5", "*/2", "3/7", "1-4", "0,12", "7-19/3", "22-2", "2-5,9"])


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    # Without ?, beside which a weekday of six fields must be a name.
    day, weekday, month = (draw(st.sampled_from(sorted(of.keys() - {"?"}))) for of in (DAYS, WEEKDAYS, MONTHS))
    return Cron(f"{draw(FIELD)} {draw(FIELD)} {draw(HOUR)} {day} {month} {weekday}")


@settings(max_examples=1_000, deadline=None)
@given(many=st.lists(crons(), min_size=2, max_size=40))
def test_what_is_described_alike_matches_alike(many: list[Cron]) -> None:
    told: dict[str, Cron] = {}
    for cron in many:
        other = told.setdefault(cron.describe(), cron)
        assert replace(cron._rule, follows_elapsed_time=True) == replace(other._rule, follows_elapsed_time=True)


# --- time zones -------------------------------------------------------------------------------------------------------


def test_a_time_zone_is_a_name_or_what_has_one() -> None:
    assert Cron("0 9 * * *", timezone=ZoneInfo("Europe/Berlin")) == Cron("0 9 * * *", timezone="Europe/Berlin")
    assert Cron("0 9 * * *", timezone=UTC).timezone == "UTC"
    with pytest.raises(ScheduleError, match="has no IANA name; give one such as 'Europe/Berlin'"):
        Cron("0 9 * * *", timezone=timezone(timedelta(hours=1)))


def test_previous_is_strictly_before_for_both_kinds() -> None:
    assert Cron("0 9 * * *").previous(datetime(2026, 1, 1, 9, tzinfo=UTC)) == datetime(2025, 12, 31, 9, tzinfo=UTC)
    assert every(hours=6).previous(datetime(2026, 1, 1, 6, tzinfo=UTC)) == NEW_YEAR
    assert replace(Cron("0 9 * * *"), timezone="Asia/Tokyo") == Cron("0 9 * * *", timezone="Asia/Tokyo")

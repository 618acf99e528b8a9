"""What the pages draw: the graph and the calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from embedq.dashboard.agenda import by_day, clock_change
from embedq.dashboard.charts import chart, round_up
from embedq.job import Ending
from embedq.operations.upcoming import UpcomingRun
from embedq.storage.inspect.history import Bar, History, Totals

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def totals(**endings: int) -> Totals:
    counts = {Ending(name): count for name, count in endings.items()}
    return Totals(endings=counts, ran_seconds=0.0, waited_seconds=0.0, cpu_seconds=0.0)


def history(*counts: int) -> History:
    bars = [Bar(at=NOON + timedelta(minutes=place), totals=totals(succeeded=n)) for place, n in enumerate(counts)]
    return History(span="hour", bar_seconds=60, bars=bars, totals=totals(succeeded=sum(counts)))


def test_a_scale_ends_at_a_round_number_with_a_round_half() -> None:
    assert [round_up(count) for count in (1, 2, 3, 9, 11, 101, 1001, 7_000)] == [1, 2, 4, 10, 12, 120, 1200, 8_000]


def test_a_burst_goes_through_the_top_and_the_rest_can_be_seen() -> None:
    drawn = chart(history(*[5] * 30, 900, *[6] * 29))
    assert drawn.scale[0].label == "12"
    assert [(bar.cut, bar.above) for bar in drawn.bars[29:32]] == [(False, ""), (True, "900"), (False, "")]
    assert drawn.bars[0].parts[0].height > 40
    assert drawn.bars[30].parts[0].height == 100


def test_of_bursts_that_are_near_each_other_one_has_its_count_written() -> None:
    drawn = chart(history(*[5] * 57, 800, 900, 5))
    assert [bar.above for bar in drawn.bars if bar.cut] == ["", "900"]


def test_an_even_history_fits_its_scale() -> None:
    drawn = chart(history(*range(60)))
    assert (drawn.scale[0].label, drawn.scale[1].label, drawn.highest) == ("60", "30", 59)
    assert not any(bar.cut for bar in drawn.bars)
    assert [mark.label for mark in drawn.times] == ["1 h ago", "45 min ago", "30 min ago", "15 min ago", "now"]


def test_where_nothing_ran_there_is_no_scale() -> None:
    drawn = chart(history(*[0] * 60))
    assert (drawn.scale, drawn.highest) == ([], 0)


@pytest.mark.parametrize(
    ("zone", "day", "told"),
    [
        ("Europe/Berlin", date(2027, 3, 28), ("02:00 CET", "03:00 CEST", 1)),
        ("Europe/Berlin", date(2026, 10, 25), ("03:00 CEST", "02:00 CET", 1)),
        ("America/New_York", date(2027, 3, 14), ("02:00 EST", "03:00 EDT", 7)),
        ("Europe/Berlin", date(2027, 3, 27), None),
        ("UTC", date(2027, 3, 28), None),
    ],
)
def test_a_day_on_which_the_clock_changes_is_reported(zone: str, day: date, told: tuple[str, str, int] | None) -> None:
    change = clock_change(zone, day)
    assert (change and (change.before, change.after, change.at.hour)) == told


def test_days_hold_what_fires_by_schedule_and_days_without_anything_are_left_out() -> None:
    def at(hours: int, name: str) -> UpcomingRun:
        moment = NOON + timedelta(hours=hours)
        return UpcomingRun(schedule=name, task="mail:send", at=moment, local=moment)

    days = by_day([at(1, "a"), at(2, "b"), at(3, "a"), at(60, "b")], [], NOON, NOON + timedelta(days=7))
    assert [(day.date.day, [(one.schedule, len(one.times)) for one in day.firings]) for day in days] == [
        (26, [("a", 2), ("b", 1)]),
        (29, [("b", 1)]),
    ]
    quiet = by_day([], ["Europe/Berlin"], datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC))
    assert [(day.date.day, day.firings) for day in quiet] == [(28, [])]

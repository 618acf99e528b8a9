"""What becomes of missed occurrences: every one that was due is fired or accounted for, exactly once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedq.clock import SECOND, to_datetime, to_micros
from embedq.errors import ScheduleError
from embedq.scheduling.misfire import (
    COUNTED_AT_MOST,
    MOST_FIRES,
    FirePlan,
    Misfire,
    PassedOver,
    catch_up,
    misfire_from_text,
    misfire_to_text,
    parse_misfire,
    plan_fires,
)
from embedq.scheduling.schedule import Cron, Schedule, every

HOUR = 3600 * SECOND
WEEK = 7 * 24 * HOUR
NOON = to_micros(datetime(2026, 6, 1, 12, tzinfo=UTC))
HOURLY = Cron("0 * * * *")


def plan(schedule: Schedule, misfire: Misfire, *, missed: int, late_by: int = 0) -> FirePlan:
    """The plan `late_by` after noon, for a schedule last looked at just before `missed` microseconds ago."""
    return plan_fires(schedule, misfire, next_fire_at=NOON - missed, now=NOON + late_by)


# --- on time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("misfire", [Misfire(), Misfire(policy="skip"), catch_up()])
def test_an_occurrence_on_time_fires(misfire: Misfire) -> None:
    expected = FirePlan(fires=(NOON,), passed=(), next_fire_at=NOON + HOUR)
    assert plan(HOURLY, misfire, missed=0) == expected
    assert plan(HOURLY, misfire, missed=0, late_by=SECOND) == expected


@pytest.mark.parametrize("misfire", [Misfire(), Misfire(policy="skip"), catch_up()])
def test_a_clock_that_stepped_back_fires_nothing_and_changes_nothing(misfire: Misfire) -> None:
    assert plan(HOURLY, misfire, missed=0, late_by=-1) == FirePlan(fires=(), passed=(), next_fire_at=NOON)
    assert plan(HOURLY, misfire, missed=0, late_by=-WEEK) == FirePlan(fires=(), passed=(), next_fire_at=NOON)


def test_a_time_that_is_no_longer_on_the_schedule_fires_nothing_and_moves_on() -> None:
    # New time zone data moved the occurrence after it had been written down.
    moved = plan_fires(HOURLY, Misfire(), next_fire_at=NOON + HOUR // 2, now=NOON + HOUR // 2)
    assert moved == FirePlan(fires=(), passed=(), next_fire_at=NOON + HOUR)


# --- the policies -----------------------------------------------------------------------------------------------------


def test_once_runs_the_latest_and_merges_the_others_into_it() -> None:
    berlin = Cron("0 * * * *", timezone="Europe/Berlin")
    assert plan(berlin, Misfire(), missed=3 * HOUR, late_by=1) == FirePlan(
        fires=(NOON,),
        passed=(
            PassedOver(
                first=NOON - 3 * HOUR,
                last=NOON - HOUR,
                count=3,
                capped=False,
                reason="merged into the run at 2026-06-01T14:00:00+02:00",
            ),
        ),
        next_fire_at=NOON + HOUR,
    )


def test_once_with_a_grace_skips_what_is_later() -> None:
    result = plan(HOURLY, Misfire(grace=timedelta(minutes=90)), missed=3 * HOUR)
    assert result.fires == (NOON,)
    assert [(line.count, line.reason) for line in result.passed] == [
        (2, "missed by more than 5400 s (policy: once)"),
        (1, "merged into the run at 2026-06-01T12:00:00+00:00"),
    ]
    late = plan(HOURLY, Misfire(grace=timedelta(minutes=1)), missed=3 * HOUR, late_by=HOUR - 1)
    assert late.fires == ()
    assert [(line.first, line.last, line.count) for line in late.passed] == [(NOON - 3 * HOUR, NOON, 4)]


def test_skip_passes_over_what_is_late_by_more_than_a_minute() -> None:
    assert plan(HOURLY, Misfire(policy="skip"), missed=0, late_by=60 * SECOND).fires == (NOON,)
    late = plan(HOURLY, Misfire(policy="skip"), missed=HOUR, late_by=60 * SECOND + 1)
    assert late.fires == ()
    assert [line.reason for line in late.passed] == ["missed by more than 60 s (policy: skip)"]
    assert late.next_fire_at == NOON + HOUR


def test_skip_runs_each_that_is_on_time() -> None:
    result = plan(every(seconds=10), Misfire(policy="skip"), missed=HOUR)
    assert result.fires == tuple(NOON - seconds * SECOND for seconds in range(60, -1, -10))
    assert [line.count for line in result.passed] == [353 + 1]


def test_all_runs_each_up_to_the_latest_few() -> None:
    assert plan(HOURLY, catch_up(), missed=3 * HOUR).fires == tuple(NOON - hours * HOUR for hours in (3, 2, 1, 0))
    few = plan(HOURLY, catch_up(2), missed=3 * HOUR)
    assert few.fires == (NOON - HOUR, NOON)
    assert [(line.first, line.last, line.count, line.reason) for line in few.passed] == [
        (NOON - 3 * HOUR, NOON - 2 * HOUR, 2, "more than 2 were due (policy: all)")
    ]
    graced = plan(HOURLY, catch_up(2, grace=timedelta(hours=2)), missed=4 * HOUR)
    assert graced.fires == (NOON - HOUR, NOON)
    assert [(line.count, line.reason) for line in graced.passed] == [
        (2, "missed by more than 7200 s (policy: all)"),
        (1, "more than 2 were due (policy: all)"),
    ]


def test_a_repeated_hour_is_caught_up_as_it_would_have_fired() -> None:
    half_hours = Cron("*/30 * * * *", timezone="Europe/Berlin")
    first = to_micros(datetime(2026, 10, 25, 0, 0, tzinfo=UTC))
    result = plan_fires(half_hours, catch_up(), next_fire_at=first, now=first + 2 * HOUR)
    assert [half_hours.at(fire).strftime("%H:%M%z") for fire in result.fires] == [
        "02:00+0200",
        "02:30+0200",
        "02:00+0100",
        "02:30+0100",
        "03:00+0100",
    ]


# --- all of it, and not too much of it --------------------------------------------------------------------------------

SCHEDULES = [
    HOURLY,
    every(minutes=7),
    every(seconds=900),
    Cron("*/20 2 * * *", timezone="Europe/Berlin"),
    Cron("10,50 1-3 * * *", timezone="Europe/Berlin"),
    Cron("0 0 * * *", timezone="America/Santiago"),
    Cron("*/15 * * * *", timezone="Australia/Lord_Howe"),
]
MOMENTS = [
    to_micros(datetime(2026, month, day, tzinfo=UTC)) for month, day in ((3, 29), (4, 5), (6, 1), (9, 6), (10, 25))
]
MISFIRES = st.builds(
    lambda policy, limit, grace: Misfire(policy=policy, grace=grace, **({"max": limit} if policy == "all" else {})),
    st.sampled_from(["skip", "once", "all"]),
    st.integers(1, 60),
    st.none() | st.timedeltas(timedelta(0), timedelta(hours=30)),
)


@settings(max_examples=200, deadline=None)
@given(
    schedule=st.sampled_from(SCHEDULES),
    misfire=MISFIRES,
    start=st.sampled_from(MOMENTS),
    shift=st.integers(-12 * HOUR, 12 * HOUR),
    downtime=st.integers(0, 30 * HOUR),
)
def test_every_due_occurrence_is_fired_or_passed_over_exactly_once(
    schedule: Schedule, misfire: Misfire, start: int, shift: int, downtime: int
) -> None:
    next_fire_at = schedule.next_micros(start + shift)
    now = next_fire_at + downtime
    due = [next_fire_at]
    while (following := schedule.next_micros(due[-1])) <= now:
        due.append(following)
    result = plan_fires(schedule, misfire, next_fire_at=next_fire_at, now=now)

    grace = misfire.grace if misfire.policy != "skip" or misfire.grace is not None else timedelta(seconds=60)
    in_time = [moment for moment in due if grace is None or to_datetime(now) - to_datetime(moment) <= grace]
    keep = {"once": 1, "all": misfire.max, "skip": len(due)}[misfire.policy]
    assert list(result.fires) == in_time[-keep:]
    assert result.next_fire_at == following
    passed = [[moment for moment in due if line.first <= moment <= line.last] for line in result.passed]
    assert sorted([*result.fires, *(moment for run in passed for moment in run)]) == due
    for line, run in zip(result.passed, passed, strict=True):
        assert (line.first, line.last, line.count, line.capped) == (run[0], run[-1], len(run), False)
        assert line.reason


def test_a_week_of_a_cron_by_the_second_is_planned_without_walking_through_it() -> None:
    calls = 0

    class Counting(Cron):
        def next_micros(self, after: int) -> int:
            nonlocal calls
            calls += 1
            return super().next_micros(after)

    result = plan(Counting("* * * * * *"), Misfire(), missed=WEEK)
    assert calls < 2 * COUNTED_AT_MOST
    assert result.fires == (NOON,)
    [line] = result.passed
    assert (line.first, line.last) == (NOON - WEEK, NOON - SECOND)
    assert (line.count, line.capped) == (COUNTED_AT_MOST, True)
    assert result.next_fire_at == NOON + SECOND


def test_a_week_of_an_interval_by_the_second_is_counted_exactly() -> None:
    result = plan(every(seconds=1), catch_up(3), missed=WEEK)
    assert result.fires == (NOON - 2 * SECOND, NOON - SECOND, NOON)
    [line] = result.passed
    assert (line.count, line.capped) == (WEEK // SECOND - 2, False)


def test_even_a_long_grace_does_not_fire_without_bound() -> None:
    result = plan(every(seconds=1), Misfire(policy="skip", grace=timedelta(days=30)), missed=WEEK)
    assert len(result.fires) == MOST_FIRES
    assert result.fires[-1] == NOON
    [line] = result.passed
    assert line.count == WEEK // SECOND + 1 - MOST_FIRES
    assert line.reason == "more than 10000 were due (policy: skip)"


def test_exactly_as_many_as_are_counted_is_not_capped() -> None:
    minutely = Cron("* * * * *")
    for missed, capped in ((COUNTED_AT_MOST, False), (COUNTED_AT_MOST + 1, True)):
        [line] = plan(minutely, Misfire(), missed=missed * 60 * SECOND).passed
        assert (line.count, line.capped) == (COUNTED_AT_MOST, capped)


# --- given and stored -------------------------------------------------------------------------------------------------


def test_a_user_gives_a_policy_by_name_or_as_a_misfire() -> None:
    assert parse_misfire("once") == Misfire()
    assert parse_misfire("skip", timedelta(minutes=5)) == Misfire(policy="skip", grace=timedelta(minutes=5))
    assert parse_misfire("all") == catch_up() == Misfire(policy="all", max=100)
    assert parse_misfire(catch_up(7)) == Misfire(policy="all", max=7)


@pytest.mark.parametrize(
    ("value", "grace", "message"),
    [
        ("sometimes", None, "'sometimes' is not a misfire policy; use 'skip', 'once', 'all' or catch_up"),
        (None, None, "None is not a misfire policy"),
        ("once", timedelta(seconds=-1), "grace is how late a run may be, so it cannot be negative"),
        (catch_up(), timedelta(seconds=1), "give it the grace: Misfire"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(value: str | Misfire, grace: timedelta | None, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        parse_misfire(value, grace)


@pytest.mark.parametrize("limit", [0, -1, MOST_FIRES + 1, 2.5])
def test_a_max_that_cannot_work_is_refused(limit: int) -> None:
    with pytest.raises(ScheduleError, match="from 1 to 10000"):
        catch_up(limit)


def test_a_max_goes_with_all_only() -> None:
    with pytest.raises(ScheduleError, match=r"max goes with the policy 'all', not with 'once'; use catch_up\(5\)"):
        Misfire(policy="once", max=5)


@pytest.mark.parametrize(
    ("misfire", "text"),
    [
        (Misfire(), '{"policy":"once"}'),
        (Misfire(policy="skip", grace=timedelta(seconds=1.5)), '{"grace_micros":1500000,"policy":"skip"}'),
        (catch_up(7), '{"max":7,"policy":"all"}'),
    ],
)
def test_policies_are_stored_as_text(misfire: Misfire, text: str) -> None:
    assert misfire_to_text(misfire) == text
    assert misfire_from_text(text) == misfire


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"policy":"once","grace_micros":"x"}'])
def test_a_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="not a stored misfire policy"):
        misfire_from_text(text)

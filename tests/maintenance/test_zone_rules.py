"""The rules of a time zone change between two starts: no occurrence is lost, and none is at another time of the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from embedq import Cron, EmbedQ, every
from embedq.clock import SECOND, to_micros
from embedq.maintenance.leader import Leader
from embedq.scheduling.zone_rules import corrected
from tests.maintenance.test_clock_set_back import app, enqueued, leader, leader_of, next_fire, pulse
from tests.support import FakeClock

__all__ = ["app", "leader"]

HOUR = 3600 * SECOND
DAILY = Cron("0 9 * * *", timezone="Europe/Berlin")
# 09:00 in Berlin.
RIGHT = datetime(2026, 6, 2, 7, tzinfo=UTC)


def test_an_occurrence_under_the_present_rules_stays() -> None:
    for schedule in (DAILY, Cron("0 9 * * *"), every(hours=5)):
        occurrence = schedule.next_micros(to_micros(RIGHT) - HOUR)
        assert corrected(schedule, occurrence) == occurrence


@pytest.mark.parametrize("hours", [-2, -1, 1, 2])
def test_one_under_other_rules_moves_to_the_same_time_of_the_day(hours: int) -> None:
    assert corrected(DAILY, to_micros(RIGHT) + hours * HOUR) == to_micros(RIGHT)


def test_what_has_no_occurrence_near_it_is_left_as_it_is() -> None:
    assert corrected(DAILY, to_micros(RIGHT) + 5 * HOUR) == to_micros(RIGHT) + 5 * HOUR


def store_next(app: EmbedQ, moment: datetime) -> None:
    """As a process with other rules stored it."""
    app.database.write(lambda tx: tx.run("advance_schedule", (to_micros(moment), None, None, None, 0, "pulse")))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_process_that_starts_to_lead_corrects_what_waits(
    app: EmbedQ, leader: Leader, clock: FakeClock, hours: int
) -> None:
    app.recurring("pulse", DAILY, pulse)
    assert next_fire(app) == RIGHT
    store_next(app, RIGHT + timedelta(hours=hours))
    leader.step()
    assert next_fire(app) == RIGHT
    clock.micros = to_micros(RIGHT)
    leader.step()
    assert enqueued(app) == [RIGHT]
    assert next_fire(app) == RIGHT + timedelta(days=1)


def test_one_that_is_due_too_early_waits_for_its_time(app: EmbedQ, clock: FakeClock) -> None:
    app.recurring("pulse", DAILY, pulse)
    store_next(app, RIGHT - timedelta(hours=1))
    clock.micros = to_micros(RIGHT - timedelta(minutes=30))
    leader_of(app).step()
    assert (enqueued(app), next_fire(app)) == ([], RIGHT)
    clock.advance(minutes=30)
    leader_of(app).step()
    assert enqueued(app) == [RIGHT]


def test_one_whose_time_has_passed_under_the_new_rules_runs_late_and_once(app: EmbedQ, clock: FakeClock) -> None:
    app.recurring("pulse", DAILY, pulse)
    store_next(app, RIGHT + timedelta(hours=1))
    clock.micros = to_micros(RIGHT + timedelta(minutes=30))
    leader_of(app).step()
    assert enqueued(app) == [RIGHT]
    clock.advance(hours=1)
    leader_of(app).step()
    assert enqueued(app) == [RIGHT]

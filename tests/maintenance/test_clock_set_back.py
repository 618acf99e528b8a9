"""A clock that was far ahead is set right: recurring jobs go on from the present, and none is enqueued twice (G5)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import embedq
from embedq import EmbedQ, every
from embedq.clock import to_micros
from embedq.maintenance.leader import Leader
from embedq.observability.outage import Outage
from embedq.process.registration import Registration
from tests.support import FakeClock


def pulse() -> None: ...


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[EmbedQ]:
    """Connected and not started. It is noon on 1 June 2026, UTC."""
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", clock=clock).connect()
    yield app
    app.close()


def leader_of(app: EmbedQ, server_id: int = 1) -> Leader:
    return Leader(
        settings=app.settings,
        clock=app.clock,
        database=app.database,
        registration=Registration(server_id),
        fired=lambda: None,
        outage=Outage(running=lambda: 0, waiting=lambda: 0),
    )


@pytest.fixture
def leader(app: EmbedQ) -> Leader:
    return leader_of(app)


def set_clock(clock: FakeClock, moment: datetime) -> None:
    clock.micros = to_micros(moment)


def lead(leader: Leader, clock: FakeClock, *, hours: int) -> None:
    """Take the rounds of some hours, one every ten minutes."""
    for _ in range(6 * hours):
        clock.advance(minutes=10)
        leader.step()


def enqueued(app: EmbedQ) -> list[datetime]:
    return [job.run_at for job in reversed(app.jobs(schedule="pulse", limit=1000))]


def next_fire(app: EmbedQ) -> datetime:
    [schedule] = app.schedules()
    return schedule.next_fire_at


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_schedule_continues_from_the_present_and_enqueues_no_occurrence_twice(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    clock.advance(minutes=-5)
    app.recurring("pulse", "@hourly", pulse, overlap="allow")
    lead(leader, clock, hours=5)
    set_clock(clock, NOON - timedelta(hours=3, minutes=5))
    lead(leader, clock, hours=10)
    runs = enqueued(app)
    # What was enqueued in the future of then is not enqueued again when it comes.
    assert max(Counter(runs).values()) == 1
    assert sorted(runs) == [NOON + timedelta(hours=hour) for hour in range(-2, 7)]
    assert len(app.occurrences("pulse")) == len(runs)


def test_a_clock_that_was_a_year_ahead_puts_no_schedule_to_sleep_for_a_year(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    set_clock(clock, NOON + timedelta(days=365))
    app.recurring("pulse", "0 9 * * *", pulse, overlap="allow")
    lead(leader, clock, hours=48)
    set_clock(clock, NOON)
    leader.step()
    assert next_fire(app) == datetime(2026, 6, 2, 9, tzinfo=UTC)
    lead(leader, clock, hours=24)
    assert enqueued(app)[-1] == datetime(2026, 6, 2, 9, tzinfo=UTC)


def test_a_new_leader_corrects_schedules_that_are_far_ahead_too(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", every(hours=1), pulse, overlap="allow")
    lead(leader, clock, hours=5)
    leader.stop()
    # As on the next start of the machine, with another monotonic clock.
    set_clock(clock, NOON - timedelta(hours=12))
    clock._monotonic = 0.0
    leader_of(app, 2).step()
    assert next_fire(app) == NOON - timedelta(hours=11)


def test_a_step_back_of_up_to_an_hour_is_slept_through(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", every(minutes=10), pulse, overlap="allow")
    lead(leader, clock, hours=2)
    before = len(enqueued(app))
    clock.advance(minutes=-50)
    lead(leader, clock, hours=1)
    assert len(enqueued(app)) == before + 1


def test_a_step_back_within_one_interval_leaves_the_next_occurrence_alone(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    app.recurring("pulse", "@hourly", pulse, overlap="allow")
    lead(leader, clock, hours=1)
    assert next_fire(app) == NOON + timedelta(hours=2)
    set_clock(clock, NOON + timedelta(minutes=15))
    leader.step()
    assert next_fire(app) == NOON + timedelta(hours=2)


def test_the_hour_that_is_shown_twice_fires_once_even_when_the_clock_is_set_back_over_it(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    # 02:30 is shown at 00:30 and at 01:30 UTC.
    set_clock(clock, datetime(2026, 10, 24, 22, tzinfo=UTC))
    app.recurring("pulse", "30 2 * * *", pulse, timezone="Europe/Berlin", overlap="allow")
    lead(leader, clock, hours=6)
    only = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]
    assert enqueued(app) == only
    set_clock(clock, datetime(2026, 10, 24, 23, 45, tzinfo=UTC))
    lead(leader, clock, hours=6)
    assert enqueued(app) == only
    assert next_fire(app) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_catching_up_does_not_reach_back_to_before_the_schedule_was_made(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    app.recurring("pulse", "@hourly", pulse, misfire=embedq.catch_up(50), overlap="allow")
    lead(leader, clock, hours=2)
    # For a moment somebody has the clock wrong.
    set_clock(clock, NOON - timedelta(hours=20, minutes=30))
    leader.step()
    assert next_fire(app) == NOON - timedelta(hours=20)
    set_clock(clock, NOON + timedelta(hours=4))
    leader.step()
    assert enqueued(app) == [NOON + timedelta(hours=hour) for hour in (1, 2, 3, 4)]
    assert [line.outcome for line in app.occurrences("pulse")] == ["enqueued"] * 4


def test_a_turn_that_failed_while_the_clock_was_ahead_is_tried_again_at_once(
    app: EmbedQ, leader: Leader, clock: FakeClock, tmp_path: Path
) -> None:
    app.recurring("pulse", "@hourly", pulse, overlap="allow")
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    ahead = to_micros(NOON + timedelta(days=300))
    connection.execute("UPDATE embedq_schedules SET due_at = ?, error = 'once'", (ahead,))
    connection.close()
    lead(leader, clock, hours=1)
    assert enqueued(app) == [NOON + timedelta(hours=1)]


def test_a_schedule_that_rests_or_cannot_be_read_is_left_as_it_is(
    app: EmbedQ, leader: Leader, clock: FakeClock, tmp_path: Path
) -> None:
    for name in ("paused", "unreadable", "pulse"):
        app.recurring(name, "@hourly", pulse, overlap="allow")
    lead(leader, clock, hours=5)
    app.pause_recurring("paused")
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    connection.execute("UPDATE embedq_schedules SET spec = 'of the future' WHERE name = 'unreadable'")
    connection.close()
    set_clock(clock, NOON - timedelta(hours=12))
    leader.step()
    now = {schedule.name: schedule.next_fire_at for schedule in app.schedules()}
    later = NOON + timedelta(hours=6)
    assert now == {"paused": later, "unreadable": later, "pulse": NOON - timedelta(hours=11)}

"""Recurring jobs by the thousand: fired in sets, in turn, and compared many at a time."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

import embedq
from embedq import EmbedQ, every
from embedq.clock import SECOND
from embedq.maintenance import scheduler
from embedq.storage import firing, inspect, schedules
from embedq.storage.schedules import DeclaredSchedule
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

MINUTE = 60 * SECOND


@embedq.job(name="many:job")
def job(*args: object) -> None: ...


@pytest.fixture
def app(url: str, clock: FakeClock) -> EmbedQ:
    return EmbedQ(url, clock=clock)


def template(**columns: object) -> str:
    """What a schedule enqueues."""
    shared = {
        "executor": "thread", "queue": "default", "priority": 0, "name": "tests:job", "payload": "[[],{}]",
        "code": None, "options": None, "tags": None, "expires_in": None,
    }  # fmt: skip
    return json.dumps(shared | columns)


def put_many(store: Store, names: list[str], **given: str) -> None:
    """Schedules that fire each minute, from a minute from now on."""
    values = {"spec": '{"every_micros":60000000}', "misfire": '{"policy":"once"}', "task": "tests:job",
              "template": template(), "overlap": "allow"}  # fmt: skip
    wanted = [DeclaredSchedule(name, **(values | given)) for name in names]
    first = store.now + MINUTE
    store.db.write(schedules.put, wanted, first_fire=lambda _: first, now=store.now)


def test_schedules_that_are_due_together_fire_together_each_with_its_own_job_and_line(
    store: Store, clock: FakeClock
) -> None:
    names = [f"{number:03} Zoë 🙂" for number in range(100)]
    put_many(store, names)
    clock.advance(minutes=1)
    looked = scheduler.fire_set(store.db, clock, RETENTION)
    assert (looked.due, looked.turns, looked.made) == (100, 100, 100)
    for name in names:
        [line] = store.db.read(inspect.occurrences, name)
        row = store.db.read(schedules.load, name)
        assert line.job_id is not None
        assert store.job(line.job_id).schedule == name
        assert (row.last_job_id, row.last_fire_at, row.next_fire_at) == (line.job_id, store.now, store.now + MINUTE)
    assert scheduler.fire_set(store.db, clock, RETENTION).due == 0


def test_of_a_set_the_one_that_the_database_refuses_fails_alone(store: Store, clock: FakeClock) -> None:
    put_many(store, [f"sound {number:02}" for number in range(20)])
    put_many(store, ["sound 10½"], template=template(priority="high"))
    put_many(store, ["sound 11½"], template='{"queue":"q","mood":"new"}')
    clock.advance(minutes=1)
    assert scheduler.fire_due(store.db, clock, RETENTION) == 20
    rows = store.db.read(inspect.schedules)
    assert {row.name for row in rows if row.error is not None} == {"sound 10½", "sound 11½"}
    assert {row.next_fire_at for row in rows if row.error is None} == {store.now + MINUTE}
    assert {row.next_fire_at for row in rows if row.error is not None} == {store.now}
    # The next look does not meet them again.
    assert scheduler.fire_set(store.db, clock, RETENTION).due == 0


def test_in_a_crowd_one_whose_time_has_just_come_is_among_the_first(store: Store, clock: FakeClock) -> None:
    put_many(store, [f"crowd {number:03}" for number in range(100)])
    clock.advance(seconds=1)
    put_many(store, ["latest"])
    clock.advance(minutes=1)
    due = [row.name for row in store.db.read(schedules.due, now=store.now, limit=20)]
    assert due[0] == "latest"
    assert len([name for name in due if name.startswith("crowd")]) >= 19


def test_a_set_takes_no_more_than_so_much_text_and_one_schedule_at_least(store: Store, clock: FakeClock) -> None:
    put_many(store, ["a", "b", "c"], template=template(payload="x" * 400_000))
    clock.advance(minutes=1)
    assert len(store.db.read(schedules.due, now=store.now)) == 2
    assert len(store.db.read(schedules.due, now=store.now, size=10)) == 1
    assert scheduler.fire_due(store.db, clock, RETENTION) == 3


def test_a_run_by_hand_at_the_same_instant_holds_up_no_other_of_the_set(store: Store, clock: FakeClock) -> None:
    put_many(store, ["a", "b", "c"])
    clock.advance(minutes=1)
    store.db.write(firing.trigger, "b", scheduler.make_job, now=store.now)
    assert scheduler.fire_due(store.db, clock, RETENTION) == 3
    for name in "abc":
        assert [line.outcome for line in store.db.read(inspect.occurrences, name)] == ["enqueued"]


def test_a_schedule_that_makes_up_for_much_does_so_in_parts_and_each_occurrence_once(
    app: EmbedQ, clock: FakeClock
) -> None:
    app.recurring("catch up", every(seconds=1), job, misfire=embedq.catch_up(2_000))
    app.recurring("other", every(minutes=30), job)
    app.connect()
    clock.advance(minutes=30)
    first = scheduler.fire_set(app.database, clock, RETENTION)
    assert first.made <= 2 * schedules.TURNS
    assert first.made + scheduler.fire_due(app.database, clock, RETENTION) == 1_800 + 1
    lines = app.database.read(inspect.occurrences, "catch up", 2_000)
    assert Counter(line.outcome for line in lines) == {"enqueued": 1_800}
    assert len({line.fire_at for line in lines}) == 1_800
    app.close()


def test_a_turn_that_was_decided_on_before_the_schedule_changed_is_not_taken(store: Store, clock: FakeClock) -> None:
    put_many(store, ["pulse"])
    clock.advance(minutes=1)
    [row] = store.db.read(schedules.due, now=store.now)
    turn = scheduler.decide(row, store.now)
    store.db.write(schedules.pause, "pulse", now=store.now)
    planned = firing.Planned(row, turn, [scheduler.make_job(row, turn.fires[0])])
    assert store.db.write(firing.fire, [planned], now=store.now, retention=RETENTION).turns == 0
    assert store.db.read(inspect.occurrences, "pulse") == []


def test_many_are_written_at_the_start_and_only_what_has_changed_is_written_again(
    app: EmbedQ, url: str, clock: FakeClock
) -> None:
    for number in range(1_200):
        app.recurring(f"{number:04}", "@daily", job, number)
    # The last word counts.
    app.recurring("0007", "@hourly", job, 7)
    app.connect()
    before = {row.name: row for row in app.database.read(inspect.schedules)}
    assert len(before) == 1_200
    assert app.schedules()[7].when == embedq.Cron("@hourly")
    app.close()
    clock.advance(seconds=5)
    again = EmbedQ(url, clock=clock)
    for number in range(1_200):
        again.recurring(f"{number:04}", "@daily", job, number if number != 8 else "changed")
    again.connect()
    after = {row.name: row for row in again.database.read(inspect.schedules)}
    assert sorted(name for name in after if after[name] != before[name]) == ["0007", "0008"]
    again.close()


def test_unchanged_recurring_jobs_wait_for_no_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with EmbedQ(url).connect() as app:
        app.close()
    names = [f"{number:02}" for number in range(60)]
    app = EmbedQ(url)
    for name in names:
        app.recurring(name, "@daily", job)
    app.connect()
    app.close()
    writer = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        app = EmbedQ(url, busy_timeout=0.2)
        for name in names:
            app.recurring(name, "@daily", job)
        app.connect()
        # Once it is connected, too: the first few one by one, the others together.
        for name in names:
            app.recurring(name, "@daily", job)
        with pytest.raises(embedq.StorageBusyError):
            app.recurring(names[-1], "@hourly", job)
        app.close()
    finally:
        writer.close()


def test_what_this_process_has_changed_is_known_to_the_next_of_many_calls(app: EmbedQ) -> None:
    app.connect()
    for number in range(60):
        app.recurring("pulse", every(seconds=10 + number % 2), job)
        assert app.schedules()[0].when == every(seconds=10 + number % 2)
    app.remove_recurring("pulse")
    app.recurring("pulse", every(seconds=11), job)
    assert [schedule.name for schedule in app.schedules()] == ["pulse"]
    app.close()

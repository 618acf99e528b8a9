"""What is broken comes first: errors in groups, waits, schedules, silent processes; and what has ended, by time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from embedq import ConfigurationError, Ending, JobState, Trigger
from embedq.clock import SECOND, to_datetime
from embedq.storage import finishing, firing, inspect, jobs, schedules
from embedq.storage.inspect import trouble
from embedq.storage.inspect.details import family, last_logs, log_page, timeline
from embedq.storage.inspect.durations import task_type, task_types
from embedq.storage.inspect.fingerprints import fingerprint
from embedq.storage.inspect.history import history
from embedq.storage.inspect.processes import running
from embedq.storage.inspect.queueing import queues, ready
from embedq.storage.inspect.trouble import Overview, overview
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock


def look(store: Store) -> Overview:
    return store.db.read(overview, now=store.now, lease=30.0)


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "group"),
    [
        ("ValueError: no user 4711 in 'shop'", "ValueError: no user # in '…'"),
        ("OSError: [Errno 113] no route to 10.0.0.7:5432", "OSError: [Errno #] no route to #"),
        ("KeyError: 'a'", "KeyError: '…'"),
        ("app.Bad: job 6f9619ff-8b86-d011-b42d-00c04fc964ff at 0x7F00aa", "app.Bad: job # at #"),
        ("Timeout: deadbeef42 came late\nsecond line", "Timeout: # came late"),
        ("HTTP404: not found", "HTTP404: not found"),
        ("", "(no error text)"),
        (None, "(no error text)"),
    ],
)
def test_a_fingerprint_leaves_out_what_varies(error: str | None, group: str) -> None:
    assert fingerprint(error) == group


def test_failures_are_grouped_also_of_jobs_that_succeeded_in_the_end(store: Store, clock: FakeClock) -> None:
    for number in range(3):
        job = store.insert(name="shop:send")
        store.run_one(job, lambda job: store.failed(job, error=f"OSError: no route to host {number}", wait=1))  # noqa: B023
        clock.advance(minutes=40)
        store.run_one(job)
    dead = store.insert(name="shop:charge")
    store.run_one(dead, lambda job: store.died(job, error="ValueError: 'x' is no card"))
    found = look(store)
    [first, second] = found.failures.groups
    assert (first.fingerprint, first.count, first.last_hour, first.names) == (
        "OSError: no route to host #", 3, 1, ("shop:send",),
    )  # fmt: skip
    assert first.error == "OSError: no route to host 2"
    assert first.last_seen - first.first_seen == timedelta(minutes=80)
    assert (second.count, second.example) == (1, dead)
    assert [group.fingerprint for group in found.dead.groups] == ["ValueError: '…' is no card"]
    assert (found.failed_last_hour, found.failed_last_day) == (2, 4)
    assert found.counts[JobState.DEAD] == inspect.Count(number=1, capped=False)
    clock.advance(days=1, seconds=1)
    assert look(store).failures.groups == []


def test_of_very_many_errors_the_newest_are_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "SCAN_LIMIT", 3)
    store.insert_many([store.draft() for _ in range(5)])
    store.finish(*(store.died(job, error=f"E: {job.id}") for job in store.claim()))
    found = look(store)
    assert (found.failures.looked_at, found.failures.capped, found.failures.groups[0].count) == (3, True, 3)
    assert (found.dead.looked_at, found.dead.capped) == (3, True)


# -- waiting -------------------------------------------------------------------------------------------------------


def test_the_oldest_wait_of_each_queue_is_seen_behind_many_that_are_more_urgent(store: Store, clock: FakeClock) -> None:
    store.insert(queue="mail", priority=-5)
    clock.advance(minutes=10)
    store.insert_many([store.draft(queue="mail", priority=3) for _ in range(5)])
    store.insert(queue="low")
    clock.advance(minutes=1)
    assert [(wait.queue, wait.seconds) for wait in look(store).waits] == [("mail", 660.0), ("low", 60.0)]
    assert store.db.read(ready)["mail"].jobs == inspect.Count(number=6, capped=False)


def test_parked_jobs_are_counted_by_what_they_need(store: Store) -> None:
    ids = []
    for need in ("task a", "task b", "task b"):
        ids.append(store.insert())
        store.run_one(ids[-1], lambda job: store.parked(job, need))  # noqa: B023
    assert [(need.needs, need.count.number, need.example) for need in look(store).parked] == [
        ("task b", 2, ids[1]), ("task a", 1, ids[0]),
    ]  # fmt: skip


def test_runs_that_do_not_yield_are_shown(store: Store) -> None:
    job = store.insert()
    [claimed] = store.claim()
    store.db.write(finishing.mark_overdue, [(store.now, claimed.id, claimed.claim)])
    assert [found.id for found in look(store).overdue] == [job]


def test_a_process_without_heartbeats_is_silent(store: Store, clock: FakeClock) -> None:
    clock.advance(seconds=31)
    fresh = store.server()
    assert [server.id for server in look(store).silent] == [1]
    assert fresh != 1


def test_schedules_that_are_late_or_fail_are_shown_and_paused_ones_are_not(store: Store, clock: FakeClock) -> None:
    for name in ("late", "resting", "fine", "broken", "fatal"):
        store.put_schedule(name, **({} if name in ("late", "resting") else {"first_fire": store.now + 3600 * SECOND}))
    store.db.write(schedules.pause, "resting", now=store.now)
    store.db.write(firing.fail, "broken", "no such zone", again_at=store.now)

    clock.advance(minutes=60)
    row = store.db.read(schedules.load, "fatal")
    assert row is not None
    turn = schedules.Turn(fires=[row.next_fire_at], passed=[], next_fire_at=row.next_fire_at + 7200 * SECOND)
    [job] = store.db.write(
        firing.fire, [firing.Planned(row, turn, [store.draft(schedule="fatal")])], now=store.now, retention=RETENTION
    ).job_ids
    store.run_one(job, lambda job: store.died(job, error="E: no"))
    clock.advance(seconds=30)
    late, broken, fatal = look(store).schedules
    assert (late.name, late.late_seconds, late.error) == ("late", 3570.0, None)
    assert (broken.name, broken.error, broken.late_seconds) == ("broken", "no such zone", None)
    assert (fatal.name, fatal.error, fatal.job) == ("fatal", "E: no", job)


# -- queues and processes ------------------------------------------------------------------------------------------


def test_queues_show_waiting_jobs_finished_jobs_and_their_processes(store: Store, clock: FakeClock) -> None:
    done = store.insert(queue="mail")
    store.run_one(done)
    store.insert(queue="mail")
    store.insert(queue="later", delay=60)
    failed = store.insert(queue="sad")
    store.run_one(failed, store.failed)
    clock.advance(seconds=5)
    held = store.insert(queue="held", priority=9)
    store.claim(limit=1)
    found = {queue.name: queue for queue in store.db.read(queues, now=store.now)}
    assert sorted(found) == ["held", "later", "mail", "sad"]
    mail = found["mail"]
    assert (mail.ready.number, mail.oldest_seconds, mail.done_last_hour, mail.servers) == (1, 5.0, 1, (1,))
    assert (found["later"].scheduled.number, found["later"].ready.number) == (1, 0)
    assert (found["sad"].failed_last_hour, found["sad"].scheduled.number) == (1, 1)
    assert found["held"].running == 1
    [job] = store.db.read(running)
    assert (job.id, job.server, job.queue) == (held, 1, "held")
    assert store.db.read(running, 1) == [job]
    assert store.db.read(running, 2) == []


# -- what has ended ------------------------------------------------------------------------------------------------


def test_history_has_a_bar_for_every_step_of_its_span(store: Store, clock: FakeClock) -> None:
    for queue in ("mail", "mail", "other"):
        job = store.insert(queue=queue, name=f"shop:{queue}")
        clock.advance(seconds=20)
        store.run_one(job, lambda job: store.succeeded(job, started_at=store.now - 2 * SECOND, cpu_us=500_000))
        clock.advance(minutes=5)
    hour = store.db.read(history, "hour", now=store.now)
    assert (len(hour.bars), hour.bar_seconds) == (60, 60)
    assert [bar.totals.runs for bar in hour.bars if bar.totals.runs] == [1, 1, 1]
    assert hour.bars[-1].at == to_datetime(store.now // (60 * SECOND) * 60 * SECOND)
    assert hour.totals.endings == {Ending.SUCCEEDED: 3}
    assert (hour.totals.ran_seconds, hour.totals.waited_seconds, hour.totals.cpu_seconds) == (6.0, 54.0, 1.5)
    day = store.db.read(history, "day", now=store.now, queue="mail")
    assert sum(bar.totals.runs for bar in day.bars) == 2
    assert len(store.db.read(history, "week", now=store.now, name="shop:other").bars) == 56
    with pytest.raises(ConfigurationError, match="hour, day, week"):
        store.db.read(history, "year", now=store.now)


def test_functions_show_how_long_they_take_and_how_often_they_fail(store: Store, clock: FakeClock) -> None:
    for seconds in (1, 2, 3, 10):
        job = store.insert(name="shop:send")
        clock.advance(seconds=seconds + 4)
        store.run_one(
            job,
            lambda job: store.succeeded(job, started_at=store.now - seconds * SECOND, cpu_us=400_000),  # noqa: B023
        )
    store.run_one(store.insert(name="shop:send"), store.died)
    store.run_one(store.insert(name="shop:sad"), store.died)
    sad, send = store.db.read(task_types, now=store.now)
    assert (sad.name, sad.failure_rate, sad.duration, sad.cpu_share) == ("shop:sad", 1.0, None, None)
    assert (send.totals.runs, send.failure_rate, send.sampled) == (5, 0.2, 4)
    assert send.duration is not None
    assert send.waiting is not None
    assert (send.duration.p50, send.duration.p95, send.duration.p99) == (2.0, 10.0, 10.0)
    assert send.waiting.p99 == 4.0
    assert send.cpu_share == pytest.approx(0.1)
    assert store.db.read(task_type, "shop:send", now=store.now) == send
    assert store.db.read(task_type, "shop:unknown", now=store.now).failure_rate is None


# -- one job -------------------------------------------------------------------------------------------------------


def test_a_family_is_shown_from_its_root(store: Store) -> None:
    root = store.insert(name="a")
    middle = store.then(root, name="b")
    leaves = [store.then(middle, "finished", name="c") for _ in range(2)]
    cousin = store.then(root, name="d")
    found = store.db.read(family, middle)
    assert [(one.id, one.generation) for one in found.members] == [(root, -1), (middle, 0), *((x, 1) for x in leaves)]
    assert found.complete
    leaf = found.members[2]
    assert (leaf.name, leaf.state, leaf.parent_id, leaf.trigger) == ("c", JobState.AWAITING, middle, Trigger.FINISHED)
    assert {one.id for one in store.db.read(family, root).members} == {root, middle, cousin, *leaves}


def test_a_large_family_is_cut(store: Store) -> None:
    root = store.insert()
    store.insert_many([store.draft(parent_id=root, trigger="success", state="awaiting") for _ in range(120)])
    found = store.db.read(family, root)
    assert (len(found.members), found.complete) == (101, False)


def test_log_lines_go_by_page_and_by_what_is_new(store: Store) -> None:
    job = store.insert()

    def add(*texts: str) -> None:
        store.db.write(jobs.add_logs, [(job, store.now, 1, text) for text in texts])

    add("a", "b", "c")
    first = store.db.read(log_page, job, limit=2)
    assert ([line.message for line in first.lines], first.more) == (["a", "b"], True)
    rest = store.db.read(log_page, job, after=first.next)
    assert ([line.message for line in rest.lines], rest.more) == (["c"], False)
    add("d")
    assert [line.message for line in store.db.read(log_page, job, after=rest.next).lines] == ["d"]
    latest = store.db.read(last_logs, job, limit=2)
    assert ([line.message for line in latest.lines], latest.more) == (["c", "d"], True)
    assert store.db.read(log_page, job, after=latest.next).lines == []


def test_a_timeline_shows_the_history_of_a_job(store: Store, clock: FakeClock) -> None:
    job = store.insert(delay=60)
    clock.advance(seconds=61)
    store.run_one(job, lambda job: store.failed(job, wait=5, error="OSError: later"))
    clock.advance(seconds=10)
    store.run_one(job)
    what = [(moment.what, moment.attempt) for moment in store.db.read(timeline, job)]
    assert what == [
        ("created", None), ("started", 1), ("failed", 1), ("due", None), ("started", 2), ("succeeded", 2),
        ("deleted", None),
    ]  # fmt: skip
    waiting = store.insert(delay=60)
    store.cancel(waiting)
    assert [moment.what for moment in store.db.read(timeline, waiting)][:2] == ["created", "cancelled"]

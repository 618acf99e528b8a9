"""Deleting what has been kept long enough, and nothing else."""

from __future__ import annotations

from embedq import JobState
from embedq.clock import SECOND
from embedq.storage import firing, inspect, jobs, schedules, upkeep
from embedq.storage.firing import Planned
from embedq.storage.schedules import Turn
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock


def fire(store: Store) -> None:
    """Let the schedule enqueue its next occurrence."""
    row = store.db.read(schedules.load, "pulse")
    turn = Turn(fires=[row.next_fire_at], passed=[], next_fire_at=row.next_fire_at + 60 * SECOND)
    store.db.write(firing.fire, [Planned(row, turn, [store.draft()])], now=store.now, retention=RETENTION)


def ended(store: Store, state: JobState) -> int:
    job_id = store.insert()
    if state is JobState.CANCELLED:
        store.cancel(job_id)
    else:
        store.run_one(job_id, store.died if state is JobState.DEAD else store.succeeded)
    return job_id


def test_each_kind_of_end_has_its_own_time(store: Store, clock: FakeClock) -> None:
    succeeded, dead, cancelled = (
        ended(store, state) for state in (JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED)
    )
    newest = store.insert()
    kept = []
    for _ in range(4):
        store.prune()
        kept.append([job_id for job_id in (succeeded, dead, cancelled, newest) if store.exists(job_id)])
        clock.advance(hours=1)
    assert kept == [
        [succeeded, dead, cancelled, newest], [dead, cancelled, newest], [cancelled, newest], [newest],
    ]  # fmt: skip


def test_what_has_not_ended_is_never_pruned(store: Store, clock: FakeClock) -> None:
    waiting = [store.insert(), store.insert(), store.insert(delay=1), store.insert()]
    a, b, c = store.claim()
    store.finish(store.failed(a, wait=1), store.parked(b, "task x"))
    child = store.then(waiting[2])
    store.insert()
    clock.advance(days=10_000)
    assert store.prune() == 0
    assert all(store.exists(job_id) for job_id in (*waiting, child))
    assert store.state(c.id) is JobState.RUNNING


def test_attempts_and_logs_go_with_their_job(store: Store, clock: FakeClock) -> None:
    job_id = ended(store, JobState.DEAD)
    store.db.write(jobs.add_logs, [(job_id, store.now, 1, "line")])
    survivor = store.insert()
    store.db.write(jobs.add_logs, [(survivor, store.now, 1, "stays")])
    clock.advance(hours=3)
    assert store.prune() == 1
    assert store.logs(job_id) == []
    assert store.db.read(inspect.last_traceback, job_id) is None
    assert [line.message for line in store.logs(survivor)] == ["stays"]


def test_a_batch_is_no_larger_than_asked(store: Store, clock: FakeClock) -> None:
    store.insert_many([store.draft() for _ in range(5)])
    store.finish(*(store.succeeded(job) for job in store.claim()))
    store.finish(*(store.died(job) for job in store.claim()))
    store.insert()
    clock.advance(hours=5)
    batches = [store.db.write(upkeep.prune_jobs, now=store.now, limit=2) for _ in range(4)]
    assert [batch.number for batch in batches] == [2, 2, 1, 0]
    assert [batch.more for batch in batches] == [True, True, False, False]


def test_a_parent_is_kept_while_a_child_may_request_its_result(store: Store, clock: FakeClock) -> None:
    parent = store.insert()
    child = store.then(parent)
    store.run_one(parent)
    store.insert()
    clock.advance(hours=2)
    assert store.prune() == 0
    store.run_one(child)
    assert store.prune() == 1
    assert not store.exists(parent)
    assert store.exists(child)


def test_pruned_jobs_leave_room_for_the_others_behind_a_parent_that_is_kept(store: Store, clock: FakeClock) -> None:
    parents = [store.insert() for _ in range(3)]
    for parent in parents:
        store.then(parent, delay=3600 * 24)
        store.run_one(parent)
    ordinary = ended(store, JobState.SUCCEEDED)
    store.insert()
    clock.advance(hours=2)
    assert store.prune(limit=2) == 1
    assert not store.exists(ordinary)


def test_parents_that_are_kept_are_passed_once_and_not_looked_at_again(store: Store, clock: FakeClock) -> None:
    parents = store.insert_many([store.draft() for _ in range(30)])
    store.insert_many(
        [store.draft(parent_id=parent, trigger="success", delay=3600 * 24, state="awaiting") for parent in parents]
    )
    store.finish(*(store.succeeded(job) for job in store.claim()))
    store.insert(delay=3600 * 24)
    clock.advance(hours=2)
    pruned = upkeep.Pruned(0, upkeep.FROM_START, more=True)
    batches = 0
    while pruned.more:
        pruned = store.db.write(upkeep.prune_jobs, now=store.now, limit=10, cursor=pruned.then)
        batches += 1
    # All ended at the same moment, and are told apart by their ids.
    assert batches in (3, 4)
    clock.advance(minutes=5)
    ordinary = ended(store, JobState.SUCCEEDED)
    store.insert(delay=3600 * 24)
    clock.advance(hours=2)
    rested = upkeep.settled(pruned.then, now=store.now)
    pruned = store.db.write(upkeep.prune_jobs, now=store.now, limit=10, cursor=rested)
    assert (pruned.number, pruned.more) == (1, False)
    assert not store.exists(ordinary)
    assert store.prune(limit=10) == 0
    assert all(store.exists(parent) for parent in parents)


def test_what_comes_late_is_met_when_pruning_continues(store: Store, clock: FakeClock) -> None:
    early, late = store.insert(), store.insert()
    store.insert(delay=3600 * 24)
    [first, second] = store.claim(limit=2)
    end = store.succeeded(second)
    clock.advance(seconds=1)
    store.finish(store.succeeded(first))
    clock.advance(hours=1)
    pruned = store.db.write(upkeep.prune_jobs, now=store.now)
    assert (pruned.number, store.exists(early)) == (1, False)
    # Its transaction took its time of deletion before the other's, and is committed after that was pruned.
    store.finish(end)
    pruned = store.db.write(upkeep.prune_jobs, now=store.now, cursor=upkeep.settled(pruned.then, now=store.now))
    assert (pruned.number, store.exists(late)) == (1, False)


def test_the_id_of_a_pruned_job_is_never_given_to_another(store: Store, clock: FakeClock) -> None:
    newest = ended(store, JobState.SUCCEEDED)
    clock.advance(days=100)
    store.prune()
    assert store.insert() > newest


def test_a_job_kept_forever_is_kept_and_still_counted(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(options='{"retention":{"succeeded":null,"dead":null,"cancelled":null}}')
    store.run_one(job_id)
    store.insert()
    clock.advance(days=365 * 1000)
    assert store.prune() == 0
    assert store.db.read(inspect.count, JobState.SUCCEEDED) == 1


def test_old_lines_of_the_ledger_and_old_totals_go_and_young_ones_stay(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    for _ in range(3):
        clock.advance(minutes=1)
        fire(store)
    store.finish(*(store.succeeded(job) for job in store.claim()))
    clock.advance(days=30)
    fire(store)
    assert store.db.write(upkeep.prune_history, now=store.now) == 2
    assert len(store.db.read(inspect.occurrences, "pulse")) == 2
    clock.advance(minutes=2)
    assert store.db.write(upkeep.prune_history, now=store.now) == 2
    assert len(store.db.read(inspect.occurrences, "pulse")) == 1

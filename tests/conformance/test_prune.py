"""Deleting what has been kept long enough, and nothing else."""

from __future__ import annotations

from embedq import JobState
from embedq.clock import SECOND
from embedq.storage import inspect, jobs, schedules, upkeep
from embedq.storage.rows import NewJob
from embedq.storage.schedules import ScheduleRow, Turn
from tests.conformance.store import Store
from tests.support import FakeClock


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
    assert [store.prune(limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_parent_is_kept_while_a_child_may_ask_for_its_result(store: Store, clock: FakeClock) -> None:
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


def test_the_id_of_a_pruned_job_is_never_given_to_another(store: Store, clock: FakeClock) -> None:
    newest = ended(store, JobState.SUCCEEDED)
    clock.advance(days=100)
    store.prune()
    assert store.insert() == newest + 1


def test_a_job_kept_for_ever_is_kept_and_still_counted(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(options='{"retention":{"succeeded":null,"dead":null,"cancelled":null}}')
    store.run_one(job_id)
    store.insert()
    clock.advance(days=365 * 1000)
    assert store.prune() == 0
    assert store.db.read(inspect.count, JobState.SUCCEEDED) == 1


def test_old_lines_of_the_ledger_and_old_totals_go_and_young_ones_stay(store: Store, clock: FakeClock) -> None:
    def decide(row: ScheduleRow) -> Turn:
        return Turn(fires=[row.next_fire_at], passed=[], next_fire_at=row.next_fire_at + 60 * SECOND)

    def make_job(row: ScheduleRow, fire_at: int) -> NewJob:
        return store.draft()

    store.put_schedule()
    for _ in range(3):
        clock.advance(minutes=1)
        store.db.write(schedules.fire, "pulse", decide, make_job, now=store.now)
    store.finish(*(store.succeeded(job) for job in store.claim()))
    clock.advance(days=30)
    store.db.write(schedules.fire, "pulse", decide, make_job, now=store.now)
    assert store.db.write(upkeep.prune_history, now=store.now) == 2
    assert len(store.db.read(inspect.occurrences, "pulse")) == 2
    clock.advance(minutes=2)
    assert store.db.write(upkeep.prune_history, now=store.now) == 2
    assert len(store.db.read(inspect.occurrences, "pulse")) == 1

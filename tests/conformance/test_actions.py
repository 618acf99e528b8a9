"""Actions on many jobs: what they change and what they leave, how they go on, and the audit log that they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import pytest

from embedq import JobState
from embedq.errors import ActionNotFoundError
from embedq.storage import actions, bulk, search_batches, upkeep
from embedq.storage.actions import Action, ActionState, NewAction
from embedq.storage.base import Transaction
from embedq.storage.bulk import Changed
from embedq.storage.inspect import Count, Search
from embedq.storage.search_batches import BatchCursor
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

Change = Callable[[Transaction, Sequence[int]], Changed]


def begin(store: Store, **given: object) -> Action:
    values: dict[str, object] = {
        "actor": "ada", "verb": "retry", "subject": "dead", "process": "box:1", "details": {}, "search": {"ids": [1]},
    } | given  # fmt: skip
    action_id = store.db.write(actions.begin, NewAction(**values), now=store.now)  # type: ignore[arg-type]
    return get(store, action_id)


def get(store: Store, action_id: int) -> Action:
    return store.db.read(actions.load, action_id, now=store.now)


def delete(store: Store, *job_ids: int, cancel_children: bool = False) -> Changed:
    return store.db.write(bulk.delete, job_ids, cancel_children=cancel_children, now=store.now, retention=RETENTION)


def advance(store: Store, action: Action, change: Change, *job_ids: int) -> bool:
    return store.db.write(
        actions.advance,
        action,
        change,
        job_ids,
        cursor=BatchCursor(1, "id.next.5.5"),
        now=store.now,
    )


# -- what is done to jobs ------------------------------------------------------------------------------------------


def test_ended_and_waiting_jobs_are_deleted_with_all_that_is_theirs(store: Store) -> None:
    dead, ready = store.insert(), store.insert()
    store.run_one(dead, store.died)
    scheduled, held = store.insert(delay=60), store.insert(priority=9)
    store.claim(limit=1)
    newest = store.insert()
    changed = delete(store, dead, ready, scheduled, held, newest, 4711)
    assert (changed.number, changed.reason is None) == (3, False)
    assert [store.exists(job) for job in (dead, ready, scheduled, held, newest)] == [False, False, False, True, True]
    assert store.db.read(lambda tx: tx.all("attempts", (dead,))) == []
    assert changed.reason is not None


def test_the_newest_job_stays_so_that_its_number_is_not_given_again(store: Store) -> None:
    newest = store.insert()
    assert "the newest" in str(delete(store, newest).reason)
    assert store.insert() == newest + 1
    assert delete(store, newest).number == 1


def test_a_parent_stays_while_a_child_waits_for_it(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent)
    grandchild = store.then(child)
    store.insert()
    changed = delete(store, parent)
    assert (changed.number, changed.reason) == (0, f"job {parent} has a child, {child}, that has not ended")
    assert delete(store, parent, cancel_children=True).number == 1
    assert store.states(child, grandchild) == [JobState.CANCELLED, JobState.CANCELLED]
    assert f"its parent {parent} was deleted" in str(store.job(child).error)


def test_a_whole_family_goes_together(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent)
    store.insert()
    assert delete(store, parent, child).number == 2


def test_a_parent_stays_while_a_child_runs(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent)
    store.run_one(parent)
    store.claim()
    store.insert()
    assert delete(store, parent, cancel_children=True) == Changed(
        0, f"job {parent} has a child, {child}, that has not ended"
    )


def test_what_waits_for_its_time_can_run_now(store: Store) -> None:
    scheduled, ready = store.insert(delay=60), store.insert()
    failed = store.insert(priority=5)
    store.run_one(failed, store.failed)
    assert store.db.write(bulk.run_now, [scheduled, ready, failed], now=store.now).number == 2
    assert store.states(scheduled, ready, failed) == [JobState.READY] * 3
    assert [job.attempt for job in store.claim() if job.id == failed] == [2]


def test_waiting_jobs_are_moved_to_another_queue_or_priority(store: Store) -> None:
    first, second = store.insert(delay=60), store.insert()
    done = store.insert(priority=1)
    store.run_one(done)
    assert store.db.write(bulk.move, [first, second, done], queue="low", priority=None).number == 2
    assert [store.job(job).queue for job in (first, second, done)] == ["low", "low", "default"]
    assert store.db.write(bulk.move, [second], queue=None, priority=7).number == 1
    assert (store.job(second).queue, store.job(second).priority) == ("low", 7)
    assert [job.id for job in store.claim(queues=["low"])] == [second]


# -- meeting all of them -------------------------------------------------------------------------------------------


def walk(store: Store, wanted: Search, limit: int = 2) -> list[int]:
    met: list[int] = []
    cursor: BatchCursor | None = BatchCursor()
    while cursor is not None:
        batch = store.db.read(search_batches.next_batch, wanted, cursor, limit=limit)
        met += batch.job_ids
        cursor = batch.then
    return met


def test_all_that_match_are_met_once_whatever_is_done_to_them(store: Store, clock: FakeClock) -> None:
    for _ in range(5):
        store.insert()
        store.insert(delay=60)
    store.finish(*(store.died(job) for job in store.claim(limit=3)))
    wanted = Search(states=(JobState.DEAD, JobState.READY, JobState.SCHEDULED))
    assert sorted(walk(store, wanted)) == list(range(1, 11))
    assert walk(store, Search(ids=(3, 5, 7))) == [7, 5, 3]
    cursor = BatchCursor()
    met: list[int] = []
    while True:
        batch = store.db.read(search_batches.next_batch, Search(states=(JobState.DEAD,)), cursor, limit=1)
        for job in batch.job_ids:
            store.retry(job)
        met += batch.job_ids
        if batch.then is None:
            break
        cursor = batch.then
    assert len(met) == 3


# -- the record ----------------------------------------------------------------------------------------------------


def test_an_action_counts_what_it_did_in_the_transaction_that_does_it(store: Store) -> None:
    jobs = [store.insert(delay=60) for _ in range(2)]
    action = begin(store, expected=Count(number=2, capped=True), details={"to_queue": "low"})
    assert (action.state, action.expected, action.details) == (
        ActionState.RUNNING, Count(number=2, capped=True), {"to_queue": "low"},
    )  # fmt: skip

    def fail(tx: Transaction, job_ids: Sequence[int]) -> Changed:
        bulk.move(tx, job_ids, queue="lost", priority=None)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        advance(store, action, fail, *jobs)
    assert store.job(jobs[0]).queue == "default"
    assert advance(store, action, partial(bulk.move, queue="low", priority=None), *jobs, 4711)
    found = get(store, action.id)
    assert (found.changed, found.skipped, found.reason) == (2, 1, "it waits no longer")
    assert store.db.read(actions.batch_cursor, action.id) == BatchCursor(1, "id.next.5.5")
    store.db.write(actions.end, found, ActionState.DONE, now=store.now)
    assert get(store, action.id).finished_at is not None


def test_an_action_that_was_stopped_does_no_more(store: Store) -> None:
    job = store.insert(delay=60)
    action = begin(store)
    store.db.write(actions.end, action, ActionState.STOPPED, now=store.now)
    assert not advance(store, action, partial(bulk.run_now, now=store.now), job)
    assert store.state(job) is JobState.SCHEDULED


def test_an_action_whose_process_went_silent_is_taken_up_by_one_other(store: Store, clock: FakeClock) -> None:
    action = begin(store)

    def resume(process: str) -> Action | None:
        return store.db.write(actions.resume, action.id, process=process, now=store.now)

    assert resume("box:2") is None
    clock.advance(seconds=31)
    silent = get(store, action.id)
    assert silent.state is ActionState.STOPPED
    assert "resume the action" in str(silent.error)
    taken = resume("box:2")
    assert taken is not None
    assert (taken.state, taken.process, taken.run) == (ActionState.RUNNING, "box:2", 2)
    assert resume("box:3") is None
    job = store.insert(delay=60)
    assert not advance(store, action, partial(bulk.run_now, now=store.now), job)
    assert advance(store, taken, partial(bulk.run_now, now=store.now), job)


def test_the_log_goes_by_page_and_is_pruned(store: Store, clock: FakeClock) -> None:
    old = [begin(store, subject=f"job {number}", state=ActionState.DONE).id for number in range(3)]
    clock.advance(days=1)
    new = begin(store, verb="pause schedule", search=None, error="no such schedule", state=ActionState.FAILED)
    first = store.db.read(actions.page, now=store.now, limit=2)
    assert [action.id for action in first.actions] == [new.id, old[2]]
    assert first.actions[0] == new
    rest = store.db.read(actions.page, now=store.now, limit=2, before=first.next)
    assert ([action.id for action in rest.actions], rest.next) == ([old[1], old[0]], None)
    assert store.db.write(upkeep.prune_history, now=store.now + 1, audit=timedelta(days=1)) == 3
    with pytest.raises(ActionNotFoundError, match="may have been pruned"):
        get(store, old[0])

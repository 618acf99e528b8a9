"""Jobs with more continuations than one transaction decides: the rest is left on record, and nothing is lost."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from embedq import JobState
from embedq.clock import to_datetime
from embedq.storage import bulk, continuations, inspect, jobs
from embedq.storage.continuations import GENERATIONS, SLICE
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

READY, CANCELLED, AWAITING, DEAD = JobState.READY, JobState.CANCELLED, JobState.AWAITING, JobState.DEAD
TRIGGERS = ("success", "failure", "finished")
# Of each kind more than one transaction takes.
EACH = SLICE + 20


def wide_family(store: Store, *kinds: str, parent: int | None = None, each: int = EACH) -> int:
    """A job with many continuations of each kind."""
    parent = store.insert() if parent is None else parent
    drafts = [store.draft(parent_id=parent, trigger=kind, state="awaiting") for kind in kinds for _ in range(each)]
    store.insert_many(drafts)
    return parent


def family(store: Store, parent: int) -> Counter[tuple[str, JobState]]:
    """The children of a job by what they wait for and by their state."""
    found = store.db.read(inspect.jobs, parent=parent, limit=10 * EACH)
    return Counter((str(job.trigger), job.state) for job in found)


def unsettled(store: Store) -> bool:
    return store.db.read(continuations.unsettled)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        # What waited for a failure that did not come is not kept.
        ("succeeded", {"success": READY, "finished": READY}),
        ("died", {"success": CANCELLED, "failure": READY, "finished": READY}),
        ("cancelled", {"success": CANCELLED, "failure": CANCELLED, "finished": READY}),
    ],
)
def test_the_end_of_a_parent_leaves_many_children_on_record_and_then_decides_them(
    store: Store, clock: FakeClock, end: str, expected: dict[str, JobState]
) -> None:
    parent = wide_family(store, *TRIGGERS)
    [claimed] = store.claim()
    clock.advance(minutes=1)
    finished = store.finish(getattr(store, end)(claimed))
    assert finished.unsettled
    assert unsettled(store)
    assert sum(family(store, parent)[kind, AWAITING] for kind in TRIGGERS) > 0
    assert store.settle()
    assert not unsettled(store)
    assert family(store, parent) == dict.fromkeys(expected.items(), EACH)
    for job in store.db.read(inspect.jobs, parent=parent, limit=10 * EACH):
        if job.state is CANCELLED:
            assert job.error == f"its parent {parent} ended as {store.state(parent).value}; it waited for {job.trigger}"
            assert job.finished_at == to_datetime(clock.now())
        else:
            assert job.run_at == to_datetime(clock.now())


def test_no_transaction_decides_more_than_its_share(store: Store) -> None:
    parent = wide_family(store, "success", each=4 * SLICE)
    store.run_one(parent)
    waiting = [family(store, parent)["success", AWAITING]]
    more = True
    while more:
        more = store.db.write(continuations.settle, now=store.now, retention=RETENTION).unsettled
        waiting.append(family(store, parent)["success", AWAITING])
    assert waiting[-1] == 0
    assert max(before - after for before, after in itertools.pairwise(waiting)) <= SLICE + 1


def test_what_a_parent_that_was_cancelled_or_crashed_or_expired_leaves_is_decided_too(
    store: Store, clock: FakeClock
) -> None:
    cancelled = wide_family(store, "finished", parent=store.insert(delay=60))
    store.cancel(cancelled)
    expired = wide_family(store, "finished", parent=store.insert(expires_in=5))
    clock.advance(seconds=6)
    assert store.claim() == []
    crashed = wide_family(store, "failure")
    for suspect in (False, False, True):
        server = store.server()
        store.claim(server, suspect=suspect)
        store.rescue(server)
    assert store.state(crashed) is DEAD
    store.settle()
    assert family(store, cancelled) == {("finished", READY): EACH}
    assert family(store, expired) == {("finished", READY): EACH}
    assert family(store, crashed) == {("failure", READY): EACH}


def test_a_retry_of_a_dead_parent_lets_all_its_many_children_wait_again(store: Store) -> None:
    parent = wide_family(store, "success", "failure")
    grandchild = store.then(store.db.read(inspect.children, parent)[-1])
    store.run_one(parent, store.died)
    store.settle()
    by_hand = store.db.read(inspect.children, parent)[0]
    assert store.state(by_hand) is CANCELLED
    store.retry(parent)
    assert unsettled(store)
    store.settle()
    assert family(store, parent) == {("success", AWAITING): EACH, ("failure", READY): EACH}
    assert store.state(grandchild) is AWAITING


def test_a_parent_that_is_retried_before_its_children_are_decided_keeps_those_that_wait(store: Store) -> None:
    parent = wide_family(store, "success")
    store.run_one(parent, store.died)
    store.db.write(continuations.settle, now=store.now, retention=RETENTION)
    assert set(family(store, parent)) == {("success", AWAITING), ("success", CANCELLED)}
    store.retry(parent)
    store.settle()
    assert family(store, parent) == {("success", AWAITING): EACH}
    store.run_one(parent)
    store.settle()
    assert family(store, parent) == {("success", READY): EACH}


@pytest.mark.parametrize(("end", "expected"), [("succeeded", READY), ("died", CANCELLED)])
def test_a_parent_that_ends_again_before_all_children_wait_again_decides_all_of_them(
    store: Store, end: str, expected: JobState
) -> None:
    parent = wide_family(store, "success")
    store.run_one(parent, store.died)
    store.settle()
    store.retry(parent)
    store.run_one(parent, getattr(store, end))
    assert unsettled(store)
    store.settle()
    assert family(store, parent) == {("success", expected): EACH}


def test_a_continuation_that_comes_while_others_are_on_record_is_decided_at_once(store: Store) -> None:
    parent = wide_family(store, "success")
    store.run_one(parent)
    assert store.state(store.then(parent)) is READY
    assert store.state(store.then(parent, "failure")) is CANCELLED
    assert family(store, parent)["success", AWAITING] > 0


def test_a_parent_is_kept_until_its_many_children_are_decided_and_have_run(store: Store, clock: FakeClock) -> None:
    parent = wide_family(store, "finished")
    store.run_one(parent)
    store.insert()
    clock.advance(days=1)
    assert store.prune() == 0
    store.settle()
    assert store.prune() == 0
    while claimed := store.claim(limit=500):
        store.finish(*(store.succeeded(job) for job in claimed))
    assert store.prune() == 1
    assert not store.exists(parent)


def test_many_parents_of_which_one_has_many_children_are_all_decided(store: Store) -> None:
    wide = wide_family(store, "success")
    narrow = [store.insert() for _ in range(20)]
    children = [store.then(parent) for parent in narrow]
    store.finish(*(store.succeeded(job) for job in store.claim()))
    store.settle()
    assert family(store, wide) == {("success", READY): EACH}
    assert set(store.states(*children)) == {READY}


def test_many_children_that_are_cancelled_pass_it_on_to_theirs(store: Store) -> None:
    parent = wide_family(store, "success")
    children = store.db.read(inspect.children, parent)
    tidy = store.insert_many([store.draft(parent_id=job, trigger="finished", state="awaiting") for job in children])
    store.run_one(parent, store.died)
    store.settle()
    assert {job.state for job in store.db.read(inspect.jobs, parent=parent, limit=2 * EACH)} == {CANCELLED}
    assert {job.id for job in store.db.read(inspect.jobs, state=READY, limit=2 * EACH)} == set(tidy)


def test_a_chain_of_any_length_is_cancelled_a_few_generations_at_a_time(store: Store) -> None:
    chain = [store.insert()]
    for _ in range(4 * GENERATIONS):
        chain.append(store.then(chain[-1]))
    store.run_one(chain[0], store.died)
    assert store.state(chain[-1]) is AWAITING
    store.settle()
    assert set(store.states(*chain[1:])) == {CANCELLED}
    store.retry(chain[0])
    store.settle()
    assert set(store.states(*chain[1:])) == {AWAITING}


def test_what_is_on_record_of_a_job_that_was_deleted_is_forgotten(store: Store) -> None:
    parent = wide_family(store, "success")
    store.run_one(parent)
    store.insert()
    deleted = store.db.write(bulk.delete, [parent], cancel_children=True, now=store.now, retention=RETENTION)
    assert deleted.number == 1
    store.settle()
    assert not unsettled(store)


def test_all_of_a_family_are_cancelled_and_retried_together(store: Store) -> None:
    parents = store.insert_many([store.draft(delay=60) for _ in range(3)])
    for parent in parents:
        wide_family(store, "finished", "success", parent=parent, each=150)
    assert store.db.write(jobs.cancel_many, parents, now=store.now, retention=RETENTION) == 3
    store.settle()
    for parent in parents:
        assert family(store, parent) == {("finished", READY): 150, ("success", CANCELLED): 150}
    assert store.db.write(jobs.retry_many, parents, now=store.now) == 3
    store.settle()
    for parent in parents:
        assert family(store, parent) == {("finished", READY): 150, ("success", AWAITING): 150}

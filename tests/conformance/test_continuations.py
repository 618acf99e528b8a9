"""Jobs that wait for others: when they wake, when they are cancelled, and what happens to their own children."""

from __future__ import annotations

import pytest

from embedq import JobNotFoundError, JobState
from embedq.clock import to_datetime
from tests.conformance.store import Store
from tests.support import FakeClock

READY, CANCELLED, AWAITING = JobState.READY, JobState.CANCELLED, JobState.AWAITING


def test_continuations_wait_until_the_parent_has_ended(store: Store) -> None:
    parent = store.insert()
    children = [store.then(parent, on) for on in ("success", "failure", "finished")]
    [claimed] = store.claim()
    assert claimed.id == parent
    store.finish(store.failed(claimed, wait=0))
    assert store.states(*children) == [AWAITING] * 3
    assert store.children(parent) == children


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("succeeded", [READY, None, READY]),
        ("died", [CANCELLED, READY, READY]),
        ("cancelled", [CANCELLED, CANCELLED, READY]),
    ],
)
def test_how_the_parent_ends_decides_which_continuations_run(
    store: Store, ending: str, expected: list[JobState | None]
) -> None:
    parent = store.insert()
    children = [store.then(parent, on) for on in ("success", "failure", "finished")]
    [claimed] = store.claim()
    finished = store.finish(getattr(store, ending)(claimed))
    assert finished.woken
    assert [store.state(child) if store.exists(child) else None for child in children] == expected


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("succeeded", [READY, CANCELLED, READY]),
        ("died", [CANCELLED, READY, READY]),
        ("cancelled", [CANCELLED, CANCELLED, READY]),
    ],
)
def test_a_continuation_of_a_job_that_has_ended_is_decided_at_once(
    store: Store, ending: str, expected: list[JobState]
) -> None:
    parent = store.insert()
    store.run_one(parent, getattr(store, ending))
    assert store.states(*(store.then(parent, on) for on in ("success", "failure", "finished"))) == expected


def test_what_was_to_run_on_a_failure_is_not_kept_when_the_parent_succeeded(store: Store, clock: FakeClock) -> None:
    parents = store.insert_many([store.draft() for _ in range(5)])
    needless = [store.then(parent, "failure") for parent in parents]
    awaited = store.then(parents[0], "failure")
    tidy = store.then(awaited, "finished")
    store.finish(*(store.succeeded(job) for job in store.claim()))
    assert [child for child in needless if store.exists(child)] == []
    # One that others wait for is cancelled, and they are decided; then it goes when jobs are next pruned.
    assert store.states(awaited, tidy) == [CANCELLED, READY]
    assert store.job(awaited).delete_at == to_datetime(clock.now())
    # The newest is kept until then, since its number must not be given again.
    late = store.then(parents[1], "failure")
    assert store.state(late) is CANCELLED
    store.insert()
    store.run_one(tidy)
    store.prune()
    assert [store.exists(job_id) for job_id in (awaited, late, *parents)] == [False, False, *[True] * 5]


def test_a_cancelled_continuation_states_why_and_is_pruned_in_time(store: Store, clock: FakeClock) -> None:
    parent = store.insert()
    child = store.then(parent, "success")
    store.run_one(parent, store.died)
    job = store.job(child)
    assert job.error == f"its parent {parent} ended as dead; it waited for success"
    assert job.finished_at == to_datetime(clock.now())
    assert job.delete_at is not None


def test_a_cancelled_continuation_passes_it_on_to_its_own(store: Store) -> None:
    a = store.insert()
    b = store.then(a, "success")
    c = store.then(b, "success")
    tidy = store.then(c, "finished")
    other = store.then(b, "failure")
    store.run_one(a, store.died)
    assert store.states(b, c, tidy, other) == [CANCELLED, CANCELLED, READY, CANCELLED]


def test_a_chain_runs_link_by_link_to_its_end(store: Store) -> None:
    chain = [store.insert()]
    for _ in range(20):
        chain.append(store.then(chain[-1]))
    ran = []
    while claimed := store.claim():
        ran += [job.id for job in claimed]
        store.finish(*(store.succeeded(job) for job in claimed))
    assert ran == chain


def test_a_long_chain_is_cancelled_to_its_end_when_its_head_dies(store: Store) -> None:
    chain = [store.insert()]
    for _ in range(300):
        chain.append(store.then(chain[-1]))
    store.run_one(chain[0], store.died)
    store.settle()
    assert {store.state(job_id) for job_id in chain[1:]} == {CANCELLED}


def test_many_parents_that_end_together_wake_each_its_own(store: Store) -> None:
    parents = store.insert_many([store.draft() for _ in range(4)])
    children = [store.then(parent, "success") for parent in parents]
    claimed = {job.id: job for job in store.claim()}
    store.finish(*(store.succeeded(claimed[p]) for p in parents[:2]), *(store.died(claimed[p]) for p in parents[2:]))
    assert store.states(*children) == [READY, READY, CANCELLED, CANCELLED]


def test_a_delayed_continuation_is_scheduled_when_its_parent_ends_before_its_time(
    store: Store, clock: FakeClock
) -> None:
    parent = store.insert()
    child = store.then(parent, delay=60)
    store.run_one(parent)
    assert store.state(child) is JobState.SCHEDULED
    clock.advance(seconds=60)
    assert [job.id for job in store.claim()] == [child]


def test_a_woken_continuation_is_due_when_its_parent_ended(store: Store, clock: FakeClock) -> None:
    parent = store.insert()
    child = store.then(parent)
    clock.advance(hours=1)
    store.run_one(parent)
    assert store.job(child).run_at == to_datetime(clock.now())


def test_the_claim_carries_the_parent_so_that_its_result_is_found(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent)
    store.run_one(parent)
    [claimed] = store.claim()
    assert (claimed.id, claimed.parent_id) == (child, parent)


def test_nothing_can_continue_a_job_that_is_not_there(store: Store) -> None:
    with pytest.raises(JobNotFoundError, match="job 4711 is not there"):
        store.then(4711)


def test_cancelling_a_waiting_parent_cancels_what_waits_for_its_success(store: Store) -> None:
    parent = store.insert(delay=60)
    on_success, on_any = store.then(parent, "success"), store.then(parent, "finished")
    store.cancel(parent)
    assert store.states(on_success, on_any) == [CANCELLED, READY]


def test_a_parent_whose_process_keeps_dying_under_it_sets_off_its_failure_continuation(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent, "failure")
    for suspect in (False, False, True):
        server = store.server()
        store.claim(server, suspect=suspect)
        store.rescue(server)
    assert store.states(parent, child) == [JobState.DEAD, READY]


def test_retrying_a_dead_parent_lets_its_cancelled_descendants_wait_again(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent)
    grandchild = store.then(child)
    store.run_one(parent, store.died)
    assert store.states(child, grandchild) == [CANCELLED, CANCELLED]
    store.retry(parent)
    assert store.states(parent, child, grandchild) == [READY, AWAITING, AWAITING]
    job = store.job(child)
    assert (job.error, job.finished_at, job.delete_at) == (None, None, None)
    for job_id in (parent, child, grandchild):
        store.run_one(job_id)
    assert store.states(parent, child, grandchild) == [JobState.SUCCEEDED] * 3


def test_a_child_that_was_cancelled_by_hand_stays_cancelled_when_its_parent_is_retried(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent)
    store.cancel(child)
    store.run_one(parent, store.died)
    store.retry(parent)
    assert store.state(child) is CANCELLED


def test_a_child_that_was_cancelled_by_hand_while_it_ran_stays_cancelled_too(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent, "failure")
    store.run_one(parent, store.died)
    [running] = store.claim()
    store.cancel(child)
    store.finish(store.cancelled(running))
    store.retry(parent)
    assert store.state(child) is CANCELLED


def test_a_failure_continuation_that_ran_is_not_run_again_by_a_retry_of_its_parent(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent, "failure")
    store.run_one(parent, store.died)
    store.run_one(child)
    store.retry(parent)
    store.run_one(parent, store.died)
    assert store.state(child) is JobState.SUCCEEDED


def test_a_released_parent_keeps_its_continuations_waiting(store: Store) -> None:
    parent = store.insert()
    child = store.then(parent, "finished")
    store.run_one(parent, store.released)
    assert store.state(child) is AWAITING


def test_a_continuation_expires_counting_from_when_its_parent_ended(store: Store, clock: FakeClock) -> None:
    parent = store.insert()
    late, in_time = store.then(parent, expires_in=10), store.then(parent, expires_in=11)
    delayed, lasting = store.then(parent, delay=3600, expires_in=10), store.then(parent)
    clock.advance(minutes=30)
    store.run_one(parent)
    assert store.job(late).expires_at == to_datetime(clock.now() + 10_000_000)
    assert store.job(delayed).expires_at == to_datetime(clock.now() + 1_810_000_000)
    clock.advance(seconds=10)
    assert [job.id for job in store.claim()] == [in_time, lasting]
    assert store.states(late, delayed) == [CANCELLED, JobState.SCHEDULED]


def test_a_continuation_of_a_job_that_has_ended_expires_counting_from_now(store: Store, clock: FakeClock) -> None:
    parent = store.insert()
    store.run_one(parent)
    clock.advance(minutes=30)
    child = store.then(parent, expires_in=10)
    assert store.job(child).expires_at == to_datetime(clock.now() + 10_000_000)

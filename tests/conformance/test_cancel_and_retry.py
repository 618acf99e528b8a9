"""Cancelling and retrying by hand, from every state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embedq import TRANSITIONS, JobNotFoundError, JobState, JobStateError
from embedq.clock import to_datetime
from embedq.storage import inspect, jobs
from tests.conformance.store import Store
from tests.support import FakeClock


def in_state(store: Store, state: JobState) -> int:
    """A job that has got into `state` the usual way."""
    if state is JobState.SCHEDULED:
        return store.insert(delay=3600)
    if state is JobState.AWAITING:
        return store.then(store.insert(delay=3600))
    job_id = store.insert()
    if state is JobState.READY:
        return job_id
    if state is JobState.CANCELLED:
        store.cancel(job_id)
        return job_id
    [claimed] = store.claim()
    endings: dict[JobState, Callable[[], object]] = {
        JobState.RUNNING: lambda: None,
        JobState.RETRYING: lambda: store.finish(store.failed(claimed, wait=3600)),
        JobState.SUCCEEDED: lambda: store.finish(store.succeeded(claimed, result="1")),
        JobState.DEAD: lambda: store.finish(store.died(claimed)),
        JobState.PARKED: lambda: store.finish(store.parked(claimed, "task x")),
    }
    endings[state]()
    return job_id


WAITING = [JobState.AWAITING, JobState.SCHEDULED, JobState.READY, JobState.RETRYING, JobState.PARKED]
RETRIABLE = [JobState.SCHEDULED, JobState.RETRYING, JobState.PARKED, JobState.DEAD, JobState.CANCELLED]


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_gets_into_every_state_there_is(store: Store, state: JobState) -> None:
    assert store.state(in_state(store, state)) is state


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_job_is_cancelled_at_once(store: Store, clock: FakeClock, state: JobState) -> None:
    job_id = in_state(store, state)
    clock.advance(seconds=1)
    assert store.cancel(job_id) is JobState.CANCELLED
    job = store.job(job_id)
    assert (job.state, job.finished_at) == (JobState.CANCELLED, to_datetime(clock.now()))
    assert job.delete_at is not None
    assert store.claim() == store.claim(known_needs=["task x"]) == []
    assert store.db.read(inspect.parked_needs) == []


def test_a_running_job_is_requested_to_stop_and_stays_running_until_it_has(store: Store) -> None:
    job_id = in_state(store, JobState.RUNNING)
    assert store.cancel(job_id) is JobState.RUNNING
    job = store.job(job_id)
    assert (job.state, job.cancel_requested) == (JobState.RUNNING, True)
    waiting = store.db.read(inspect.waiting, 1, None)
    assert waiting.cancels == [(job_id, 1)]
    assert store.db.read(inspect.waiting, 2, None).cancels == []


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED])
def test_an_ended_job_stays_as_it_is_when_it_is_cancelled(store: Store, state: JobState) -> None:
    job_id = in_state(store, state)
    before = store.job(job_id)
    assert store.cancel(job_id) is state
    assert store.job(job_id) == before


def test_cancelling_a_job_that_is_not_there_reports_it(store: Store) -> None:
    with pytest.raises(JobNotFoundError, match="no job 4711; it may have been pruned"):
        store.cancel(4711)


@pytest.mark.parametrize("state", RETRIABLE)
def test_a_retried_job_runs_now_with_a_fresh_count_of_attempts(store: Store, clock: FakeClock, state: JobState) -> None:
    job_id = in_state(store, state)
    clock.advance(seconds=1)
    store.retry(job_id)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.crashes, job.cancel_requested) == (JobState.READY, 0, 0, False)
    assert (job.finished_at, job.delete_at, job.run_at) == (None, None, to_datetime(clock.now()))
    claimed = store.claim()
    assert [(c.id, c.attempt, c.first_started_at) for c in claimed] == [(job_id, 1, None)]


def test_a_retried_jobs_history_is_kept(store: Store) -> None:
    job_id = in_state(store, JobState.DEAD)
    store.retry(job_id)
    store.run_one(job_id)
    assert [attempt.error for attempt in store.attempts(job_id)] == ["ValueError: no", None]


def test_a_retried_jobs_fence_keeps_counting(store: Store) -> None:
    job_id = store.insert()
    [old] = store.claim()
    store.finish(store.died(old))
    store.retry(job_id)
    [new] = store.claim()
    assert new.claim > old.claim
    assert store.finish(store.succeeded(old)).refused


def test_a_job_that_expired_runs_when_it_is_retried(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(expires_in=1)
    clock.advance(seconds=2)
    assert store.claim() == []
    store.retry(job_id)
    assert [job.id for job in store.claim()] == [job_id]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (JobState.SUCCEEDED, "it succeeded; enqueue a new job if it must run again"),
        (JobState.AWAITING, "it waits for its parent"),
        (JobState.READY, "it already waits for a worker"),
        (JobState.RUNNING, "it is running"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused_with_the_reason(store: Store, state: JobState, why: str) -> None:
    job_id = in_state(store, state)
    with pytest.raises(JobStateError, match=why):
        store.retry(job_id)
    assert store.state(job_id) is state


def test_retrying_a_job_that_is_not_there_reports_it(store: Store) -> None:
    with pytest.raises(JobNotFoundError, match="no job 4711"):
        store.retry(4711)


def test_retrying_many_takes_those_that_can_be_and_counts_them(store: Store) -> None:
    dead, succeeded, cancelled = (
        in_state(store, state) for state in (JobState.DEAD, JobState.SUCCEEDED, JobState.CANCELLED)
    )
    assert store.db.write(jobs.retry_many, [dead, succeeded, cancelled, 4711], now=store.now) == 2
    assert store.states(dead, succeeded, cancelled) == [JobState.READY, JobState.SUCCEEDED, JobState.READY]


def test_a_suspect_is_an_ordinary_job_again_after_a_retry(store: Store) -> None:
    job_id = store.insert()
    for suspect in (False, False, True):
        server = store.server()
        store.claim(server, suspect=suspect)
        store.rescue(server)
    assert store.state(job_id) is JobState.DEAD
    store.retry(job_id)
    [claimed] = store.claim()
    assert (claimed.id, claimed.crashes) == (job_id, 0)


def test_every_state_is_left_only_for_the_states_that_the_table_names() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert all(new in TRANSITIONS for news in TRANSITIONS.values() for new in news)
    assert TRANSITIONS[JobState.SUCCEEDED] == frozenset()

"""Jobs that put themselves off: the count and its cap, the history, and what waits for them."""

from __future__ import annotations

from datetime import timedelta

from embedq import Ending, JobState
from embedq.clock import SECOND, to_datetime
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.storage.snoozes import KEPT
from tests.conformance.store import Store
from tests.support import FakeClock


def snoozed(store: Store, job: ClaimedJob, *, wait: int = 60, at_most: int | None = 2) -> Outcome:
    return store.outcome(
        job, JobState.SCHEDULED, Ending.SNOOZED, gives_back=1, retry_at=store.now + wait * SECOND, snoozes=at_most
    )


def snooze(store: Store, clock: FakeClock, **given: int | None) -> Outcome:
    """Let the one job that is ready put itself off, and the time pass."""
    [job] = store.claim()
    outcome = snoozed(store, job, **given)  # type: ignore[arg-type]
    store.finish(outcome)
    clock.advance(seconds=60)
    return outcome


def test_it_is_scheduled_again_with_no_attempt_counted(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    [job] = store.claim()
    store.finish(snoozed(store, job))
    stored = store.job(job_id)
    assert (stored.state, stored.attempt, stored.server, stored.finished_at) == (JobState.SCHEDULED, 0, None, None)
    assert stored.run_at == to_datetime(clock.now()) + timedelta(seconds=60)
    assert stored.error == "put itself off for 60 s (time 1 of at most 2)"
    clock.advance(seconds=59)
    assert store.claim() == []
    clock.advance(seconds=1)
    [again] = store.claim()
    assert (again.id, again.attempt, again.claim) == (job_id, 1, 2)
    assert [attempt.ending for attempt in store.attempts(job_id)] == [Ending.SNOOZED]


def test_more_often_than_it_may_is_a_failure_for_good(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    child, other = store.then(job_id, "failure"), store.then(job_id)
    assert [snooze(store, clock).state for _ in range(2)] == [JobState.SCHEDULED] * 2
    assert store.states(child, other) == [JobState.AWAITING] * 2
    last = snooze(store, clock)
    stored = store.job(job_id)
    assert (stored.state, stored.attempt, last.ending) == (JobState.DEAD, 1, Ending.FAILED)
    assert stored.error is not None
    assert "at_most=2" in stored.error
    assert stored.delete_at is not None
    assert store.states(child, other) == [JobState.READY, JobState.CANCELLED]


def test_a_retry_by_hand_begins_a_new_count(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    for _ in range(3):
        snooze(store, clock)
    assert store.state(job_id) is JobState.DEAD
    store.retry(job_id)
    assert [snooze(store, clock).state for _ in range(3)] == [JobState.SCHEDULED] * 2 + [JobState.DEAD]


def test_crashes_and_failures_between_do_not_begin_a_new_count(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    snooze(store, clock)
    store.claim()
    store.rescue(1, started=(job_id,))
    other = store.server()
    [job] = store.claim(other, suspect=True) or store.claim(other)
    store.finish(store.failed(job, wait=1))
    clock.advance(seconds=1)
    [job] = store.claim(other)
    store.finish(snoozed(store, job))
    assert store.job(job_id).error == "put itself off for 60 s (time 2 of at most 2)"


def test_without_a_cap_the_history_stays_short(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    for _ in range(KEPT + 5):
        assert snooze(store, clock, at_most=None).state is JobState.SCHEDULED
    [job] = store.claim()
    store.finish(store.failed(job))
    assert [attempt.ending for attempt in store.attempts(job_id)] == [Ending.SNOOZED] * KEPT + [Ending.FAILED]


def test_what_it_sleeps_is_no_time_of_its_retry_policy(store: Store, clock: FakeClock) -> None:
    store.insert()
    snooze(store, clock)
    snooze(store, clock)
    [job] = store.claim()
    assert job.first_started_at == clock.now()


def test_a_cancel_that_came_while_it_ran_wins(store: Store) -> None:
    job_id = store.insert()
    [job] = store.claim()
    store.cancel(job_id)
    store.finish(snoozed(store, job))
    assert store.state(job_id) is JobState.CANCELLED


def test_a_claim_that_was_lost_counts_nothing(store: Store) -> None:
    job_id = store.insert()
    [old] = store.claim()
    store.rescue(1, started=())
    other = store.server()
    [new] = store.claim(other)
    late = snoozed(store, old, at_most=0)
    assert store.finish(late).refused == [late]
    assert store.state(job_id) is JobState.RUNNING
    store.finish(snoozed(store, new, at_most=1))
    assert store.job(job_id).error == "put itself off for 60 s (time 1 of at most 1)"

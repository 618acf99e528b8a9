"""Waiting jobs that get another time, queue or priority, on every database."""

from __future__ import annotations

import pytest

from embedq import JobNotFoundError, JobState, JobStateError
from embedq.clock import SECOND, to_datetime
from embedq.storage import rescheduling
from tests.conformance.store import Store
from tests.support import FakeClock


def reschedule(
    store: Store, job_id: int, seconds: float | None = None, *, queue: str | None = None, priority: int | None = None
) -> JobState:
    run_at = None if seconds is None else store.now + round(seconds * SECOND)
    return store.db.write(rescheduling.reschedule, job_id, run_at=run_at, queue=queue, priority=priority, now=store.now)


def claimed(store: Store, **request: object) -> list[int]:
    return [job.id for job in store.claim(**request)]  # type: ignore[arg-type]


def test_a_ready_job_is_put_off_and_becomes_due_at_its_new_time(store: Store, clock: FakeClock) -> None:
    store.server()
    job_id = store.insert()
    assert reschedule(store, job_id, 60) is JobState.SCHEDULED
    assert claimed(store) == []
    clock.advance(seconds=60)
    assert claimed(store) == [job_id]


def test_a_scheduled_job_is_brought_forward_to_now_or_to_a_time_before_its_own(store: Store, clock: FakeClock) -> None:
    store.server()
    first, second = store.insert(delay=3600), store.insert(delay=3600)
    assert reschedule(store, first, -5) is JobState.READY
    assert reschedule(store, second, 10) is JobState.SCHEDULED
    assert claimed(store) == [first]
    clock.advance(seconds=10)
    assert claimed(store) == [second]


def test_a_retry_keeps_its_attempts_and_history(store: Store, clock: FakeClock) -> None:
    store.server()
    job_id = store.insert()
    store.run_one(job_id, lambda job: store.failed(job, wait=10))
    assert reschedule(store, job_id, 3600) is JobState.RETRYING
    clock.advance(seconds=3599)
    assert claimed(store) == []
    assert reschedule(store, job_id, 0) is JobState.READY
    [again] = store.claim()
    assert (again.id, again.attempt) == (job_id, 2)
    assert len(store.attempts(job_id)) == 1


def test_a_continuation_starts_after_its_parent_and_no_earlier_than_its_new_time(
    store: Store, clock: FakeClock
) -> None:
    store.server()
    parent = store.insert()
    child = store.then(parent)
    assert reschedule(store, child, 60) is JobState.AWAITING
    store.run_one(parent)
    assert store.state(child) is JobState.SCHEDULED
    clock.advance(seconds=60)
    assert claimed(store) == [child]


def test_a_job_expires_as_long_after_its_new_time_as_after_the_old_one(store: Store) -> None:
    job_id = store.insert(expires_in=30)
    reschedule(store, job_id, 3600)
    assert store.job(job_id).expires_at == to_datetime(store.now + 3630 * SECOND)


def test_another_queue_and_priority(store: Store) -> None:
    store.server()
    low, high = store.insert(), store.insert()
    assert reschedule(store, high, queue="mail", priority=5) is JobState.READY
    assert (store.job(high).queue, store.job(high).priority) == ("mail", 5)
    assert claimed(store, queues=["mail"]) == [high]
    assert claimed(store) == [low]


def test_time_and_queue_change_together(store: Store) -> None:
    job_id = store.insert(delay=3600)
    assert reschedule(store, job_id, 0, queue="mail") is JobState.READY
    assert store.job(job_id).queue == "mail"


def test_what_does_not_wait_is_left_alone_with_the_reason(store: Store) -> None:
    store.server()
    running, ended, cancelled = store.insert(), store.insert(), store.insert()
    store.run_one(ended)
    store.cancel(cancelled)
    assert claimed(store) == [running]
    for job_id, why in ((running, "it is running"), (ended, "it succeeded"), (cancelled, "retry it first")):
        before = store.job(job_id)
        with pytest.raises(JobStateError, match=why):
            reschedule(store, job_id, 60, queue="mail")
        assert store.job(job_id) == before
    with pytest.raises(JobNotFoundError):
        reschedule(store, 10**9, 60)


def test_a_parked_job_moves_but_has_no_time(store: Store) -> None:
    store.server()
    job_id = store.insert()
    store.run_one(job_id, lambda job: store.parked(job, "type tests:gone"))
    with pytest.raises(JobStateError, match="it is parked"):
        reschedule(store, job_id, 60)
    assert reschedule(store, job_id, priority=3) is JobState.PARKED
    assert store.job(job_id).priority == 3

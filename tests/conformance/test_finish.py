"""Recording how claims ended: every ending, the fence, the history of attempts, and the totals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from embedq import Ending, JobState
from embedq.clock import to_datetime
from embedq.storage import finishing, inspect, jobs
from embedq.storage.rows import Outcome
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock


def test_a_success_keeps_its_result_and_when_it_may_be_deleted(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    [claimed] = store.claim()
    started = clock.now()
    clock.advance(seconds=2)
    finished = store.finish(store.succeeded(claimed, result='{"a":[1]}', started_at=started))
    assert (finished.ended, finished.refused, finished.woken) == ([job_id], [], False)
    job = store.job(job_id)
    assert (job.state, job.result, job.error, job.server) == (JobState.SUCCEEDED, '{"a":[1]}', None, 1)
    assert (job.started_at, job.finished_at) == (to_datetime(started), to_datetime(clock.now()))
    assert job.delete_at == to_datetime(clock.now()) + timedelta(hours=1)


def test_successes_are_recorded_alike_alone_and_beside_others(store: Store, clock: FakeClock) -> None:
    """Those that return nothing and are kept equally long have a statement of their own."""
    plain, beside = store.insert_many([store.draft() for _ in range(3)]), store.insert_many([store.draft()] * 2)
    own = store.insert(options=json.dumps({"retention": {"succeeded": 60}}))
    claimed = {job.id: job for job in store.claim()}
    started = clock.now()
    clock.advance(seconds=2)

    def outcomes(ids: Sequence[int], **given: str) -> list[Outcome]:
        return [store.succeeded(claimed[job_id], started_at=started, **given) for job_id in ids]

    assert store.finish(*outcomes(plain)).ended == plain
    assert store.finish(*outcomes([own]), *outcomes(beside[:1]), *outcomes(beside[1:], result="1")).refused == []
    kept = {job_id: store.job(job_id) for job_id in (*plain, *beside, own)}
    assert {(job.state, job.error, job.server) for job in kept.values()} == {(JobState.SUCCEEDED, None, 1)}
    assert {(job.started_at, job.finished_at) for job in kept.values()} == {
        (to_datetime(started), to_datetime(clock.now()))
    }
    assert [job.result for job in kept.values()] == [None, None, None, None, "1", None]
    ends = [job.delete_at for job in kept.values() if job.delete_at is not None]
    assert [end - to_datetime(clock.now()) for end in ends] == [timedelta(hours=1)] * 5 + [timedelta(minutes=1)]


def test_a_batch_of_different_endings_is_recorded_each_in_its_own_way(store: Store, clock: FakeClock) -> None:
    ids = store.insert_many([store.draft() for _ in range(6)])
    a, b, c, d, e, f = store.claim()
    store.finish(
        store.succeeded(a),
        store.died(b),
        store.failed(c, wait=30),
        store.released(d),
        store.cancelled(e),
        store.parked(f, "task x"),
    )
    assert store.states(*ids) == [
        JobState.SUCCEEDED, JobState.DEAD, JobState.RETRYING, JobState.READY, JobState.CANCELLED, JobState.PARKED,
    ]  # fmt: skip
    assert [store.job(job_id).attempt for job_id in ids] == [1, 1, 1, 0, 1, 0]
    now = to_datetime(clock.now())
    assert [store.job(job_id).delete_at for job_id in ids] == [
        now + timedelta(hours=1), now + timedelta(hours=2), None, None, now + timedelta(hours=3), None,
    ]  # fmt: skip
    assert [store.job(job_id).finished_at for job_id in ids] == [now, now, None, None, now, None]
    # Of a success the job's own row says who ran it; all else has its attempt, or is nobody's again.
    assert [store.job(job_id).server for job_id in ids] == [1, None, None, None, None, None]
    assert [attempt.server for attempt in store.attempts(a.id)] == [1]


def test_a_failed_job_runs_again_when_its_wait_is_over_and_not_before(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    [claimed] = store.claim()
    store.finish(store.failed(claimed, wait=30))
    assert store.job(job_id).run_at == to_datetime(clock.now()) + timedelta(seconds=30)
    clock.advance(seconds=29)
    assert store.claim() == []
    clock.advance(seconds=1)
    [again] = store.claim()
    assert (again.id, again.attempt) == (job_id, 2)


def test_the_outcome_of_a_claim_that_was_taken_away_changes_nothing(store: Store) -> None:
    job_id = store.insert()
    [old] = store.claim()
    store.rescue(1, started=())
    other = store.server()
    [new] = store.claim(other)
    for late in (store.succeeded(old, result="1"), store.died(old), store.failed(old), store.cancelled(old)):
        finished = store.finish(late)
        assert (finished.refused, finished.ended) == ([late], [])
    job = store.job(job_id)
    assert (job.state, job.server, job.result) == (JobState.RUNNING, other, None)
    assert [attempt.ending for attempt in store.attempts(job_id)] == []
    assert store.finish(store.succeeded(new, result="2")).ended == [job_id]
    assert store.job(job_id).result == "2"


def test_a_late_success_among_good_ones_is_refused_alone(store: Store) -> None:
    store.insert_many([store.draft() for _ in range(3)])
    claimed = store.claim()
    store.finish(store.died(claimed[1]))
    outcomes = [store.succeeded(job) for job in claimed]
    finished = store.finish(*outcomes)
    assert finished.refused == [outcomes[1]]
    assert sorted(finished.ended) == [claimed[0].id, claimed[2].id]
    assert store.state(claimed[1].id) is JobState.DEAD


def test_an_outcome_of_a_job_that_is_gone_is_refused(store: Store, clock: FakeClock) -> None:
    store.insert()
    [claimed] = store.claim()
    store.finish(store.succeeded(claimed))
    store.insert()
    clock.advance(hours=2)
    assert store.prune() == 1
    late = store.succeeded(claimed)
    assert store.finish(late).refused == [late]


def test_a_success_that_is_recorded_twice_is_recorded_once(store: Store) -> None:
    """A commit whose answer was lost is tried again (G9); the second time it finds itself."""
    for result in ("7", None):
        job_id = store.insert()
        [claimed] = store.claim()
        outcome = store.succeeded(claimed, result=result)
        store.finish(outcome)
        assert store.finish(outcome).refused == []
        assert store.job(job_id).result == result


def test_the_history_of_attempts_is_kept_with_its_errors_and_tracebacks(store: Store, clock: FakeClock) -> None:
    job_id = store.insert()
    for number in (1, 2):
        [claimed] = store.claim()
        clock.advance(seconds=1)
        store.finish(store.failed(claimed, wait=0, error=f"OSError: {number}"))
    [claimed] = store.claim()
    store.finish(store.succeeded(claimed))
    attempts = store.attempts(job_id)
    assert [(a.number, a.ending, a.error) for a in attempts] == [
        (1, Ending.FAILED, "OSError: 1"),
        (2, Ending.FAILED, "OSError: 2"),
        (3, Ending.SUCCEEDED, None),
    ]
    assert attempts[0].traceback == "…"
    assert attempts[0].server == 1
    assert store.db.read(inspect.last_traceback, job_id) == "…"


def test_a_released_run_leaves_no_attempt_but_a_parked_one_states_why(store: Store) -> None:
    job_id = store.insert()
    [claimed] = store.claim()
    store.finish(store.released(claimed))
    assert store.attempts(job_id) == []
    [claimed] = store.claim()
    store.finish(store.parked(claimed, "task shop:send"))
    job = store.job(job_id)
    assert (job.state, job.attempt, job.error) == (JobState.PARKED, 0, "needs task shop:send")
    assert [attempt.ending for attempt in store.attempts(job_id)] == [Ending.PARKED]
    assert store.db.read(inspect.parked_needs) == ["task shop:send"]


def test_a_job_that_was_cancelled_while_it_ran_does_not_run_again(store: Store) -> None:
    ids = store.insert_many([store.draft() for _ in range(3)])
    claimed = store.claim()
    for job_id in ids:
        store.cancel(job_id)
    a, b, c = claimed
    store.finish(store.failed(a), store.released(b), store.parked(c, "task x"))
    assert store.states(*ids) == [JobState.CANCELLED] * 3
    assert all(store.job(job_id).delete_at is not None for job_id in ids)
    assert store.db.read(inspect.parked_needs) == []


def test_a_job_that_finished_before_the_cancellation_reached_it_succeeded(store: Store) -> None:
    job_id = store.insert()
    [claimed] = store.claim()
    store.cancel(job_id)
    store.finish(store.succeeded(claimed, result="1"))
    assert store.state(job_id) is JobState.SUCCEEDED


def test_the_jobs_own_retention_wins_over_the_apps(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(options='{"retention":{"succeeded":5,"dead":null,"cancelled":0}}')
    [claimed] = store.claim()
    store.finish(store.succeeded(claimed))
    assert store.job(job_id).delete_at == to_datetime(clock.now()) + timedelta(seconds=5)


def test_the_jobs_own_retention_holds_when_a_cancel_overtakes_its_retry(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(options='{"retention":{"succeeded":5,"dead":5,"cancelled":7}}')
    [claimed] = store.claim()
    store.cancel(job_id)
    store.finish(store.failed(claimed))
    assert store.job(job_id).delete_at == to_datetime(clock.now()) + timedelta(seconds=7)


def test_totals_are_counted_by_ending_for_accepted_outcomes_only(store: Store) -> None:
    store.insert_many([store.draft() for _ in range(4)])
    claimed = store.claim()
    store.finish(*(store.succeeded(job) for job in claimed[:2]), store.failed(claimed[2]))
    store.finish(store.died(claimed[0]))
    last_hour = store.db.read(inspect.stats, now=store.now).last_hour
    assert last_hour == {Ending.SUCCEEDED: 2, Ending.FAILED: 1}


def test_totals_older_than_an_hour_are_not_in_the_last_hour(store: Store, clock: FakeClock) -> None:
    store.run_one(store.insert())
    clock.advance(minutes=62)
    assert store.db.read(inspect.stats, now=store.now).last_hour == {}


def test_logs_are_kept_in_order_and_progress_only_while_its_claim_runs(store: Store) -> None:
    job_id = store.insert()
    [claimed] = store.claim()
    store.db.write(jobs.add_logs, [(job_id, store.now, 1, "one"), (job_id, store.now, 1, "two")])
    store.db.write(jobs.save_progress, [(0.25, "a quarter", job_id, claimed.claim)])
    store.db.write(jobs.save_progress, [(0.99, "late", job_id, claimed.claim - 1)])
    assert [(line.attempt, line.message) for line in store.logs(job_id)] == [(1, "one"), (1, "two")]
    job = store.job(job_id)
    assert (job.progress, job.progress_note) == (0.25, "a quarter")
    store.finish(store.succeeded(claimed))
    store.db.write(jobs.save_progress, [(0.5, None, job_id, claimed.claim)])
    assert store.job(job_id).progress == 0.25


def test_an_overdue_run_is_marked_until_it_ends(store: Store) -> None:
    job_id = store.insert()
    [claimed] = store.claim()
    store.db.write(finishing.mark_overdue, [(store.now, job_id, claimed.claim + 1)])
    assert not store.job(job_id).overdue
    store.db.write(finishing.mark_overdue, [(store.now, job_id, claimed.claim)])
    assert store.job(job_id).overdue
    store.finish(store.failed(claimed, wait=0))
    assert not store.job(job_id).overdue
    [again] = store.claim()
    assert not store.job(job_id).overdue
    store.finish(store.succeeded(again))


def test_finishing_nothing_is_fine(store: Store) -> None:
    finished = store.db.write(finishing.finish, [], now=store.now, retention=RETENTION)
    assert (finished.refused, finished.ended, finished.woken) == ([], [], False)

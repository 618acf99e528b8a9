"""Claiming: which jobs, in which order, for whom, and how often."""

from __future__ import annotations

from dataclasses import replace

from embedq import Ending, JobState
from embedq.clock import SECOND, to_datetime
from embedq.process.poison import SUSPECT_AFTER
from embedq.storage import claims, inspect
from embedq.storage.claims import Request
from tests.conformance.store import Store
from tests.support import FakeClock


def test_a_claim_makes_the_job_running_and_numbers_the_attempt_and_the_claim(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(queue="mail", priority=4, payload="[[1],{}]", tags='["t"]', options='{"timeout":1}')
    clock.advance(seconds=5)
    [claimed] = store.claim()
    assert (claimed.id, claimed.claim, claimed.attempt) == (job_id, 1, 1)
    assert (claimed.queue, claimed.priority, claimed.payload) == ("mail", 4, "[[1],{}]")
    assert (claimed.tags, claimed.options, claimed.executor) == ('["t"]', '{"timeout":1}', "thread")
    job = store.job(job_id)
    assert (job.state, job.server, job.attempt) == (JobState.RUNNING, 1, 1)
    assert job.started_at == to_datetime(clock.now())


def test_a_job_is_claimed_once_whichever_process_claims(store: Store) -> None:
    other = store.server()
    store.insert_many([store.draft() for _ in range(5)])
    first = store.claim(1, limit=3)
    second = store.claim(other, limit=3)
    assert len(first) == 3
    assert len(second) == 2
    assert {job.id for job in first}.isdisjoint(job.id for job in second)
    assert store.claim(1) == store.claim(other) == []


def test_jobs_of_one_queue_come_by_priority_and_then_by_age(store: Store) -> None:
    low, first, second, high = (store.insert(priority=p) for p in (-1, 0, 0, 9))
    assert [job.id for job in store.claim()] == [high, first, second, low]


def test_without_an_order_of_queues_priority_rules_across_them(store: Store) -> None:
    a = store.insert(queue="a", priority=1)
    b = store.insert(queue="b", priority=2)
    c = store.insert(queue="c", priority=1)
    assert [job.id for job in store.claim(limit=2)] == [b, a]
    assert [job.id for job in store.claim(limit=2)] == [c]


def test_queues_in_an_order_are_emptied_one_after_the_other_whatever_the_priorities(store: Store) -> None:
    low = store.insert(queue="low", priority=1000)
    critical = store.insert(queue="critical", priority=-1000)
    default = store.insert(queue="default")
    other = store.insert(queue="not ours")
    claimed = store.claim(queues=["critical", "default", "low"])
    assert [job.id for job in claimed] == [critical, default, low]
    assert store.state(other) is JobState.READY


def test_the_limit_holds_across_queues(store: Store) -> None:
    for queue in ("a", "b"):
        store.insert_many([store.draft(queue=queue) for _ in range(3)])
    assert [job.queue for job in store.claim(queues=["a", "b"], limit=4)] == ["a", "a", "a", "b"]
    assert len(store.claim(limit=1)) == 1


def test_each_executor_has_its_own_limit(store: Store) -> None:
    store.insert_many([store.draft(executor=executor) for executor in ("thread", "async") * 3])
    request = Request(server_id=1, limits={"thread": 1, "async": 2}, queues=None)
    claim = store.claim_for(request)
    assert sorted(job.executor for job in claim.jobs) == ["async", "async", "thread"]
    assert claim.full
    nothing = store.claim_for(Request(server_id=1, limits={"thread": 0, "async": 0}, queues=None))
    assert nothing.jobs == []


def test_full_states_whether_more_may_be_waiting(store: Store) -> None:
    store.insert_many([store.draft(), store.draft()])
    request = Request(server_id=1, limits={"thread": 2}, queues=None)
    assert store.claim_for(request).full
    assert not store.claim_for(request).full


def test_a_delayed_job_is_claimed_from_its_time_on_and_not_before(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(delay=60)
    request = Request(server_id=1, limits={"thread": 1}, queues=None)
    early = store.claim_for(request)
    assert (early.jobs, early.next_due) == ([], clock.now() + 60 * SECOND)
    clock.advance(seconds=59.999999)
    assert store.claim() == []
    clock.advance(seconds=0.000001)
    due = store.claim_for(request)
    assert [job.id for job in due.jobs] == [job_id]
    assert due.next_due is None


def test_jobs_that_became_due_keep_their_priorities(store: Store, clock: FakeClock) -> None:
    late_and_urgent = store.insert(delay=2, priority=5)
    early = store.insert(delay=1)
    clock.advance(seconds=3)
    assert [job.id for job in store.claim()] == [late_and_urgent, early]


def test_many_jobs_that_fall_due_at_once_are_promoted_in_bounded_steps(store: Store, clock: FakeClock) -> None:
    store.insert_many([store.draft(delay=1) for _ in range(claims.PROMOTE_LIMIT + 1)])
    clock.advance(seconds=1)
    request = Request(server_id=1, limits={"thread": 1}, queues=None)
    first = store.claim_for(request)
    assert first.full
    assert first.next_due == clock.now()
    assert store.claim_for(request).next_due is None


def test_a_job_that_expired_before_it_could_start_is_cancelled_and_not_run(store: Store, clock: FakeClock) -> None:
    expiring = store.insert(expires_in=10)
    lasting = store.insert(expires_in=11)
    clock.advance(seconds=10)
    assert [job.id for job in store.claim()] == [lasting]
    job = store.job(expiring)
    assert (job.state, job.error, job.attempt) == (JobState.CANCELLED, "expired before it could start", 0)
    assert job.finished_at == to_datetime(clock.now())
    assert job.delete_at is not None
    assert store.attempts(expiring) == []


def test_a_job_that_has_been_started_does_not_expire_while_it_waits_for_a_retry(store: Store, clock: FakeClock) -> None:
    failed, crashed, given_back = (store.insert(expires_in=10) for _ in range(3))
    dying = store.server()
    [first] = store.claim(limit=1)
    store.finish(store.failed(first, wait=20))
    store.claim(dying, limit=1)
    store.rescue(dying)
    # Its first start is still to come.
    [_, unbegun] = store.claim(limit=2)
    store.finish(store.released(unbegun))
    assert unbegun.id == given_back
    clock.advance(seconds=30)
    assert [job.id for job in store.claim()] == [failed]
    assert store.state(given_back) is JobState.CANCELLED
    assert store.state(crashed) is JobState.RUNNING


def test_an_expired_jobs_continuations_are_settled(store: Store, clock: FakeClock) -> None:
    parent = store.insert(expires_in=1)
    on_success, on_failure, on_any = (store.then(parent, on) for on in ("success", "failure", "finished"))
    clock.advance(seconds=2)
    store.claim()
    assert store.states(on_success, on_failure, on_any) == [JobState.CANCELLED, JobState.CANCELLED, JobState.READY]


def test_each_claim_of_a_job_has_a_higher_number_though_the_attempt_was_given_back(store: Store) -> None:
    store.insert()
    numbers = []
    for _ in range(3):
        [job] = store.claim()
        numbers.append((job.claim, job.attempt))
        store.finish(store.released(job))
    assert numbers == [(1, 1), (2, 1), (3, 1)]


def test_the_first_start_is_remembered_through_retries(store: Store, clock: FakeClock) -> None:
    store.insert()
    first_started = clock.now()
    [job] = store.claim()
    assert job.first_started_at is None
    store.finish(store.failed(job, wait=10))
    clock.advance(seconds=10)
    [again] = store.claim()
    assert (again.first_started_at, again.attempt) == (first_started, 2)


def test_suspects_are_claimed_one_at_a_time_and_only_on_request(store: Store) -> None:
    suspects = [store.insert(), store.insert()]
    for _ in range(SUSPECT_AFTER):
        server = store.server()
        store.claim(server)
        store.rescue(server)
    ordinary = store.insert()
    assert [job.id for job in store.claim()] == [ordinary]
    one = store.claim(suspect=True)
    assert [job.id for job in one] == [suspects[0]]
    assert one[0].crashes == SUSPECT_AFTER
    assert [job.id for job in store.claim(suspect=True, queues=["default"])] == [suspects[1]]


def test_a_claim_shows_that_a_suspect_waits(store: Store) -> None:
    store.insert(queue="elsewhere")
    for _ in range(SUSPECT_AFTER):
        server = store.server()
        assert not store.claim_for(Request(server_id=server, limits={"thread": 1}, queues=None)).suspect_waits
        store.rescue(server)
    server = store.server()
    for queues, waits in ((None, True), (("elsewhere",), True), (("default",), False)):
        request = Request(server_id=server, limits={"thread": 1}, queues=queues)
        assert store.claim_for(request).suspect_waits is waits
        assert store.db.read(inspect.waiting, server, queues).suspect is waits


def test_a_suspect_of_a_queue_that_is_not_worked_here_is_left(store: Store) -> None:
    suspect = store.insert(queue="elsewhere")
    for _ in range(SUSPECT_AFTER):
        server = store.server()
        store.claim(server)
        store.rescue(server)
    assert store.claim(suspect=True, queues=["default"]) == []
    assert [job.id for job in store.claim(suspect=True, queues=["default", "elsewhere"])] == [suspect]


def test_a_parked_job_is_claimed_by_a_process_that_has_what_it_needs(store: Store) -> None:
    job_id = store.insert()
    [job] = store.claim()
    store.finish(store.parked(job, "task shop:send"))
    assert store.claim() == []
    assert store.claim(known_needs=["task shop:other"]) == []
    assert store.claim(known_needs=["task shop:send"], queues=["other"]) == []
    [again] = store.claim(known_needs=["task shop:other", "task shop:send"], queues=["default"])
    assert (again.id, again.attempt, again.claim) == (job_id, 1, 2)
    assert store.job(job_id).error is None


def test_parked_jobs_and_ready_ones_share_the_limit(store: Store) -> None:
    store.insert()
    [job] = store.claim()
    store.finish(store.parked(job, "task x"))
    [ready, _] = store.insert_many([store.draft(), store.draft()])
    assert [claimed.id for claimed in store.claim(known_needs=["task x"], limit=2)] == [job.id, ready]


def test_a_parked_job_that_expired_is_cancelled_at_the_claim(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(expires_in=5)
    [job] = store.claim()
    store.finish(store.parked(job, "task x"))
    clock.advance(seconds=5)
    assert store.claim(known_needs=["task x"]) == []
    assert store.state(job_id) is JobState.CANCELLED


def test_a_suspect_that_has_a_process_of_its_own_is_claimed_like_any_other(store: Store) -> None:
    suspect = store.insert(executor="process")
    request = Request(server_id=store.server(), limits={"process": 1}, queues=None)
    for _ in range(SUSPECT_AFTER):
        [job] = store.claim_for(request).jobs
        store.finish(store.outcome(job, JobState.READY, Ending.CRASHED, crashed=1, gives_back=1))
    found = store.db.read(inspect.waiting, request.server_id, None)
    assert (found.ready, found.suspect) == (True, False)
    other = store.insert(executor="process")
    for limit, expected in ((1, [suspect]), (2, [other])):
        claim = store.claim_for(replace(request, limits={"process": limit}))
        assert ([job.id for job in claim.jobs], claim.suspect_waits) == (expected, False)

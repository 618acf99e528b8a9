"""Limits: never more running than allowed, in total and for each key; nothing waits behind another's limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from embedq import JobState
from embedq.clock import SECOND
from embedq.flow.holds import HoldKind
from embedq.flow.lanes import laned
from embedq.flow.limits import Limit, Rate
from embedq.process.poison import SUSPECT_AFTER
from embedq.storage import holds, permits
from tests.conformance.lanes import LANES, Worker, add
from tests.conformance.store import RETENTION, Store


def test_no_more_run_than_the_total(store: Store) -> None:
    add(store, None, ("api", ""), number=10)
    worker = Worker(store, api=Limit(3))
    running = worker.claim()
    assert len(running) == 3
    assert worker.claim() == []
    store.finish(store.succeeded(running[0]))
    assert len(worker.claim()) == 1


def test_a_key_has_its_own_share_and_all_keys_have_a_total(store: Store) -> None:
    for tenant in ("a", "b", "c", "d"):
        add(store, tenant, ("mail", tenant), number=5, name=tenant)
    worker = Worker(store, mail=Limit(2, per="tenant", total=5))
    running = worker.claim(20)
    assert len(running) == 5
    assert max(Counter(job.name for job in running).values()) == 2


def test_limits_reach_across_processes(store: Store) -> None:
    other = store.server(2)
    add(store, None, ("api", ""), number=10)
    first, second = Worker(store, api=Limit(4)), Worker(store, other, api=Limit(4))
    assert len(first.claim(3)) == 3
    assert len(second.claim(3)) == 1


def test_a_crash_gives_the_permit_back_and_a_late_result_frees_nothing(store: Store) -> None:
    dead = store.server(2)
    add(store, None, ("api", ""), number=3)
    lost = Worker(store, dead, api=Limit(1)).claim()
    worker = Worker(store, api=Limit(1))
    assert len(lost) == 1
    assert worker.claim() == []
    store.rescue(dead)
    again = worker.claim()
    assert len(again) == 1
    store.finish(store.succeeded(lost[0]))
    assert worker.claim() == []


def test_a_job_may_be_under_two_limits_and_blocks_no_other(store: Store) -> None:
    add(store, None, ("own", ""), ("shared", ""), number=3)
    add(store, None, ("own", ""), number=3)
    running = Worker(store, own=Limit(5), shared=Limit(1)).claim()
    assert len(running) == 4


def test_a_saturated_lane_costs_the_others_nothing(store: Store) -> None:
    add(store, "big", ("api", "big"), number=50)
    add(store, "small", ("api", "small"))
    worker = Worker(store, api=Limit(1, per="tenant"))
    assert len(worker.claim(10)) == 2


def test_a_limit_that_this_process_does_not_know_keeps_only_its_own_jobs(store: Store) -> None:
    unknown = add(store, None, ("api", ""), number=2)
    others = [*add(store, "x", number=2), store.insert()]
    worker = Worker(store)
    assert sorted(job.id for job in worker.claim(5, plain=5)) == others
    assert worker.claim(5, plain=5) == []
    assert [job.id for job in Worker(store, api=Limit(1)).claim()] == unknown[:1]


def test_a_lane_with_one_job_is_served_beside_one_with_many(store: Store) -> None:
    many = add(store, "many", number=200)
    [one] = add(store, "one")
    worker = Worker(store)
    claimed = [job.id for job in worker.claim(4)]
    assert one in claimed
    assert sorted(claimed) == sorted({one, *many[:3]})


def test_the_first_of_many_keys_do_not_wait_until_all_have_been_met(store: Store) -> None:
    for key in range(100):
        add(store, None, ("api", str(key)))
    worker = Worker(store, api=Limit(1, per="tenant"))
    assert len(worker.claim(4)) == 4


def test_lanes_share_by_their_weights(store: Store) -> None:
    add(store, "three", number=100, weight=3)
    ones = set(add(store, "one", number=100))
    worker = Worker(store)
    claimed = [job for _ in range(40) for job in worker.claim(1)]
    assert len(claimed) == 40
    assert len([job for job in claimed if job.id in ones]) == 10


def test_plain_jobs_and_lanes_share_equally(store: Store) -> None:
    plain = set(store.insert_many([store.draft(payload=f"[[{at}],{{}}]") for at in range(20)]))
    add(store, "lane", number=20)
    worker = Worker(store)
    claimed = [job.id for _ in range(10) for job in worker.claim(2, plain=2)]
    assert len(claimed) == 20
    assert len(plain & set(claimed)) == 10


def test_lanes_of_all_queues_are_served_beside_plain_jobs_where_one_worker_is_idle(store: Store) -> None:
    store.insert_many([store.draft(payload=f"[[{at}],{{}}]") for at in range(20)])
    for queue in ("a", "b"):
        add(store, "lane", number=20, queue=queue)
    worker = Worker(store)
    claimed = Counter(job.queue for _ in range(12) for job in worker.claim(1, plain=1))
    assert claimed == {"default": 6, "a": 3, "b": 3}


def test_a_higher_priority_goes_first(store: Store) -> None:
    [urgent] = add(store, "lane", priority=5)
    plain = store.insert(priority=9)
    add(store, "lane", number=3)
    low = store.insert(priority=1)
    claimed = Worker(store).claim(3, plain=3)
    assert [job.id for job in claimed] == [plain, urgent, low]


def test_named_queues_are_taken_in_their_order(store: Store) -> None:
    add(store, "lane", queue="later", number=5)
    first = add(store, "lane", queue="first", number=2)
    claimed = Worker(store).claim(3, queues=("first", "later"))
    assert {job.id for job in claimed} > set(first)
    assert len(claimed) == 3


def test_a_rate_allows_so_many_starts_and_says_when_the_next_may(store: Store) -> None:
    add(store, None, ("api", ""), number=10)
    worker = Worker(store, api=Limit(rate=Rate(6, per=60, burst=2)))
    assert len(worker.claim()) == 2
    claim = worker.claim_once()
    assert claim.jobs == []
    assert claim.lanes.look_at == store.now + 10 * SECOND
    store.clock.advance(seconds=10)
    assert len(worker.claim()) == 1


def test_where_all_permits_are_taken_a_rate_names_no_moment(store: Store) -> None:
    """Else the dispatcher would look again at once, and again, until a job ends."""
    add(store, None, ("api", ""), number=10)
    worker = Worker(store, api=Limit(2, rate=Rate(60, per=60, burst=10)))
    assert len(worker.claim()) == 2
    store.clock.advance(seconds=30)
    claim = worker.claim_once()
    assert (claim.jobs, claim.lanes.saturated, claim.lanes.look_at) == ([], {LANES}, None)


def test_several_rates_must_all_allow_a_start(store: Store) -> None:
    add(store, None, ("api", ""), number=10)
    worker = Worker(store, api=Limit(rate=[Rate(1, per=1, burst=5), Rate(2, per=60, burst=2)]))
    assert len(worker.claim()) == 2


def test_a_rate_by_key_counts_each_key_apart(store: Store) -> None:
    add(store, None, ("api", "a"), number=3)
    add(store, None, ("api", "b"), number=3)
    worker = Worker(store, api=Limit(rate=Rate(1, per=60, key="tenant")))
    assert len(worker.claim()) == 2


def test_a_job_that_has_expired_is_no_start(store: Store) -> None:
    [expired] = add(store, None, ("api", ""), expires_at=store.now - 1)
    [other] = add(store, None, ("api", ""))
    worker = Worker(store, api=Limit(rate=Rate(1, per=60)))
    assert worker.claim() == []
    assert store.state(expired) is JobState.CANCELLED
    assert [job.id for job in worker.claim()] == [other]
    assert worker.claim() == []


def test_a_job_that_is_held_is_no_start(store: Store) -> None:
    [held] = add(store, None, ("api", ""), name="held")
    worker = Worker(store, api=Limit(rate=Rate(1, per=86_400)))
    store.db.write(holds.put, HoldKind.TASK, "held", until=None, reason="", actor="ada", now=store.now)
    assert worker.claim() == []
    assert store.state(held) is JobState.PARKED
    store.db.write(holds.end, HoldKind.TASK, "held", now=store.now)
    assert [job.id for job in worker.claim()] == [held]


def test_a_claim_that_rolls_back_spends_nothing(store: Store) -> None:
    add(store, None, ("api", ""), number=3)
    worker = Worker(store, api=Limit(rate=Rate(1, per=60)))
    worker.claim(0)
    store.db.write(permits.create, [permits.permit_name("api")], now=store.now)

    class Stop(Exception):
        pass

    def fails(tx: Any) -> None:
        from embedq.storage import claims

        assert len(claims.claim(tx, worker.request(5), now=store.now, retention=RETENTION).jobs) == 1
        raise Stop

    with pytest.raises(Stop):
        store.db.write(fails)
    assert len(worker.claim()) == 1


def test_stored_values_win_and_can_be_changed_while_jobs_run(store: Store) -> None:
    add(store, None, ("api", ""), number=10)
    worker = Worker(store, api=Limit(3))
    store.db.write(permits.declare, worker.declared, now=store.now)
    store.db.write(permits.set_values, "api", total=1, each=None, now=store.now)
    assert len(worker.claim()) == 1
    store.db.write(permits.set_values, "api", total=0, each=None, now=store.now)
    assert worker.claim() == []
    store.db.write(permits.set_values, "api", total=None, each=None, now=store.now)
    assert len(worker.claim()) == 2


def test_a_cool_down_stops_all_under_the_limit(store: Store) -> None:
    add(store, None, ("api", "a"), number=3)
    add(store, None, ("api", "b"), number=3)
    worker = Worker(store, api=Limit(2, per="tenant"))
    store.db.write(permits.close, "api", until=store.now + 30 * SECOND, now=store.now)
    claim = worker.claim_once()
    assert claim.jobs == []
    assert claim.lanes.look_at == store.now + 30 * SECOND
    store.clock.advance(seconds=30)
    assert len(worker.claim()) == 4


def test_jobs_of_lanes_are_not_claimed_without_asking_for_them(store: Store) -> None:
    """As a process of an earlier build does, which knows no limits."""
    add(store, None, ("api", ""), number=3)
    plain = store.insert()
    assert [job.id for job in store.claim()] == [plain]


def test_a_suspect_is_under_its_limit_too(store: Store) -> None:
    [job_id] = add(store, None, ("api", ""))
    worker = Worker(store, api=Limit(1))
    for _ in range(2):
        dead = store.server(9)
        worker.server = dead
        assert len(worker.claim(suspect=store.job(job_id).crashes > 1)) == 1
        store.rescue(dead)
    [other] = add(store, None, ("api", ""))
    worker.server = 1
    assert [job.id for job in worker.claim()] == [other]
    assert worker.claim(suspect=True) == []
    assert store.state(job_id) is JobState.READY


def test_a_parked_job_takes_its_turn_again(store: Store) -> None:
    [job_id] = add(store, None, ("api", ""))
    worker = Worker(store, api=Limit(1))
    [job] = worker.claim()
    store.finish(store.parked(job, "task x"))
    assert [job.id for job in worker.claim(known_needs=("task x",))] == [job_id]


def test_permits_that_are_not_used_are_deleted(store: Store) -> None:
    add(store, None, ("api", "a"))
    worker = Worker(store, api=Limit(1, per="tenant"))
    worker.claim()
    assert store.db.write(permits.prune, now=store.now) == 0
    store.clock.advance(seconds=7200)
    assert store.db.write(permits.prune, now=store.now) == 1
    add(store, None, ("api", "a"))
    assert worker.claim() == []


def test_a_rate_by_the_day_is_remembered_for_a_day(store: Store) -> None:
    add(store, None, ("api", ""), number=5)
    worker = Worker(store, api=Limit(rate=Rate(1, per=86_400)))
    assert len(worker.claim()) == 1
    store.clock.advance(hours=23)
    assert store.db.write(permits.prune, now=store.now) == 0
    assert worker.claim() == []
    store.clock.advance(hours=3)
    assert store.db.write(permits.prune, now=store.now) == 1
    assert len(worker.claim()) == 1


def test_a_suspect_with_a_process_of_its_own_is_claimed_like_any_other_as_its_limit_allows(store: Store) -> None:
    process = laned("process")
    worker = Worker(store, api=Limit(1))

    def claim() -> list[int]:
        store.db.write(permits.create, [permits.permit_name("api")], now=store.now)
        limits = {"process": 2, process: 2}
        return [job.id for job in store.claim_for(replace(worker.request(0), limits=limits)).jobs]

    [suspect] = add(store, None, ("api", ""), executor=process)
    for _ in range(SUSPECT_AFTER):
        worker.server = store.server(9)
        assert claim() == [suspect]
        store.rescue(worker.server)
    worker.server = 1
    store.clock.advance(seconds=1)
    plain = store.insert_many([store.draft(executor="process") for _ in range(2)])
    assert claim() == [suspect, plain[0]]
    [waits] = add(store, None, ("api", ""), executor=process)
    assert claim() == [plain[1]]
    assert store.states(suspect, waits) == [JobState.RUNNING, JobState.READY]


def test_lanes_under_one_total_take_turns_beside_a_lane_without_limits(store: Store) -> None:
    for lane in ("a", "b", "c"):
        add(store, lane, ("api", ""), number=20, name=lane)
    add(store, "free", number=40, name="free")
    worker = Worker(store, api=Limit(1))
    started: Counter[str] = Counter()
    # The first claim starts none of them: it finds that rows of permits must be made.
    for _ in range(13):
        claimed = worker.claim(2)
        started.update(job.name for job in claimed)
        store.finish(*map(store.succeeded, claimed))
    assert [started[lane] for lane in ("a", "b", "c")] == [4, 4, 4]


def test_weights_hold_among_lanes_under_one_total_beside_a_lane_without_limits(store: Store) -> None:
    for lane, weight in (("a", 3), ("b", 1)):
        add(store, lane, ("api", ""), number=20, name=lane, weight=weight)
    add(store, "free", number=40, name="free")
    worker = Worker(store, api=Limit(1))
    started: Counter[str] = Counter()
    # The first claim starts none of them: it finds that rows of permits must be made.
    for _ in range(13):
        claimed = worker.claim(2)
        started.update(job.name for job in claimed)
        store.finish(*map(store.succeeded, claimed))
    assert (started["a"], started["b"]) == (9, 3)

"""Unique jobs: which call is the same as an earlier one, and what becomes of a key whatever happens to its job."""

from __future__ import annotations

from typing import Any

import pytest

from embedq import Debounce, Ending, JobState, JobStateError, Throttle, Unique, UniqueConflictError
from embedq.clock import SECOND
from embedq.flow.limits import Limit
from embedq.storage import bulk, inspect, jobs, unique, upkeep
from embedq.storage.rows import NewJob
from tests.conformance.lanes import Worker
from tests.conformance.store import RETENTION, Store

KEEP, REPLACE, RAISE = Unique(), Unique(on_conflict="replace"), Unique(on_conflict="raise")
UNFINISHED = Unique("unfinished")


def draft(store: Store, rule: Unique | Debounce | Throttle = KEEP, key: str = "k", **columns: Any) -> NewJob:
    return store.draft(options=rule.rule(key).stored_in(None), **columns)


def enqueue(store: Store, rule: Unique | Debounce | Throttle = KEEP, key: str = "k", **columns: Any) -> int:
    return store.db.write(jobs.insert, draft(store, rule, key, **columns)).id


def payload(store: Store, job_id: int) -> str:
    [(text,)] = store.db.read(lambda tx: tx.select("SELECT {payload} FROM embedq_jobs AS job WHERE id = ?", (job_id,)))
    return str(text)


def run_at(store: Store, job_id: int) -> int:
    [(at,)] = store.db.read(lambda tx: tx.select("SELECT run_at FROM embedq_jobs WHERE id = ?", (job_id,)))
    return int(at) - store.now


def keys(store: Store) -> int:
    [(number,)] = store.db.read(lambda tx: tx.select("SELECT count(*) FROM embedq_unique_keys"))
    return int(number)


def test_while_one_waits_a_second_is_the_same_job(store: Store) -> None:
    first = store.db.write(jobs.insert, draft(store))
    again = store.db.write(jobs.insert, draft(store))
    other = store.db.write(jobs.insert, draft(store, key="other"))
    assert (first.created, again.created, other.created) == (True, False, True)
    assert again.id == first.id != other.id


@pytest.mark.parametrize("size", [1, 5000], ids=["small", "large"])
def test_replacing_gives_the_waiting_job_the_latest_arguments(store: Store, size: int) -> None:
    first = enqueue(store, REPLACE, payload='[["a"],{}]' + " " * size)
    assert enqueue(store, REPLACE, payload='[["b"],{}]') == first
    assert payload(store, first) == '[["b"],{}]'
    assert enqueue(store, REPLACE, payload='[["c"],{}]' + " " * size) == first
    [claimed] = store.claim()
    assert claimed.payload == '[["c"],{}]' + " " * size


def test_raising_names_the_job_and_leaves_it(store: Store) -> None:
    first = enqueue(store, RAISE)
    with pytest.raises(UniqueConflictError, match=f"job {first}") as caught:
        enqueue(store, RAISE)
    assert caught.value.job_id == first
    assert store.states(first) == [JobState.READY]


def test_a_call_during_the_run_makes_one_later_run_with_the_latest_arguments(store: Store) -> None:
    enqueue(store, REPLACE, payload='[["a"],{}]')
    [running] = store.claim()
    later = enqueue(store, REPLACE, payload='[["b"],{}]')
    assert enqueue(store, REPLACE, payload='[["c"],{}]') == later != running.id
    store.finish(store.succeeded(running))
    [second] = store.claim()
    assert (second.id, second.payload) == (later, '[["c"],{}]')
    assert store.claim() == []


def test_a_retry_gives_way_to_a_newer_job_with_its_key(store: Store) -> None:
    enqueue(store)
    [running] = store.claim()
    newer = enqueue(store)
    store.finish(store.failed(running))
    assert store.states(running.id, newer) == [JobState.CANCELLED, JobState.READY]
    assert f"superseded by job {newer}" in str(store.job(running.id).error)
    assert enqueue(store) == newer


def test_a_retry_takes_its_key_again_where_no_other_job_has_it(store: Store) -> None:
    first = enqueue(store)
    [running] = store.claim()
    store.finish(store.failed(running))
    assert store.states(first) == [JobState.RETRYING]
    assert enqueue(store) == first


def test_after_a_final_failure_the_later_run_takes_place(store: Store) -> None:
    enqueue(store)
    [running] = store.claim()
    later = enqueue(store)
    store.finish(store.died(running))
    assert store.states(running.id, later) == [JobState.DEAD, JobState.READY]
    assert [job.id for job in store.claim()] == [later]


def test_unfinished_lasts_until_the_end(store: Store) -> None:
    first = enqueue(store, UNFINISHED)
    [running] = store.claim()
    assert enqueue(store, UNFINISHED) == first
    store.finish(store.failed(running))
    assert enqueue(store, UNFINISHED) == first
    store.clock.advance(seconds=3600)
    [running] = store.claim()
    store.finish(store.succeeded(running))
    assert enqueue(store, UNFINISHED) != first


@pytest.mark.parametrize("rule", [KEEP, UNFINISHED, Unique(period=60), Throttle(60), Debounce(5, 60)])
def test_a_cancel_frees_the_key(store: Store, rule: Unique | Throttle | Debounce) -> None:
    first = enqueue(store, rule)
    store.cancel(first)
    second = enqueue(store, rule)
    assert second != first
    assert enqueue(store, rule) == second


@pytest.mark.parametrize("rule", [KEEP, UNFINISHED, Unique(period=60), Throttle(60)])
def test_deleting_frees_the_key(store: Store, rule: Unique | Throttle) -> None:
    first = enqueue(store, rule)
    store.insert()
    store.db.write(bulk.delete, [first], cancel_children=False, now=store.now, retention=RETENTION)
    assert keys(store) == 0
    assert enqueue(store, rule) != first


def test_a_job_that_waits_keeps_a_dead_one_from_being_retried_by_hand(store: Store) -> None:
    enqueue(store)
    [running] = store.claim()
    store.finish(store.died(running))
    newer = enqueue(store)
    with pytest.raises(JobStateError, match=f"job {newer}"):
        store.retry(running.id)
    assert store.db.write(jobs.retry_many, [running.id], now=store.now) == 0
    store.cancel(newer)
    store.retry(running.id)
    assert enqueue(store) == running.id


def test_of_two_dead_ones_one_is_retried(store: Store) -> None:
    dead = []
    for _ in range(2):
        dead.append(enqueue(store))
        [running] = store.claim()
        store.finish(store.died(running))
    assert store.db.write(jobs.retry_many, dead, now=store.now) == 1
    assert sorted(store.states(*dead)) == [JobState.DEAD, JobState.READY]


def test_a_rescue_gives_way_to_a_newer_job(store: Store) -> None:
    enqueue(store)
    [running] = store.claim()
    newer = enqueue(store)
    store.rescue(1)
    assert store.states(running.id, newer) == [JobState.CANCELLED, JobState.READY]


def test_a_continuation_is_a_job_of_its_own(store: Store) -> None:
    stored = KEEP.rule("k").stored_in(None)
    first, second = store.insert(name="tests:parent"), store.insert(name="tests:parent")
    child, other = store.then(first, options=stored), store.then(second, options=stored)
    assert child != other
    plain = enqueue(store)
    assert plain not in (child, other)
    later = store.then(second, options=stored)
    assert later not in (child, other, plain)
    # The parent of one fails, and the others run all the same.
    claimed = {job.id: job for job in store.claim()}
    store.finish(store.died(claimed[first]), store.succeeded(claimed[second]))
    assert store.states(child, other, later) == [JobState.CANCELLED, JobState.READY, JobState.READY]


def test_children_that_wait_again_give_way_too(store: Store) -> None:
    parent = store.insert(name="tests:parent")
    child = store.then(parent, options=KEEP.rule("k").stored_in(None))
    [running] = store.claim()
    store.finish(store.died(running))
    newer = enqueue(store)
    store.retry(parent)
    assert store.states(child, newer) == [JobState.CANCELLED, JobState.READY]


def test_a_period_outlives_the_job(store: Store) -> None:
    rule = Unique(period=60)
    first = enqueue(store, rule)
    [running] = store.claim()
    store.finish(store.succeeded(running))
    store.clock.advance(seconds=59)
    assert enqueue(store, rule) == first
    store.clock.advance(seconds=1)
    assert enqueue(store, rule) != first


def test_many_at_once(store: Store) -> None:
    earlier = enqueue(store, key="b")
    rows = [draft(store, key=key, payload=f"[[{number}],{{}}]") for number, key in enumerate("abacb")]
    first, second, again, third, old = store.db.write(jobs.insert_many, [*rows])
    assert (second.id, old.id) == (earlier, earlier)
    assert again == (first.id, False)
    assert [one.created for one in (first, second, third)] == [True, False, True]
    assert payload(store, first.id) == "[[0],{}]"


def test_many_at_once_with_the_latest_arguments(store: Store) -> None:
    rows = [draft(store, REPLACE, payload=f"[[{number}],{{}}]") for number in range(3)]
    first, *others = store.db.write(jobs.insert_many, [store.draft(), *rows])[1:]
    assert [other.id for other in others] == [first.id] * 2
    assert payload(store, first.id) == "[[2],{}]"


def test_an_error_among_many_enqueues_none(store: Store) -> None:
    enqueue(store, RAISE, key="b")
    with pytest.raises(UniqueConflictError):
        store.db.write(jobs.insert_many, [store.draft(), draft(store, RAISE, key="b")])
    assert len(store.claim()) == 1


def test_a_debounced_job_runs_once_the_calls_pause(store: Store) -> None:
    rule = Debounce(5, 12)
    first = enqueue(store, rule, payload='[["a"],{}]')
    assert run_at(store, first) == 5 * SECOND
    for wait in (5, 5, 4):
        assert run_at(store, first) == wait * SECOND
        store.clock.advance(seconds=4)
        assert enqueue(store, rule, payload=f'[["{wait}"],{{}}]') == first
    assert run_at(store, first) == 0
    [claimed] = store.claim()
    assert claimed.payload == '[["4"],{}]'
    assert enqueue(store, rule) != first


def test_a_throttled_call_runs_at_once_and_the_rest_once_at_the_end(store: Store) -> None:
    rule = Throttle(60, then="last")
    first = enqueue(store, rule, payload='[["a"],{}]')
    [running] = store.claim()
    store.finish(store.succeeded(running))
    store.clock.advance(seconds=20)
    last = enqueue(store, rule, payload='[["b"],{}]')
    assert last != first
    assert run_at(store, last) == 40 * SECOND
    store.clock.advance(seconds=20)
    assert enqueue(store, rule, payload='[["c"],{}]') == last
    assert run_at(store, last) == 20 * SECOND
    store.clock.advance(seconds=20)
    [running] = store.claim()
    assert (running.id, running.payload) == (last, '[["c"],{}]')
    store.finish(store.succeeded(running))
    assert run_at(store, enqueue(store, rule)) == 60 * SECOND


def test_a_throttled_call_is_dropped_in_the_period(store: Store) -> None:
    rule = Throttle(60)
    first = enqueue(store, rule)
    [running] = store.claim()
    store.finish(store.died(running))
    assert enqueue(store, rule) == first
    store.clock.advance(seconds=60)
    assert enqueue(store, rule) != first


def test_keys_are_removed_when_nothing_needs_them(store: Store) -> None:
    enqueue(store, key="waits")
    enqueue(store, key="ended", priority=1)
    enqueue(store, Unique(period=1000), key="period", priority=1)
    for job in store.claim(limit=2):
        store.finish(store.succeeded(job))
    store.clock.advance(seconds=120)
    assert store.db.write(unique.prune, now=store.now, limit=10) == 1
    assert keys(store) == 2
    store.clock.advance(seconds=1000)
    upkeep_found = store.db.write(upkeep.prune_history, now=store.now)
    assert (upkeep_found > 0, keys(store)) == (True, 1)


def test_a_plain_claim_and_end_write_nothing_of_it(store: Store) -> None:
    enqueue(store)
    [running] = store.claim()
    store.finish(store.succeeded(running))
    assert keys(store) == 1
    assert store.db.read(inspect.job, running.id).state is JobState.SUCCEEDED


def test_of_two_runs_that_died_with_their_process_the_newer_one_runs_again(store: Store) -> None:
    server = store.server(2)
    runs = []
    for _ in range(2):
        enqueue(store)
        runs += store.claim(server)
    older, newer = (job.id for job in runs)
    store.rescue(server)
    assert store.states(older, newer) == [JobState.CANCELLED, JobState.READY]
    assert [job.id for job in store.claim()] == [newer]


def test_a_run_that_is_told_to_wait_closes_its_limit_also_where_it_gives_way(store: Store) -> None:
    limits: dict[str, Any] = {"executor": "thread lane", "lane_key": "lane", "limit_1": "api", "key_1": ""}
    enqueue(store, **limits)
    worker = Worker(store, api=Limit(5))
    [running] = worker.claim()
    newer = enqueue(store, **limits)
    at = store.now + 30 * SECOND
    store.finish(
        store.outcome(
            running, JobState.RETRYING, Ending.RELEASED, gives_back=1, retry_at=at, closes="", closed_until=at
        )
    )
    assert store.states(running.id, newer) == [JobState.CANCELLED, JobState.READY]
    assert worker.claim() == []
    store.clock.advance(seconds=30)
    assert [job.id for job in worker.claim()] == [newer]

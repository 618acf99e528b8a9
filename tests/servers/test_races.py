"""Two transactions that meet at the same rows: whichever comes second knows what the first one did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from embedq import JobNotFoundError, JobState, Retention
from embedq.flow.lanes import lane_key, laned
from embedq.storage import claims, finishing, jobs, upkeep
from embedq.storage.base import Database, Transaction
from embedq.storage.claims import Request
from embedq.storage.jobs import Inserted
from embedq.storage.lanes import LaneRequest
from tests.conformance.store import RETENTION, Store
from tests.databases import open_database
from tests.support import FakeClock

Body = Callable[[Transaction], Any]


@pytest.fixture
def store(db: Database, clock: FakeClock) -> Store:
    store = Store(db, clock)
    assert store.server() == 1
    return store


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """Another process's way to the same database."""
    other = open_database(url)
    yield other
    other.close()


class GivenUpError(Exception):
    """What makes the first of two transactions roll back."""


@contextmanager
def open_transaction(database: Database, body: Body, *, roll_back: bool = False) -> Iterator[list[Any]]:
    """A transaction that has run `body` and is not ended before the block is; then its result, or error, is listed."""
    done, end = threading.Event(), threading.Event()
    results: list[Any] = []

    def held(tx: Transaction) -> Any:
        result = body(tx)
        done.set()
        assert end.wait(10)
        if roll_back:
            raise GivenUpError
        return result

    def run() -> None:
        try:
            results.append(database.write(held))
        except GivenUpError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert done.wait(10)
        yield results
    finally:
        end.set()
        thread.join(10)


def meanwhile(first: Database, body: Body, second: Database, other_body: Body, **how: bool) -> tuple[Any, Any]:
    """What comes of `other_body`, begun while `body` has been run and not committed; the results of both."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(second.write(other_body))
        except JobNotFoundError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    with open_transaction(first, body, **how) as results_of_first:
        thread.start()
        # It is through, or waits for the other by now; were it slower than that, it would only find things simpler.
        thread.join(0.15)
    thread.join(10)
    return results_of_first[0], results[0]


def ends(store: Store, parent: int, retention: Retention = RETENTION) -> Body:
    [claimed] = [job for job in store.claim() if job.id == parent]
    outcome = store.succeeded(claimed)
    outcome.delete_at = store.now
    return lambda tx: finishing.finish(tx, [outcome], now=store.now, retention=retention)


def continues(store: Store, parent: int) -> Body:
    row = store.draft(parent_id=parent, trigger="success", state="awaiting")
    return lambda tx: jobs.insert_continuation(tx, row, retention=RETENTION)


def test_a_continuation_that_comes_while_its_parent_ends_runs(store: Store, other: Database) -> None:
    parent = store.insert()
    _, child = meanwhile(store.db, ends(store, parent), other, continues(store, parent))
    assert store.states(parent, child.id) == [JobState.SUCCEEDED, JobState.READY]


def test_a_parent_that_ends_while_a_continuation_comes_wakes_it(store: Store, other: Database) -> None:
    parent = store.insert()
    child, _ = meanwhile(store.db, continues(store, parent), other, ends(store, parent))
    assert store.states(parent, child.id) == [JobState.SUCCEEDED, JobState.READY]


def prunes(store: Store) -> Body:
    return lambda tx: upkeep.prune_jobs(tx, now=store.now).number


def test_a_parent_is_kept_while_a_continuation_is_being_added(store: Store, other: Database) -> None:
    parent = store.insert()
    store.db.write(ends(store, parent))
    child, pruned = meanwhile(store.db, continues(store, parent), other, prunes(store))
    assert pruned == 0
    assert store.states(parent, child.id) == [JobState.SUCCEEDED, JobState.READY]


def test_continuing_a_job_that_is_being_deleted_is_an_error(store: Store, other: Database) -> None:
    parent, newest = store.insert(), store.insert(delay=60)
    store.db.write(ends(store, parent))
    pruned, child = meanwhile(store.db, prunes(store), other, continues(store, parent))
    assert pruned == 1
    assert isinstance(child, JobNotFoundError)
    assert [store.exists(parent), store.exists(newest)] == [False, True]
    assert store.children(parent) == []


def inserts(store: Store, key: str) -> Callable[[Transaction], Inserted]:
    row = store.draft(idempotency_key=key)
    return lambda tx: jobs.insert(tx, row)


def test_of_two_transactions_with_one_key_the_second_gets_the_firsts_job(store: Store, other: Database) -> None:
    first, second = meanwhile(store.db, inserts(store, "k"), other, inserts(store, "k"))
    assert (first.created, second) == (True, Inserted(first.id, False))


def test_a_key_whose_transaction_is_given_up_is_the_seconds(store: Store, other: Database) -> None:
    first, second = meanwhile(store.db, inserts(store, "k"), other, inserts(store, "k"), roll_back=True)
    assert isinstance(first, GivenUpError)
    assert second.created
    assert store.state(second.id) is JobState.READY


def claims_from_lanes(store: Store, number: int) -> Body:
    request = Request(server_id=1, limits={"thread": 0, laned("thread"): number}, queues=None, lanes=LaneRequest())
    return lambda tx: claims.claim(tx, request, now=store.now, retention=RETENTION).jobs


def test_two_processes_that_claim_from_one_lane_at_once_take_its_first_jobs(store: Store, other: Database) -> None:
    row = store.draft(executor=laned("thread"), lane_key=lane_key("tenant", ()))
    ids = store.insert_many([row] * 200)
    first, second = meanwhile(store.db, claims_from_lanes(store, 2), other, claims_from_lanes(store, 3))
    assert [job.id for job in first] == ids[:2]
    assert [job.id for job in second] == ids[2:5]

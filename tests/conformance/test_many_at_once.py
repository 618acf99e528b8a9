"""What is done to many jobs at once: by their ids alone, and in a few statements."""

from __future__ import annotations

import json
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest

import embedq
from embedq import EmbedQ, JobState, Retention
from embedq.storage import inspect, jobs, search_batches
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.searching import search_ids
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

LARGE = 500_000


@embedq.job(name="many:nothing")
def nothing(*args: object) -> None: ...


def all_ids(store: Store, wanted: Search, *, limit: int) -> list[int]:
    """By all pages."""
    found: list[int] = []
    cursor: str | None = None
    while True:
        page = store.db.read(search_ids, wanted, cursor=cursor, limit=limit)
        found += page.ids
        cursor = page.next
        if cursor is None:
            return found


def some_jobs(store: Store, clock: FakeClock) -> None:
    """Jobs of several states, queues and errors."""
    parent = store.insert()
    store.then(parent)
    for number in range(12):
        clock.advance(seconds=1)
        queue = "mail" if number % 3 else "default"
        store.insert(queue=queue, payload=f'[["number {number}"],{{}}]', delay=60 * (number % 2))
        store.insert(schedule="nightly", tags='["vip"]')
    ids = [job.id for job in store.db.read(inspect.jobs, state=JobState.READY)]
    for job_id in ids[:6]:
        store.cancel(job_id)
    for claimed in store.claim(limit=4):
        store.finish(store.succeeded(claimed))


@pytest.mark.parametrize(
    "wanted",
    [
        Search(),
        Search(states=(JobState.READY,)),
        Search(states=(JobState.CANCELLED,)),
        Search(states=(JobState.SCHEDULED,)),
        Search(states=(JobState.SCHEDULED, JobState.READY)),
        Search(queue="mail"),
        Search(states=(JobState.READY,), schedule="nightly"),
        Search(tag="vip"),
        Search(argument="number 1"),
        Search(states=(JobState.CANCELLED,), error="cancel"),
        Search(states=(JobState.CANCELLED,), error_group="cancelled"),
        Search(ids=(1, 3, 5, 7, 4711)),
        Search(states=(JobState.CANCELLED,), ids=tuple(range(1, 40, 2))),
        Search(parent=1),
    ],
)
def test_ids_are_those_that_a_search_finds_in_its_order(store: Store, clock: FakeClock, wanted: Search) -> None:
    some_jobs(store, clock)
    found = [job.id for job in store.db.read(inspect.search, wanted, limit=200).jobs]
    if wanted.schedule is not None:
        # A search by schedule looks into the ledger, which these are not in.
        found = [job.id for job in store.db.read(inspect.jobs, state=wanted.states[0], schedule=wanted.schedule)]
    assert found
    for limit in (1, 4, 200):
        assert all_ids(store, wanted, limit=limit) == found


def test_cancelling_many_keeps_to_each_jobs_retention_and_requests_the_running_ones_to_stop(
    store: Store, clock: FakeClock
) -> None:
    running = store.insert(priority=9)
    [claimed] = store.claim(limit=1)
    assert claimed.id == running
    short = Retention(cancelled=timedelta(minutes=1))
    usual, own = store.insert(), store.insert(options=options_with(short))
    kept = store.insert(options=options_with(Retention(cancelled=None)))
    parked, ended = store.insert(delay=60), store.insert()
    store.cancel(ended)
    before = store.job(ended)
    child, grandchild = store.then(usual, on="finished"), store.then(store.then(own), on="finished")
    done = store.db.write(
        jobs.cancel_many, [running, usual, own, kept, parked, ended, 4711], now=store.now, retention=RETENTION
    )
    assert done == 5
    assert store.job(running).cancel_requested
    assert store.states(usual, own, kept, parked) == [JobState.CANCELLED] * 4
    at = store.job(usual).finished_at
    assert at is not None
    gone = [store.job(job_id).delete_at for job_id in (usual, own, kept)]
    assert gone[:2] == [at + timedelta(hours=3), at + timedelta(minutes=1)]
    assert gone[2] is None or gone[2].year == 9999
    assert store.job(ended) == before
    assert store.states(child, grandchild) == [JobState.READY] * 2


def options_with(retention: Retention) -> str:
    seconds = None if retention.cancelled is None else retention.cancelled.total_seconds()
    return json.dumps({"retention": {"cancelled": seconds}})


def test_retrying_many_takes_those_that_can_be_and_revives_their_children(store: Store) -> None:
    dead, succeeded, cancelled, scheduled, ready = (store.insert() for _ in range(5))
    child = store.then(dead)
    store.run_one(dead, store.died)
    store.run_one(succeeded)
    store.cancel(cancelled)
    later = store.insert(delay=60)
    assert store.state(child) is JobState.CANCELLED
    done = store.db.write(jobs.retry_many, [dead, succeeded, cancelled, ready, later, 4711], now=store.now)
    assert done == 3
    assert store.states(dead, succeeded, cancelled, ready, later) == [
        JobState.READY, JobState.SUCCEEDED, JobState.READY, JobState.READY, JobState.READY,
    ]  # fmt: skip
    assert store.state(child) is JobState.AWAITING
    assert store.state(scheduled) is JobState.READY


def test_nothing_is_done_to_none(store: Store) -> None:
    assert store.db.write(jobs.retry_many, [], now=store.now) == 0
    assert store.db.write(jobs.cancel_many, [], now=store.now, retention=RETENTION) == 0
    assert store.db.read(search_batches.next_batch, Search(), search_batches.BatchCursor(99), limit=5).then is None


@pytest.mark.parametrize("filters", [{}, {"queue": "default"}])
def test_actions_on_jobs_with_large_arguments_do_not_read_them(url: str, filters: dict[str, Any]) -> None:
    app = EmbedQ(url).connect()
    for _ in range(30):
        app.enqueue(nothing, "x" * LARGE)
    tracemalloc.start()
    try:
        assert app.cancel_all(**filters) == 30
        assert app.retry_all(state="cancelled", **filters) == 30
        action = app.actions.move(actor="a test", priority=3, state="ready", **filters)
        assert app.actions.wait(action.id, timeout=60).changed == 30
        action = app.actions.cancel(actor="a test", error_group=None, **filters)
        assert app.actions.wait(action.id, timeout=60).changed == 30
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * LARGE
    app.close()


def test_the_dead_of_one_error_group_are_retried_without_reading_their_arguments(url: str) -> None:
    app = EmbedQ(url, stop_timeout=5).connect()

    @app.job(name="many:fail", retry=embedq.NO_RETRY)
    def fail(text: str, number: int) -> None:
        raise ValueError(f"no {'paper' if number % 3 else 'ink'}")

    for number in range(30):
        app.enqueue(fail, "x" * LARGE, number)
    app.start()
    for number in range(1, 31):
        app.job(number).wait(timeout=60)
    app.stop()
    app.close()
    app.connect()
    tracemalloc.start()
    try:
        action = app.actions.retry(actor="a test", state="dead", error_group="ValueError: no ink")
        assert app.actions.wait(action.id, timeout=60).changed == 10
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * LARGE
    app.close()

"""A started app with a job of which more continuations wait than one transaction decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import embedq
from embedq import EmbedQ, JobState
from embedq.storage import continuations
from embedq.storage.base import Database
from embedq.storage.continuations import SLICE
from tests.conformance.store import Store
from tests.support import FakeClock, eventually

NUMBER = 4 * SLICE


@pytest.fixture
def app(url: str) -> Iterator[EmbedQ]:
    app = EmbedQ(url, stop_timeout=5)
    yield app
    app.stop(timeout=5)


@embedq.job
def noop() -> None:
    pass


def children_of(store: Store, parent: int) -> None:
    store.insert_many([store.draft(parent_id=parent, trigger="success", state="awaiting", name="child")] * NUMBER)


def test_the_process_in_which_the_parent_ends_decides_all_while_others_write(
    app: EmbedQ, db: Database, clock: FakeClock
) -> None:
    go, ran = threading.Event(), threading.Semaphore(0)
    embedq.job(name="child")(ran.release)
    app.start()
    parent = app.enqueue(embedq.job(name="parent")(lambda: go.wait(60)))
    children_of(Store(db, clock), parent.id)
    go.set()
    parent.wait(60)
    slowest = 0.0
    for _ in range(20):
        before = time.monotonic()
        app.enqueue_in(3600, noop)
        slowest = max(slowest, time.monotonic() - before)
    assert slowest < 5
    for _ in range(NUMBER):
        assert ran.acquire(timeout=60)
    assert not db.read(continuations.unsettled)


def test_what_a_process_that_was_killed_in_between_has_left_is_decided_by_the_next(
    app: EmbedQ, db: Database, clock: FakeClock
) -> None:
    ran = threading.Semaphore(0)
    embedq.job(name="child")(ran.release)
    store = Store(db, clock)
    store.server()
    parent = store.insert()
    children_of(store, parent)
    store.run_one(parent)
    assert store.db.read(continuations.unsettled)
    app.start()
    for _ in range(NUMBER):
        assert ran.acquire(timeout=60)


def test_the_children_of_a_job_that_is_cancelled_by_hand_follow_soon(
    app: EmbedQ, db: Database, clock: FakeClock
) -> None:
    app.start()
    parent = app.enqueue_in(3600, noop)
    children_of(Store(db, clock), parent.id)
    parent.cancel()
    eventually(lambda: app.count_jobs(state=JobState.AWAITING) == 0, seconds=60)
    assert app.count_jobs(state=JobState.CANCELLED) == NUMBER + 1

"""Transactions take what other processes lock too in one order, whatever the order in which they are asked for it.

The other process holds one row or key. Ours must then wait for that before it has taken what comes later in the order:
else the two could wait for each other.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import BoundOptions, EmbedQ, JobId, JobState
from embedq.storage.driver import ErrorKind
from embedq.worker.notes import NoteBatch
from embedq.worker.turn import turn
from tests.conformance.store import Store
from tests.connections import WAYS, Held, Way
from tests.databases import Home
from tests.support import FakeClock, eventually

# Whether a transaction waits for a lock, on each server.
WAITING = {
    "psycopg": "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "pymysql": "SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'",
}
# What the other process waits for at most, so that a test that fails does so soon.
IMPATIENT = {"psycopg": "SET lock_timeout = '2s'", "pymysql": "SET SESSION innodb_lock_wait_timeout = 2"}


def noop() -> None:
    pass


@dataclass
class Other:
    """The other process.

    Attributes:
        conflicts: what the transactions of our own apps were rolled back for, and ran again.
    """

    url: str
    held: Held
    is_waited_for: Callable[[], object]
    conflicts: list[Exception]

    def lock(self, job_id: int, wait: str = "") -> None:
        self.held.execute(f"SELECT id FROM {self._jobs} WHERE id = {job_id} FOR UPDATE {wait}")

    def take_key(self, key: str) -> None:
        self.held.execute(
            f"INSERT INTO {self._jobs} (state, executor, queue, priority, name, payload, idempotency_key, created_at, "
            f"run_at) VALUES ('scheduled', 'thread', 'default', 0, 'noop', '[[],{{}}]', '{key}', 1, 9000000000000000)"
        )

    @property
    def _jobs(self) -> str:
        schema = self.url.partition("schema=")[2].partition("&")[0]
        return f"{schema and schema + '.'}embedq_jobs"

    def app(self) -> EmbedQ:
        """One of ours."""
        app = EmbedQ(self.url, busy_timeout=60).connect()
        retries: Any = app.database._writing  # type: ignore[attr-defined]
        classify = retries._classify

        def noted(error: Exception) -> ErrorKind:
            found: ErrorKind = classify(error)
            if found is ErrorKind.CONFLICT:
                self.conflicts.append(error)
            return found

        retries._classify = noted
        return app


@pytest.fixture(params=[way for way in WAYS if way.name in WAITING], ids=attrgetter("name"))
def other(request: pytest.FixtureRequest, home_of: Callable[[str], Home], tmp_path: Path) -> Iterator[Other]:
    way: Way = request.param
    home = home_of(way.kind)
    url = home.fresh(tmp_path)
    held = way.open(url)
    held.execute(IMPATIENT[way.name])
    held.commit()

    def is_waited_for() -> object:
        # InnoDB shows what it showed before to whoever asks again within a tenth of a second.
        time.sleep(0.15)
        return home.execute(url, WAITING[way.name])

    yield Other(url, held, is_waited_for, [])
    held.rollback()
    held.close()


@contextmanager
def one_group(app: EmbedQ, *writes: Callable[[], Any]) -> Iterator[tuple[Callable[[], None], list[Future[Any]]]]:
    """Writes of several threads that are one group, in this order; what lets it begin, and their results."""
    commits: Any = app.database._commits  # type: ignore[attr-defined]
    entered, go_on = threading.Event(), threading.Event()

    def lead(tx: object) -> None:
        entered.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(len(writes) + 1) as threads:
        leader = threads.submit(app.database.write, lead)
        assert entered.wait(60)
        results = []
        for number, write in enumerate(writes, start=1):
            results.append(threads.submit(write))
            eventually(lambda number=number: len(commits._queue) == number, seconds=60)

        def begin() -> None:
            go_on.set()
            leader.result(60)

        try:
            yield begin, results
        finally:
            go_on.set()


def later(app: EmbedQ, key: str | None = None) -> BoundOptions:
    """For jobs that do not run."""
    return app.options(queue="later") if key is None else app.options(queue="later", idempotency_key=key)


def test_continuations_of_one_group_lock_their_parents_in_one_order(other: Other) -> None:
    app = other.app()
    task = app.job(name="noop")(noop)
    first, second = (later(app).enqueue(task) for _ in range(2))
    with one_group(app, lambda: second.then(task), lambda: first.then(task)) as (begin, results):
        other.lock(first.id)
        begin()
        eventually(other.is_waited_for, seconds=60)
        other.lock(second.id, "NOWAIT")
        other.held.commit()
        assert [result.result(60).id for result in results]
    assert not other.conflicts
    app.close()


def test_the_keys_of_one_batch_are_taken_in_one_order_and_its_ids_are_in_the_order_of_the_call(other: Other) -> None:
    app = other.app()
    task = app.job(name="noop")(noop)
    keys = ["e", "d", None, "b", None, "a", "c", "b"]
    calls = [later(app, key).task(task).call() for key in keys]
    with ThreadPoolExecutor(1) as thread:
        other.take_key("b")
        batch = thread.submit(app.enqueue_many, calls)
        eventually(other.is_waited_for, seconds=60)
        other.take_key("d")
        other.held.commit()
        handles = batch.result(60)
    assert not other.conflicts
    assert [handle.created for handle in handles] == [True, False, True, False, True, True, True, False]
    created = [handle.id for handle in handles if handle.created]
    assert created == sorted(created)
    assert [handle.snapshot().idempotency_key for handle in handles] == keys
    assert handles[3].id == handles[7].id
    assert app.count_jobs() == 7
    app.close()


def test_two_processes_that_enqueue_the_same_keys_in_any_order_meet_no_deadlock(other: Other) -> None:
    first, second = other.app(), other.app()
    tasks = [app.job(name="noop")(noop) for app in (first, second)]
    together = threading.Barrier(2)

    def enqueue(app: EmbedQ, task: Any) -> list[dict[str, JobId]]:
        found = []
        for number in range(12):
            keys = [f"{number}-{key}" for key in range(20)]
            random.shuffle(keys)
            together.wait(60)
            handles = app.enqueue_many([later(app, key).task(task).call() for key in keys])
            found.append({key: handle.id for key, handle in zip(keys, handles, strict=True)})
        return found

    with ThreadPoolExecutor(2) as threads:
        ours = list(threads.map(enqueue, (first, second), tasks))
    assert ours[0] == ours[1]
    assert not other.conflicts
    assert first.count_jobs() == 240
    first.close()
    second.close()


def test_a_group_takes_its_parents_first_and_then_the_keys(other: Other) -> None:
    app = other.app()
    task = app.job(name="noop")(noop)
    first, second = (later(app).enqueue(task) for _ in range(2))
    group = one_group(
        app,
        lambda: later(app, "c").enqueue(task),
        lambda: second.then(later(app, "b").task(task)),
        lambda: first.then(later(app, "d").task(task)),
        lambda: later(app, "a").enqueue(task),
    )
    with group as (begin, results):
        other.lock(first.id)
        begin()
        eventually(other.is_waited_for, seconds=60)
        other.lock(second.id, "NOWAIT")
        other.take_key("a")
        other.held.commit()
        assert [result.result(60).created for result in results] == [True, True, True, False]
    with one_group(
        app, lambda: second.then(later(app, "e").task(task)), lambda: first.then(later(app, "f").task(task))
    ) as (begin, results):
        other.take_key("e")
        begin()
        eventually(other.is_waited_for, seconds=60)
        other.take_key("f")
        other.held.commit()
        assert [result.result(60).created for result in results] == [False, False]
    assert not other.conflicts
    app.close()


def test_a_batch_that_is_in_a_group_has_a_transaction_of_its_own(other: Other) -> None:
    app, reader = other.app(), other.app()
    task = app.job(name="noop")(noop)

    def batch(*keys: str) -> Callable[[], Any]:
        return lambda: app.enqueue_many([later(app, key).task(task).call() for key in keys])

    with one_group(app, batch("c", "d"), batch("a", "b")) as (begin, results):
        other.take_key("b")
        begin()
        eventually(other.is_waited_for, seconds=60)
        assert reader.count_jobs() == 2
        other.held.commit()
        assert [[handle.created for handle in result.result(60)] for result in results] == [[True, True], [True, False]]
    assert not other.conflicts
    app.close()
    reader.close()


def test_jobs_that_are_cancelled_in_one_group_are_locked_one_by_one(other: Other) -> None:
    app = other.app()
    task = app.job(name="noop")(noop)
    first, second = (later(app).enqueue(task) for _ in range(2))
    with one_group(app, second.cancel, first.cancel) as (begin, results):
        other.lock(first.id)
        begin()
        eventually(other.is_waited_for, seconds=60)
        other.lock(second.id, "NOWAIT")
        other.held.commit()
        assert all(result.result(60) for result in results)
    assert [first.state, second.state] == [JobState.CANCELLED] * 2
    app.close()


@pytest.fixture
def store(other: Other) -> Iterator[Store]:
    app = other.app()
    store = Store(app.database, FakeClock())
    assert store.server() == 1
    yield store
    app.close()


def test_a_turn_locks_jobs_in_one_order_whatever_becomes_of_them(other: Other, store: Store) -> None:
    ids = store.insert_many([store.draft() for _ in range(4)])
    jobs = {job.id: job for job in store.claim()}
    outcomes = [store.failed(jobs[ids[3]]), store.succeeded(jobs[ids[2]]), store.died(jobs[ids[1]])]
    notes = NoteBatch([], [(0.5, None, ids[3], 1), (0.1, None, ids[0], 1)], [(store.now, ids[1], 1)])
    with ThreadPoolExecutor(1) as thread:
        other.lock(ids[0])
        settings = embedq.Settings(url=other.url)
        ours = thread.submit(store.db.write, turn, outcomes, None, notes, now=store.now, settings=settings)
        eventually(other.is_waited_for, seconds=60)
        for job_id in ids[1:]:
            other.lock(job_id, "NOWAIT")
        other.held.commit()
        assert ours.result(60)[1].refused == []
    assert store.states(*ids) == [JobState.RUNNING, JobState.DEAD, JobState.SUCCEEDED, JobState.RETRYING]
    assert not other.conflicts


@pytest.mark.parametrize("ends", ["succeeded", "failed"])
def test_outcomes_that_are_written_together_lock_jobs_in_one_order(other: Other, store: Store, ends: str) -> None:
    ids = store.insert_many([store.draft() for _ in range(3)])
    outcomes = [getattr(store, ends)(job) for job in store.claim()]
    outcomes.sort(key=attrgetter("job_id"), reverse=True)
    with ThreadPoolExecutor(1) as thread:
        other.lock(ids[0])
        ours = thread.submit(store.finish, *outcomes)
        eventually(other.is_waited_for, seconds=60)
        for job_id in ids[1:]:
            other.lock(job_id, "NOWAIT")
        other.held.commit()
        assert ours.result(60).refused == []
    assert not other.conflicts

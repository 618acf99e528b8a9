"""What a process holds and what the database says of it are brought together again when they may have come apart.

The answers are lost where the engine meets the database: a real one, which did as it was told, or was never asked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import Ending, JobState, StorageUncertainError
from embedq.storage import jobs, servers
from embedq.storage.base import Database
from embedq.storage.heartbeat_connection import SharedHeartbeatConnection
from embedq.worker.dispatcher import Dispatcher
from embedq.worker.pool import Reservation
from embedq.worker.turn import turn
from tests.databases import SQLiteHome
from tests.support import eventually


class UnsureDatabase:
    """A database whose answers to chosen writes are lost, whether those happened or not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._losing: list[tuple[Callable[..., bool], bool]] = []
        self.after_hand_over: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def lose(self, which: Callable[..., bool], *, happens: bool) -> None:
        """Lose the answer to the next write for which `which(function, *args, **kwargs)` holds."""
        self._losing.append((which, happens))

    def heartbeat_connection(self, *, limit: float) -> SharedHeartbeatConnection:
        return SharedHeartbeatConnection(self)

    @property
    def lost(self) -> bool:
        """Whether every answer was lost that should be."""
        return not self._losing

    def write(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not self._losing or not self._losing[0][0](function, *args, **kwargs):
            result = self._database.write(function, *args, **kwargs)
            if self.after_hand_over is not None and a_hand_over(function, *args, **kwargs):
                self.after_hand_over()
            return result
        _, happens = self._losing.pop(0)
        if happens:
            self._database.write(function, *args, **kwargs)
        raise StorageUncertainError("the answer was lost")


def an_insert(function: Any, *args: Any, **kwargs: Any) -> bool:
    return function is jobs.insert


def a_hand_over(function: Any, *args: Any, **kwargs: Any) -> bool:
    # It is asked once, however often.
    return an_insert(function) and "claimed_by" in kwargs and kwargs["claimed_by"]() is not None


def a_reconciliation(function: Any, *args: Any, **kwargs: Any) -> bool:
    return function is servers.reconcile


def a_turn_that_ends_a_job_and_claims(function: Any, *args: Any, **kwargs: Any) -> bool:
    return function is turn and bool(args[0]) and args[1] is not None


@pytest.fixture
def app(tmp_path: Path) -> Iterator[embedq.EmbedQ]:
    """An app with one worker, connected but not started."""
    app = embedq.EmbedQ(SQLiteHome().fresh(tmp_path, "app"), workers=1, stop_timeout=5, interrupt_grace=0.5).connect()
    yield app
    app.stop(timeout=1)
    app.database.close()


@pytest.fixture
def unsure(app: embedq.EmbedQ) -> UnsureDatabase:
    """The app's database."""
    unsure = UnsureDatabase(app.database)
    app.engine._database = unsure
    return unsure


runs: Counter[int] = Counter()
let_go = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    runs.clear()
    let_go.clear()


def count() -> None:
    runs[embedq.current_job().id] += 1


def count_and_wait() -> None:
    count()
    assert let_go.wait(10)


def endings(job: embedq.JobHandle) -> list[Ending]:
    return [attempt.ending for attempt in job.attempts()]


def dispatcher_of(app: embedq.EmbedQ) -> Dispatcher:
    assert app.engine.runtime is not None
    return app.engine.runtime.dispatcher


def has_a_worker(feeder: Dispatcher) -> bool:
    """Whether one would be reserved now."""
    reservation = Reservation()
    reserved = feeder.hand_over.reserve(reservation)
    feeder.hand_over.cancel(reservation)
    return reserved


def test_whether_a_worker_is_idle_is_checked_when_it_is_the_inserts_turn(
    app: embedq.EmbedQ, unsure: UnsureDatabase
) -> None:
    """What waited when it was enqueued may be claimed by then."""
    turn_comes, insert_comes = threading.Event(), threading.Event()
    handed_over: list[bool] = []

    def insert_after_the_turn(function: Any, *args: Any, **kwargs: Any) -> bool:
        if function is turn and args[1] is not None:
            turn_comes.set()
            assert insert_comes.wait(10)
        elif an_insert(function):
            insert_comes.set()
            eventually(lambda: has_a_worker(dispatcher_of(app)))
            handed_over.append(a_hand_over(function, *args, **kwargs))
        return False

    app.start()
    eventually(lambda: has_a_worker(dispatcher_of(app)))
    unsure.lose(insert_after_the_turn, happens=True)
    dispatcher_of(app).notify(0)
    assert turn_comes.wait(10)
    assert not has_a_worker(dispatcher_of(app)), "something may wait"
    assert app.enqueue(count).wait(10) is JobState.SUCCEEDED
    assert handed_over == [True]


def test_a_caller_that_left_before_the_insert_has_no_worker_reserved(app: embedq.EmbedQ) -> None:
    """By Ctrl-C, for example, while another thread was about to write for it."""
    app.start()
    feeder = dispatcher_of(app)
    reservation = Reservation()
    feeder.hand_over.cancel(reservation, uncertain=True)
    eventually(lambda: has_a_worker(feeder))
    assert not feeder.hand_over.reserve(reservation)
    assert not feeder.busy
    assert app.enqueue(count).wait(10) is JobState.SUCCEEDED


def test_a_job_that_was_handed_over_in_a_commit_without_an_answer_runs_all_the_same(
    app: embedq.EmbedQ, unsure: UnsureDatabase
) -> None:
    def enqueue_until_one_is_handed_over() -> None:
        # A worker takes a moment to be idle.
        while not unsure.lost:
            app.enqueue(count).wait(10)

    app.start()
    unsure.lose(a_hand_over, happens=True)
    with pytest.raises(StorageUncertainError):
        enqueue_until_one_is_handed_over()
    [job, *_] = app.jobs(limit=1)
    handle = app.job(job.id)
    assert handle.wait(10) is JobState.SUCCEEDED
    assert (runs[job.id], handle.snapshot().attempt, handle.snapshot().crashes) == (1, 1, 0)
    # And workers are promised to jobs again.
    unsure.lose(a_hand_over, happens=False)
    with pytest.raises(StorageUncertainError):
        enqueue_until_one_is_handed_over()


@pytest.mark.parametrize("again", [0, 2])
@pytest.mark.parametrize("happens", [True, False])
def test_jobs_of_a_turn_without_an_answer_end_once_and_start_once(
    app: embedq.EmbedQ, unsure: UnsureDatabase, happens: bool, again: int
) -> None:
    app.start()
    first = app.enqueue(count_and_wait)
    eventually(lambda: runs[first.id])
    child = first.then(count)
    second = app.enqueue(count)
    unsure.lose(a_turn_that_ends_a_job_and_claims, happens=happens)
    for _ in range(again):
        # To ask what happened may fail as well.
        unsure.lose(a_reconciliation, happens=True)
    let_go.set()
    for job in (first, second, child):
        assert job.wait(10) is JobState.SUCCEEDED
        assert (runs[job.id], job.snapshot().crashes, endings(job)) == (1, 0, [Ending.SUCCEEDED])
    assert unsure.lost
    assert app.stop()
    # Nothing was counted twice.
    assert app.stats().last_hour[Ending.SUCCEEDED] == 3


def test_a_failure_that_was_recorded_without_an_answer_is_not_recorded_again(
    app: embedq.EmbedQ, unsure: UnsureDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job(name="holdings:fail", retry=embedq.NO_RETRY)
    def fail() -> None:
        count_and_wait()
        raise ValueError("no")

    app.start()
    job = app.enqueue(fail)
    eventually(lambda: runs[job.id])
    unsure.lose(lambda function, *args, **_: function is turn and bool(args[0]), happens=True)
    let_go.set()
    assert job.wait(10) is JobState.DEAD
    assert app.stop()
    assert (runs[job.id], endings(job)) == (1, [Ending.FAILED])
    assert app.stats().last_hour[Ending.FAILED] == 1
    assert "was refused" not in caplog.text


def test_a_job_that_is_just_being_handed_over_is_not_taken_for_a_stray(
    app: embedq.EmbedQ, unsure: UnsureDatabase
) -> None:
    """It is in the database, and its worker has not heard of it, when the two are to be compared."""
    app.start()
    runtime = app.engine.runtime
    assert runtime is not None
    compared = threading.Event()

    def reconciles(function: object, *_: object, **__: object) -> bool:
        if found := a_reconciliation(function):
            compared.set()
        return found

    def doubt_and_look() -> None:
        unsure.after_hand_over = None
        unsure.lose(reconciles, happens=True)
        runtime.dispatcher.mark_uncertain()
        assert not compared.wait(0.1)

    unsure.after_hand_over = doubt_and_look
    job = app.enqueue(count)
    while unsure.after_hand_over is not None:
        # A worker takes a moment to be idle; until then, jobs are claimed.
        assert job.wait(10) is JobState.SUCCEEDED
        job = app.enqueue(count)
    assert compared.wait(10)
    unsure._losing.clear()
    assert job.wait(10) is JobState.SUCCEEDED
    assert (runs[job.id], job.snapshot().attempt, endings(job)) == (1, 1, [Ending.SUCCEEDED])


def give_up(app: embedq.EmbedQ) -> None:
    """As another process does that sees neither its lock nor its heartbeats."""
    runtime = app.engine.runtime
    assert runtime is not None
    app.database.write(
        servers.rescue,
        runtime.membership.registration.server_id,
        started=None,
        now=app.clock.now(),
        max_crashes=3,
        retention=app.settings.retention,
    )


def test_a_process_that_was_given_up_on_interrupts_the_runs_that_were_taken_from_it(app: embedq.EmbedQ) -> None:
    running: Counter[int] = Counter()
    most: Counter[int] = Counter()
    interrupted: list[int] = []

    def body(pause: Callable[[], None]) -> None:
        job = embedq.current_job()
        running[job.id] += 1
        most[job.id] = max(most[job.id], running[job.id])
        try:
            while job.claim == 1:
                pause()
        except (embedq.JobStopped, asyncio.CancelledError):
            interrupted.append(job.id)
            raise
        finally:
            running[job.id] -= 1

    @app.job(name="holdings:on_a_thread")
    def on_a_thread() -> None:
        body(lambda: time.sleep(0.005))

    @app.job(name="holdings:on_the_loop")
    async def on_the_loop() -> None:
        job = embedq.current_job()
        try:
            while job.claim == 1:
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            interrupted.append(job.id)
            raise

    app.start()
    taken = [app.enqueue(on_a_thread), app.enqueue(on_the_loop)]
    eventually(lambda: all(job.state is JobState.RUNNING for job in taken) and running)
    give_up(app)
    for job in taken:
        assert job.wait(10) is JobState.SUCCEEDED
        eventually(lambda job=job: endings(job) == [Ending.RELEASED, Ending.SUCCEEDED])
        assert job.snapshot().crashes == 0
    assert sorted(interrupted) == [job.id for job in taken]
    assert max(most.values()) == 1


def test_a_process_whose_new_registration_got_no_answer_has_one_number_and_continues(
    app: embedq.EmbedQ, unsure: UnsureDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    app.start()
    unsure.lose(lambda function, *_, **__: function is servers.register_anew, happens=True)
    give_up(app)
    eventually(lambda: unsure.lost and "registers again" in caplog.text)
    runtime = app.engine.runtime
    assert runtime is not None
    eventually(lambda: [server.id for server in app.servers()] == [runtime.membership.registration.server_id])
    assert app.enqueue(count).wait(10) is JobState.SUCCEEDED


def test_a_job_that_is_handed_over_while_the_process_is_given_up_on_runs_once(
    app: embedq.EmbedQ, unsure: UnsureDatabase
) -> None:
    """It is inserted under a number that no process has by then."""
    handed_over: list[bool] = []

    def given_up_on_just_before(function: Any, *args: Any, **kwargs: Any) -> bool:
        if a_hand_over(function, *args, **kwargs):
            handed_over.append(True)
            give_up(app)
        return False

    app.start()
    runtime = app.engine.runtime
    assert runtime is not None
    number = runtime.membership.registration.server_id
    unsure.lose(given_up_on_just_before, happens=True)
    # A worker takes a moment to be idle; until then jobs are queued.
    while True:
        job = app.enqueue(count_and_wait)
        if handed_over:
            break
        let_go.set()
        assert job.wait(10) is JobState.SUCCEEDED
        let_go.clear()
    unsure._losing.clear()
    eventually(lambda: runs[job.id])
    eventually(lambda: job.snapshot().server not in (None, number))
    let_go.set()
    assert job.wait(10) is JobState.SUCCEEDED
    assert (runs[job.id], job.snapshot().attempt) == (1, 1)

"""What runs in the middle of embedq's own code and calls embedq again: finalizers, signal handlers, callbacks.

A call is refused at once when its thread is inside another one. Nothing waits for itself, and nothing is torn.
"""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import JobState
from embedq.storage.base import Transaction
from tests.connections import WAYS, Held, Way
from tests.databases import Home, SQLiteHome
from tests.support import Child

Verb = Callable[[], object]


def noop() -> None:
    pass


class Finalizer:
    """Calls embedq when the garbage collector finds it, and remembers what came of it."""

    def __init__(self, verb: Verb, said: list[str]) -> None:
        self._verb = verb
        self._said = said
        self.itself = self

    def __del__(self) -> None:
        try:
            self._verb()
            self._said.append("done")
        except Exception as error:
            self._said.append(type(error).__name__)


def on(url: str, **settings: Any) -> embedq.EmbedQ:
    app = embedq.EmbedQ(url, secret_key="a key of the tests", **settings).connect()
    app.job(noop)
    return app


@pytest.fixture
def queue(url: str) -> Iterator[embedq.EmbedQ]:
    app = on(url, workers=2, stop_timeout=20)
    yield app
    app.close()


VERBS: dict[str, Callable[[embedq.EmbedQ], object]] = {
    "enqueue": lambda app: app.enqueue(noop),
    "enqueue many": lambda app: app.enqueue_many([app.call(noop)]),
    "cancel": lambda app: app.engine.database and app._parts.stored.cancel_job(embedq.JobId(1)),
    "stats": lambda app: app.stats(),
    "job": lambda app: app.job(1),
    "close": lambda app: app.close(),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", ["write", "read"])
def test_a_finalizer_that_runs_in_the_middle_of_a_call_is_refused_at_once(
    queue: embedq.EmbedQ, verb: str, way: str
) -> None:
    queue.enqueue(noop)
    said: list[str] = []

    def collect(tx: Transaction) -> None:
        Finalizer(lambda: VERBS[verb](queue), said)
        gc.collect()

    getattr(queue.database, way)(collect)
    assert said == ["ReentryError"]
    # And nothing is left of it: this thread is as welcome as before.
    queue.enqueue(noop)
    assert queue.count_jobs(state=JobState.READY) == 2


@pytest.mark.parametrize("verb", ["result", "stop"])
def test_a_finalizer_on_a_thread_that_jobs_need_may_not_wait_for_them(queue: embedq.EmbedQ, verb: str) -> None:
    later = queue.enqueue_in(3600, noop)
    said: list[str] = []
    verbs: dict[str, Verb] = {"result": later.result, "stop": queue.stop}

    def wait() -> None:
        try:
            verbs[verb]()
        except embedq.ReentryError as error:
            said.append(str(error))

    with queue.start():
        dispatcher = threading.Thread(target=wait, name="embedq-dispatcher")
        dispatcher.start()
        dispatcher.join(30)
        assert "embedq-dispatcher, is embedq's own" in said[0]
        assert queue.enqueue(noop).wait(30) is JobState.SUCCEEDED


def test_the_refusal_states_what_to_do(queue: embedq.EmbedQ) -> None:
    with pytest.raises(embedq.ReentryError, match=r"nothing was done.*queue\.SimpleQueue"):
        queue.database.write(lambda tx: queue.enqueue(noop))


def test_a_storm_of_finalizers_in_every_thread_leaves_all_jobs_done(home: Home, url: str) -> None:
    script = """
        import gc, sys, threading, time, embedq
        app = embedq.EmbedQ(sys.argv[1], workers=3, stop_timeout=50)
        said = {"accepted": 0, "refused": 0}
        lock = threading.RLock()

        @app.job(name="later")
        def later(): pass

        class Last:
            def __init__(self):
                self.itself = self

            def __del__(self):
                try:
                    app.enqueue_in(3600, later)
                    word = "accepted"
                except embedq.ReentryError:
                    word = "refused"
                with lock:
                    said[word] += 1

        @app.job(name="litter")
        def litter():
            for _ in range(3):
                Last()

        app.start()
        # The collector runs in whichever thread makes a few objects, in the middle of whatever it does.
        gc.set_threshold(7, 1, 1)
        handles = [app.enqueue(litter) for _ in range(60)]
        for handle in handles:
            handle.result(100)
        gc.set_threshold(0)
        # A collection does nothing while another thread is in the middle of one, and that may be a finalizer's enqueue.
        until = time.monotonic() + 60
        while sum(said.values()) < 180 and time.monotonic() < until:
            gc.collect()
            time.sleep(0.01)
        assert app.stop(50)
        print(said["accepted"], said["refused"])
    """
    accepted, refused = map(int, Child(script, url).finish(170).split())
    assert accepted + refused == 180
    assert home.execute(url, "SELECT count(*) FROM embedq_jobs WHERE state = 'scheduled'") == [(accepted,)]


def test_a_storm_of_signals_whose_handler_enqueues_leaves_every_accepted_job(home: Home, url: str) -> None:
    script = """
        import signal, sys, embedq
        app = embedq.EmbedQ(sys.argv[1]).connect()
        accepted = refused = 0

        @app.job(name="noop")
        def noop(): pass

        def handle(signum, frame):
            global accepted, refused
            try:
                app.enqueue(noop)
                accepted += 1
            except embedq.ReentryError:
                refused += 1

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(200):
            app.enqueue(noop)
        while not (accepted and refused):
            app.enqueue(noop)
            accepted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(accepted + 200)
        app.close()
    """
    accepted = int(Child(script, url).finish(120))
    assert home.execute(url, "SELECT count(*) FROM embedq_jobs") == [(accepted,)]


def test_a_callback_in_the_middle_of_an_enqueue_on_the_applications_connection_is_refused(tmp_path: Path) -> None:
    app = on(SQLiteHome().fresh(tmp_path))
    connection = sqlite3.connect(tmp_path / "jobs.db")
    said: list[str] = []

    def traced(sql: str) -> None:
        try:
            app.enqueue(noop)
        except embedq.ReentryError as error:
            said.append(str(error))

    with app.transaction(connection):
        connection.execute("BEGIN IMMEDIATE")
        connection.set_trace_callback(traced)
        app.enqueue(noop)
        connection.set_trace_callback(None)
    connection.commit()
    connection.close()
    assert said
    assert app.count_jobs(state=JobState.READY) == 1
    app.close()


def say_on_notice(held: Held, call: Callable[[], None]) -> None:
    held.target.add_notice_handler(lambda notice: call())
    held.execute("DO $$ BEGIN RAISE NOTICE 'here'; END $$")


def say_on_encoding(held: Held, call: Callable[[], None]) -> None:
    class Strange:
        pass

    def encode(value: Strange, mapping: object) -> str:
        call()
        return "1"

    held.target.encoders = {**held.target.encoders, Strange: encode}
    held.target.cursor().execute("SELECT %s", (Strange(),))


CALL_BACK = {"psycopg": say_on_notice, "pymysql": say_on_encoding}


@pytest.mark.parametrize("way", [way for way in WAYS if way.name in CALL_BACK], ids=attrgetter("name"))
def test_a_callback_in_the_middle_of_the_applications_own_statement_may_not_enqueue_on_its_connection(
    way: Way, home_of: Callable[[str], Home], tmp_path: Path
) -> None:
    app = on(home_of(way.kind).fresh(tmp_path))
    held = way.open(app.settings.url)
    said: list[str] = []

    def call() -> None:
        try:
            app.enqueue(noop)
        except embedq.ReentryError as error:
            said.append(str(error))

    try:
        with app.transaction(held.target):
            app.enqueue(noop)
            CALL_BACK[way.name](held, call)
            assert "in the middle of a statement on this connection" in said[0]
            app.enqueue(noop)
        held.commit()
        assert app.count_jobs(state=JobState.READY) == 2
    finally:
        held.close()
        app.close()


def test_an_interrupt_is_not_lost_in_a_handler_that_enqueues_while_it_is_delivered() -> None:
    script = """
        import signal
        from embedq import JobTimeout
        from embedq.process.interrupts import Interruptible
        thread = Interruptible()

        def handle(signum, frame):
            thread.enter_shield()
            thread.leave_shield()

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        for _ in range(20_000):
            interrupt = thread.next_run()
            thread.arm()
            thread.enter_shield()
            assert interrupt(JobTimeout)
            try:
                thread.leave_shield()
            except JobTimeout:
                continue
            raise AssertionError("it was not raised")
        signal.setitimer(signal.ITIMER_REAL, 0)
    """
    Child(script).finish(60)


def test_what_a_jobs_process_sends_in_a_handler_does_not_tear_what_it_is_sending() -> None:
    script = """
        import os, signal, threading
        from embedq.worker.processes.child import HostPipe
        from embedq.worker.processes.protocol import read_frame
        read, write = os.pipe()
        pipe, heard, said = HostPipe(-1, write), [], 0

        def hear():
            while (frame := read_frame(read)) is not None:
                heard.append(frame)

        def handle(signum, frame):
            global said
            said += 1
            pipe.send("inner", said)

        reader = threading.Thread(target=hear)
        reader.start()
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for number in range(500):
            pipe.send("outer", "x" * 200_000)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(write)
        reader.join()
        assert len(heard) == 500 + said, (len(heard), said)
    """
    Child(script).finish(60)

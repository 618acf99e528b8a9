"""Threads of the engine that end unexpectedly: they are started again, and what they held is not lost."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

import embedq
from embedq import NO_RETRY, Ending, Guard, JobState
from embedq.cli import main
from embedq.process import supervision
from embedq.process.interrupts import starts_a_thread
from embedq.worker.claim_planner import ClaimPlanner
from embedq.worker.dispatcher import Dispatcher
from embedq.worker.execution import Execution
from embedq.worker.outcome_queue import OutcomeQueue
from embedq.worker.turn import TurnRunner
from tests.support import cli_runner, eventually
from tests.worker import process_jobs

go_on = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    go_on.clear()
    supervision._restarts.clear()
    yield
    go_on.set()
    supervision._restarts.clear()


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A second exception may come while the first is being noted, and a third while pytest's own hook formats that.
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    # One may come in a finalizer, or between the opening of a connection and the line that sees to its end.
    def unraisable(found: Any) -> None:
        if not isinstance(found.exc_value, SystemExit | ResourceWarning):
            hook(found)

    hook = sys.unraisablehook
    monkeypatch.setattr(sys, "unraisablehook", unraisable)
    yield
    gc.collect()


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    app = embedq.EmbedQ(
        url, workers=2, processes=1, guard=Guard(), stop_timeout=10, secret_key="a secret of the tests"
    ).connect()
    app.start()
    yield app
    go_on.set()
    assert app.stop(timeout=10)
    app.close()


def is_logging(ident: int) -> bool:
    """Whether the thread is in the logging module, whose locks an exception at any line would leave locked."""
    frame = sys._current_frames().get(ident)
    while frame is not None and frame.f_code.co_filename != logging.__file__:
        frame = frame.f_back
    return frame is not None


def kill(name: str) -> None:
    """Raise SystemExit in every thread of this name, at whatever line it is or comes to next, but for logging.

    And not while it starts a thread, which would get the exception instead of it.
    """
    for thread in threading.enumerate():
        if not thread.name.startswith(name) or thread.ident is None:
            continue
        if not is_logging(thread.ident) and not starts_a_thread(thread.ident):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def answer(n: int) -> int:
    return n


async def answer_later(n: int) -> int:
    await asyncio.sleep(0)
    return n


def wait_to_go_on(n: int) -> int:
    go_on.wait()
    return n


@pytest.mark.parametrize(
    "name",
    [
        "embedq-dispatcher", "embedq-worker", "embedq-watchdog", "embedq-heartbeat", "embedq-leader", "embedq-guard",
        "embedq-listener", "embedq-async", "embedq-process", "embedq-offload", "embedq-",
    ],
)  # fmt: skip
def test_jobs_run_and_are_recorded_whichever_thread_is_killed(app: embedq.EmbedQ, name: str) -> None:
    def all_kinds() -> None:
        handles = [app.enqueue(answer, n) for n in range(20)] + [app.enqueue(answer_later, n) for n in range(5)]
        assert [handle.result(30) for handle in handles] == [*range(20), *range(5)]
        assert app.enqueue(process_jobs.report, 1, b=2).result(30)["sum"] == 3
        assert asyncio.run(later()) == 7

    async def later() -> int:
        handle = await app.aenqueue(answer, 7)
        result: int = await handle.aresult(30)
        return result

    all_kinds()
    for _ in range(3):
        kill(name)
        all_kinds()
    # Its time is kept, and recurring jobs are fired.
    late = app.options(timeout=0.1, retry=NO_RETRY).enqueue(asyncio.sleep, 60)
    assert late.wait(30) is JobState.DEAD
    app.recurring("often", embedq.every(seconds=1), answer, 1)
    eventually(lambda: app.jobs(name="tests.process.test_supervision:answer", limit=100), seconds=30)
    eventually(lambda: not app.stats().counts[JobState.RUNNING], seconds=30)


def test_jobs_in_a_stream_survive_a_dispatcher_that_is_killed_again_and_again(app: embedq.EmbedQ) -> None:
    handles = []
    until = time.monotonic() + 2
    n = 0
    while time.monotonic() < until:
        handles += app.enqueue_many([app.call(answer, n + i) for i in range(20)])
        handles.append(app.enqueue(answer_later, n))
        kill("embedq-dispatcher")
        n += 20
    assert all(handle.wait(60) is JobState.SUCCEEDED for handle in handles)
    eventually(lambda: not app.stats().counts[JobState.RUNNING], seconds=30)
    assert supervision.restarts()["embedq-dispatcher"].count > 1


def test_workers_that_are_killed_again_and_again_lose_no_job(app: embedq.EmbedQ) -> None:
    handles = []
    until = time.monotonic() + 2
    while time.monotonic() < until:
        handles += app.enqueue_many([app.options(retry=NO_RETRY).task(answer).call(n) for n in range(50)])
        kill("embedq-worker")
    # Where it landed in the job, the job failed; where it landed in embedq, so that its thread ended, too.
    assert {handle.wait(60) for handle in handles} <= {JobState.SUCCEEDED, JobState.DEAD}
    eventually(lambda: not app.stats().counts[JobState.RUNNING], seconds=30)
    # Nothing is left that would wait for workers that are not there.
    assert [app.enqueue(answer, n).result(30) for n in range(5)] == [0, 1, 2, 3, 4]
    both = [app.enqueue(wait_to_go_on, n) for n in range(2)]
    eventually(lambda: app.stats().counts[JobState.RUNNING] == 2)
    go_on.set()
    assert [handle.result(30) for handle in both] == [0, 1]


def raise_once(where: type, name: str, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let a method end its thread, the first time, before or after it has done its work."""
    method = getattr(where, name)
    left = [1]

    def raising(self: Any, *args: Any, **kwargs: Any) -> Any:
        if after:
            result = method(self, *args, **kwargs)
        if left:
            left.clear()
            raise SystemExit(3)
        return result if after else method(self, *args, **kwargs)

    monkeypatch.setattr(where, name, raising)


@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("where", "method"),
    [
        (OutcomeQueue, "take"),
        (TurnRunner, "_after"),
        (TurnRunner, "settle"),
        (TurnRunner, "_start"),
        (ClaimPlanner, "request"),
        (Dispatcher, "_poll"),
        (Dispatcher, "_pause"),
    ],
)
def test_a_dispatcher_that_ends_at_any_step_loses_nothing(
    app: embedq.EmbedQ, monkeypatch: pytest.MonkeyPatch, where: type, method: str, after: bool
) -> None:
    raise_once(where, method, monkeypatch, after=after)
    handles = app.enqueue_many([app.call(answer, n) for n in range(100)])
    handles += app.enqueue_many([app.call(answer_later, n) for n in range(10)])
    assert [handle.result(30) for handle in handles] == [*range(100), *range(10)]
    eventually(lambda: not app.stats().counts[JobState.RUNNING], seconds=30)
    assert supervision.restarts()["embedq-dispatcher"].count == 1


@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
def test_a_job_whose_worker_ends_fails_by_its_policy(app: embedq.EmbedQ, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_once(Execution, "classify", monkeypatch, after=False)
    handle = app.options(retry=NO_RETRY).enqueue(answer, 1)
    assert handle.wait(30) is JobState.DEAD
    [attempt] = handle.attempts()
    assert attempt.ending is Ending.FAILED
    assert attempt.error is not None
    assert "the thread that ran this job ended: SystemExit: 3" in attempt.error
    assert app.enqueue(answer, 2).result(30) == 2


@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
def test_restarts_are_reported_by_doctor_the_dashboard_and_the_monitor(app: embedq.EmbedQ, url: str) -> None:
    kill("embedq-leader")
    eventually(lambda: any(server.restarts for server in app.servers()), seconds=30)
    [server] = app.servers()
    [told] = server.restarts
    assert (told.thread, told.count, told.reason) == ("embedq-leader", 1, "SystemExit")
    result = cli_runner().invoke(main, ["doctor", "--url", url], env={"EMBEDQ_URL": None})
    assert "ended unexpectedly" in result.output
    assert "embedq-leader: 1 times, last SystemExit" in result.output
    page = _page(app, "/servers")
    assert "embedq-leader" in page
    assert "ended unexpectedly" in page


def _page(app: embedq.EmbedQ, path: str) -> str:
    from starlette.testclient import TestClient

    from embedq.dashboard import asgi

    client = TestClient(asgi(app, authorize=lambda request: True))
    return client.get(path).text


def test_a_thread_that_is_gone_altogether_is_found(app: embedq.EmbedQ) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)

    thread = supervision.start("embedq-test", work)
    thread.join(10)
    assert not thread.is_alive()
    supervision.restart_ended()
    assert len(calls) == 1
    # As when the second exception comes while the first is being noted.
    thread._done = False
    supervision.restart_ended()
    eventually(lambda: len(calls) == 2)
    assert supervision.restarts()["embedq-test"].reason == "RuntimeError: its thread was gone"


def test_work_that_fails_again_and_again_is_begun_with_growing_pauses() -> None:
    began: list[float] = []

    def work() -> None:
        began.append(time.monotonic())
        if len(began) < 7:
            raise RuntimeError("not yet")

    thread = supervision.start("embedq-test", work)
    eventually(lambda: not thread.is_alive())
    pauses = [later - earlier for earlier, later in pairwise(began)]
    assert pauses[-1] > 0.3 > pauses[0]
    assert supervision.restarts()["embedq-test"].count == 6

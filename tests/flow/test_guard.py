"""The guard: what it sees of requests, what it decides, and jobs that wait while requests do not."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import ConfigurationError, EmbedQ, Guard, JobState
from embedq.config import Settings
from embedq.worker.governor import CALM_WINDOWS, Processor, ThreadThrottle
from tests.support import eventually

MOST = 10
WAITS, CALM = 0.02, 0.0001
go_on = threading.Event()
running: list[int] = []
began: list[int] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    go_on.clear()
    running.clear()
    began.clear()
    yield
    go_on.set()


def compute(number: int) -> None:
    began.append(number)
    running.append(number)
    try:
        total = 0
        for step in range(200_000):
            total += step
    finally:
        running.remove(number)


def compute_until_told(number: int) -> None:
    began.append(number)
    while not go_on.is_set():
        pass


def wait_until_told(number: int) -> None:
    began.append(number)
    go_on.wait(30)


async def note(number: int) -> None:
    began.append(number)


# -- what it decides -------------------------------------------------------------------------------------------------


def step(throttle: ThreadThrottle, delay: float, **given: Any) -> int:
    return throttle.step(**{"delay": delay, "requests": True, "slow": False, "running": MOST, "now": 0.0, **given})


def test_jobs_are_held_back_by_halves_and_let_go_one_by_one() -> None:
    throttle = ThreadThrottle(Guard(), MOST)
    assert [step(throttle, WAITS, running=throttle.limit) for _ in range(4)] == [5, 2, 1, 0]
    assert not throttle.open

    limits = [step(throttle, CALM, now=1.0) for _ in range(CALM_WINDOWS * MOST)]
    assert limits == sorted(limits)
    assert limits[0] == 1
    assert limits[-1] == MOST
    assert throttle.open


def test_what_is_neither_long_nor_short_changes_nothing() -> None:
    throttle = ThreadThrottle(Guard(delay=0.002), MOST)
    step(throttle, WAITS)
    assert {step(throttle, 0.0015) for _ in range(20)} == {5}


def test_as_few_as_run_are_halved_not_as_many_as_might() -> None:
    assert step(ThreadThrottle(Guard(), MOST), WAITS, running=2) == 1


def test_where_no_job_runs_jobs_are_not_what_is_in_the_way() -> None:
    assert step(ThreadThrottle(Guard(), MOST), WAITS, running=0) == MOST


def test_without_requests_one_job_may_always_run() -> None:
    throttle = ThreadThrottle(Guard(), MOST)
    assert [step(throttle, WAITS, requests=False) for _ in range(6)][-1] == 1
    assert step(throttle, WAITS, requests=True, running=1) == 0
    assert step(throttle, WAITS, requests=False, running=1) == 1


def test_however_long_requests_suffer_a_job_starts_now_and_then() -> None:
    throttle = ThreadThrottle(Guard(one_job_every=2.0), 1)
    assert step(throttle, WAITS, running=1, now=10.0) == 0
    assert step(throttle, WAITS, running=0, now=11.9) == 0
    assert step(throttle, WAITS, running=0, now=12.0) == 1
    # Until it has started: whoever claims it may be slow.
    assert step(throttle, WAITS, running=0, now=12.5) == 1
    assert step(throttle, WAITS, running=1, now=12.6) == 0
    assert step(throttle, WAITS, running=0, now=14.5) == 0
    assert step(throttle, WAITS, running=0, now=14.6) == 1


def test_slow_requests_hold_jobs_back_even_where_threads_do_not_wait() -> None:
    assert step(ThreadThrottle(Guard(latency=0.5), MOST), CALM, slow=True) == 5


def test_what_a_thread_waits_for_a_processor_is_known_or_taken_for_nothing() -> None:
    began = time.monotonic()
    with Processor() as processor:
        before = processor.waited()
        compute(0)
        waited = processor.waited() - before
    assert 0 <= waited <= time.monotonic() - began


# -- what it sees of requests ----------------------------------------------------------------------------------------


def test_a_wsgi_request_is_one_while_the_application_is_called() -> None:
    guard, body = Guard(), [b"hello"]
    seen: list[int] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(guard.requests.in_flight)
        if environ is None:
            raise LookupError
        return body

    assert not guard.requests.present(time.monotonic())
    assert guard.wsgi(app)({}, None) is body
    with pytest.raises(LookupError):
        guard.wsgi(app)(None, None)
    assert seen == [1, 1]
    assert guard.requests.in_flight == 0
    # Traffic for a moment longer.
    assert guard.requests.present(time.monotonic())
    assert not guard.requests.present(time.monotonic() + 60)


def drive(coroutine: Any) -> None:
    """Run one that never really waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def send(message: Any) -> None:
    pass


@pytest.mark.parametrize(("kind", "before", "after"), [("http", 1, 0), ("websocket", 0, 0), ("lifespan", 0, 0)])
def test_an_asgi_request_is_one_until_its_response_begins(kind: str, before: int, after: int) -> None:
    guard = Guard()
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(guard.requests.in_flight)
        await send({"type": "http.response.start"})
        seen.append(guard.requests.in_flight)
        await send({"type": "http.response.body"})

    drive(guard.asgi(app)({"type": kind}, receive, send))
    assert seen == [before, after]


def test_an_asgi_request_that_fails_has_ended() -> None:
    guard = Guard()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        guard.asgi(app)({"type": "http"}, receive, send).send(None)  # type: ignore[attr-defined]
    assert guard.requests.in_flight == 0


def test_requests_are_slow_when_one_in_twenty_is_and_those_without_an_answer_count() -> None:
    requests = Guard().requests
    now = time.monotonic()
    for _ in range(40):
        requests.end(requests.begin())
    assert not requests.slow(now, 0.5)
    for _ in range(4):
        requests.begin()
    assert not requests.slow(now + 0.4, 0.5)
    assert requests.slow(now + 0.6, 0.5)


# -- what can be set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"delay": 0}, "delay=0 must be seconds, from 0.0005"),
        ({"delay": None}, "delay=None must be seconds"),
        ({"latency": "fast"}, "latency='fast' must be seconds, from 0.001 to 3600, or None"),
        ({"one_job_every": float("inf")}, "one_job_every=inf must be seconds"),
        ({"switch_interval": True}, "switch_interval=True must be seconds"),
    ],
)
def test_values_that_cannot_work_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Guard(**given)


def test_the_setting_is_a_guard_or_true_or_false_or_from_the_environment() -> None:
    strict = Guard(delay=0.001)
    assert Settings.gather({"guard": strict}, {}).guard is strict
    assert Settings.gather({"guard": True}, {}).guard == Guard()
    assert Settings.gather({}, {"EMBEDQ_GUARD": "true"}).guard == Guard()
    assert Settings.gather({"guard": False}, {"EMBEDQ_GUARD": "true"}).guard is None
    assert Settings.gather({}, {}).guard is None
    with pytest.raises(ConfigurationError, match=r"guard=1 must be True or an embedq\.Guard"):
        Settings.gather({"guard": 1}, {})
    with pytest.raises(ConfigurationError, match="EMBEDQ_GUARD='maybe' is not a valid guard: write true or false"):
        Settings.gather({}, {"EMBEDQ_GUARD": "maybe"})


def test_a_guard_goes_to_other_processes_without_what_it_has_seen() -> None:
    guard = Guard(latency=0.5)
    guard.requests.begin()
    there = pickle.loads(pickle.dumps(guard))
    assert there == guard
    assert there.requests.in_flight == 0


# -- in an app -------------------------------------------------------------------------------------------------------


def started(folder: Path, guard: Guard, **settings: Any) -> EmbedQ:
    return EmbedQ(f"sqlite:///{folder / 'jobs.db'}", guard=guard, durability="normal", sigterm=False, **settings)


def test_the_interpreters_turns_are_short_while_the_app_is_started(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    with started(tmp_path, Guard(switch_interval=0.0007)).start():
        assert sys.getswitchinterval() == pytest.approx(0.0007)
    assert sys.getswitchinterval() == pytest.approx(before)
    with started(tmp_path, Guard(switch_interval=None)).start():
        assert sys.getswitchinterval() == pytest.approx(before)


def test_jobs_that_compute_run_one_at_a_time_and_lose_none(tmp_path: Path) -> None:
    guard = Guard(delay=0.0005, switch_interval=None)
    with started(tmp_path, guard, workers=4).start() as app:
        handles = app.enqueue_many([app.call(compute, number) for number in range(300)])
        assert app.engine.runtime is not None
        dispatcher = app.engine.runtime.dispatcher
        eventually(lambda: dispatcher.threads_limit == 1 and len(running) == 1)
        for handle in handles:
            handle.wait(30)
    assert sorted(began) == list(range(300))


def test_while_there_are_requests_none_starts_until_they_are_over(tmp_path: Path) -> None:
    guard = Guard(delay=0.0005, one_job_every=3600, switch_interval=None)
    with started(tmp_path, guard, workers=2).start() as app:
        assert app.engine.runtime is not None
        dispatcher = app.engine.runtime.dispatcher
        request = guard.requests.begin()
        long = app.enqueue_many([app.call(compute_until_told, number) for number in (1, 2)])
        eventually(lambda: dispatcher.threads_limit == 0)
        # Those that run go on; others wait in the queue, for whoever else takes them.
        later, later_still = app.enqueue(compute, 3), app.enqueue(note, 4)
        go_on.set()
        for handle in long:
            handle.wait(10)
        assert sorted(began) == [1, 2]
        assert later.state == later_still.state == "ready"
        guard.requests.end(request)
        later.wait(10)
        later_still.wait(10)


def test_jobs_that_wait_are_left_alone(tmp_path: Path) -> None:
    guard = Guard(delay=1.0)
    with started(tmp_path, guard, workers=4).start() as app:
        guard.requests.begin()
        handles = [app.enqueue(wait_until_told, number) for number in range(4)]
        eventually(lambda: len(began) == 4)
        go_on.set()
        assert {handle.wait(10) for handle in handles} == {JobState.SUCCEEDED}


def test_an_app_without_a_guard_has_no_thread_for_it(tmp_path: Path) -> None:
    with embedq.EmbedQ(f"sqlite:///{tmp_path / 'jobs.db'}", sigterm=False).start():
        assert "embedq-guard" not in {thread.name for thread in threading.enumerate()}


def test_a_jobs_own_process_steps_back_for_the_app(tmp_path: Path) -> None:
    with started(tmp_path, Guard(), processes=1, process_nice=3).start() as app:
        assert app.options(executor="process").enqueue(os.nice, 0).result(timeout=30) == min(19, os.nice(0) + 3)
    with pytest.raises(ConfigurationError, match="process_nice=20 must be a whole number from 0 to 19"):
        started(tmp_path, Guard(), process_nice=20)


# -- in the frameworks -----------------------------------------------------------------------------------------------


def in_flight(guard: Guard | None) -> str:
    return "no guard" if guard is None else str(guard.requests.in_flight)


def test_fastapi_is_guarded_by_its_lifespan(tmp_path: Path) -> None:
    fastapi = pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient")
    from embedq.contrib.fastapi import lifespan

    queue = started(tmp_path, Guard())
    app = fastapi.FastAPI(lifespan=lifespan(queue))
    app.get("/")(lambda: in_flight(queue.settings.guard))
    for _ in range(2):
        with testclient.TestClient(app) as client:
            assert client.get("/").json() == "1"
    assert queue.settings.guard is not None
    assert queue.settings.guard.requests.in_flight == 0


def test_litestar_is_guarded_by_its_plugin(tmp_path: Path) -> None:
    litestar = pytest.importorskip("litestar")
    testing = pytest.importorskip("litestar.testing")
    from embedq.contrib.litestar import EmbedQPlugin

    queue = started(tmp_path, Guard())

    @litestar.get("/", sync_to_thread=False)
    def show() -> str:
        return in_flight(queue.settings.guard)

    with testing.TestClient(litestar.Litestar([show], plugins=[EmbedQPlugin(queue)])) as client:
        assert client.get("/").text == "1"


def test_flask_is_guarded_by_its_configuration(tmp_path: Path) -> None:
    flask = pytest.importorskip("flask")
    from embedq.contrib.flask import EmbedQ as Extension

    app = flask.Flask(__name__, instance_path=str(tmp_path))
    app.config.update(TESTING=True, EMBEDQ_GUARD=True)
    queue = Extension(app)
    app.get("/")(lambda: in_flight(queue._state().queue.settings.guard))
    assert app.test_client().get("/").text == "1"

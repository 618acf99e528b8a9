"""FastAPI, Starlette and Litestar: the lifespan, the queue in handlers, draining, and an event loop that stays free."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("litestar")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import litestar
import litestar.testing
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import embedq
from embedq import ConfigurationError, Draft, EmbedQ, JobState, NotStartedError, StorageError
from embedq.contrib.asgi import running
from embedq.contrib.fastapi import Queue, get_queue, lifespan
from embedq.contrib.litestar import EmbedQPlugin
from embedq.contrib.litestar import Queue as LitestarsQueue
from embedq.contrib.starlette import get_queue as starlettes_queue
from tests.support import ROOT, eventually

request_id: ContextVar[str] = ContextVar("request_id", default="none")
seen: list[Any] = []
go_on = threading.Event()


def double(number: int) -> int:
    return 2 * number


def note(value: str) -> None:
    seen.append(value)


def wait_to_go_on() -> None:
    seen.append("waits")
    go_on.wait(20)
    seen.append("went on")


def what_the_job_sees() -> list[str]:
    return [request_id.get(), embedq.current_job().meta["request_id"]]


async def what_the_async_job_sees() -> list[str]:
    return what_the_job_sees()


def stamp(draft: Draft) -> Draft:
    draft.meta["request_id"] = request_id.get()
    return draft


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    seen.clear()
    go_on.clear()
    monkeypatch.delenv("EMBEDQ_URL", raising=False)
    monkeypatch.setattr(embedq, "_default", None)
    yield
    embedq.default_app().close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[EmbedQ]:
    queue = EmbedQ(tmp_path / "jobs.db", workers=2, enqueue_middleware=[stamp])
    yield queue
    go_on.set()
    queue.close()


@asynccontextmanager
async def own_lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
    """What an application does at its own start and end; a job stands for those who need it in between."""
    seen.append("own start")
    yield {"pool": "of connections"}
    seen.append("own end")


# -- FastAPI and Starlette ---------------------------------------------------------------------------------------------


def test_fastapi_handlers_of_all_kinds_get_the_queue_whose_workers_run_with_the_app(queue: EmbedQ) -> None:
    app = FastAPI(lifespan=lifespan(queue))

    @app.post("/async/{number}")
    async def in_the_loop(number: int, queue: Queue) -> int:
        job = await queue.aenqueue(double, number)
        return int(await job.aresult(10))

    @app.post("/sync/{number}")
    def on_a_thread(number: int, queue: Queue) -> int:
        return int(queue.enqueue(double, number).result(10))

    @app.websocket("/socket")
    async def socket(socket: WebSocket, queue: Queue) -> None:
        await socket.accept()
        await socket.send_json((await queue.aenqueue(double, 4)).id)

    with TestClient(app) as client:
        assert queue.started
        assert client.post("/async/2").json() == 4
        assert client.post("/sync/3").json() == 6
        with client.websocket_connect("/socket") as connection:
            assert connection.receive_json() == 3
    assert not queue.engine.connected
    # The same application may be started again, as tests do.
    with TestClient(app) as client:
        assert client.post("/async/5").json() == 10


def test_a_url_is_the_default_apps_so_that_the_modules_functions_use_it(tmp_path: Path) -> None:
    app = FastAPI(lifespan=lifespan(f"sqlite:///{tmp_path}/jobs.db", workers=1))

    @app.post("/{number}")
    async def handler(number: int) -> int:
        return int(await (await embedq.aenqueue(double, number)).aresult(10))

    with TestClient(app) as client:
        assert client.post("/2").json() == 4
        assert embedq.default_app().settings.workers == 1


def test_the_dependency_can_be_overridden_and_states_when_the_lifespan_did_not_run(queue: EmbedQ) -> None:
    app = FastAPI(lifespan=lifespan(queue))

    @app.get("/")
    def handler(queue: Queue) -> str:
        return repr(queue)

    with pytest.raises(NotStartedError, match="with TestClient"):
        TestClient(app).get("/")
    app.dependency_overrides[get_queue] = lambda: "another"
    assert TestClient(app).get("/").json() == "'another'"


def test_a_lifespan_of_ones_own_is_around_the_queues(queue: EmbedQ) -> None:
    @asynccontextmanager
    async def own(app: Any) -> AsyncIterator[dict[str, str]]:
        async with own_lifespan(app) as state:
            assert not queue.started
            yield state
            assert not queue.started

    async def handler(request: Request) -> PlainTextResponse:
        job = await starlettes_queue(request).aenqueue(note, "the job")
        return PlainTextResponse(f"{job.id} {request.state.pool}")

    app = Starlette(routes=[Route("/", handler)], lifespan=lifespan(queue, within=own))
    with TestClient(app) as client:
        assert client.get("/").text == "1 of connections"
    assert seen == ["own start", "the job", "own end"]


def test_an_app_whose_database_cannot_be_opened_does_not_start(tmp_path: Path) -> None:
    queue = EmbedQ(tmp_path / "missing" / "jobs.db")
    app = Starlette(lifespan=lifespan(queue, within=own_lifespan))
    with pytest.raises(StorageError, match="does not exist"), TestClient(app):
        pytest.fail("it started")
    assert not queue.started


def test_a_server_may_only_enqueue(queue: EmbedQ) -> None:
    with TestClient(Starlette(lifespan=lifespan(queue, workers_here=False))):
        assert queue.engine.connected
        assert not queue.started


def test_mistakes_are_reported_where_the_lifespan_is_made(queue: EmbedQ) -> None:
    with pytest.raises(ConfigurationError, match=r"has its settings.*workers"):
        lifespan(queue, workers=3)
    with pytest.raises(ConfigurationError, match="workers=0 must be"):
        lifespan("sqlite:///jobs.db", workers=0)
    with pytest.raises(ConfigurationError, match="must be a function of the application"):
        lifespan(queue, within=own_lifespan(None))


def test_an_app_that_was_started_elsewhere_keeps_running(queue: EmbedQ) -> None:
    async def enter_and_leave() -> None:
        async with running(queue):
            assert queue.started

    queue.connect()
    asyncio.run(enter_and_leave())
    assert (queue.engine.connected, queue.started) == (True, False)
    queue.start()
    asyncio.run(enter_and_leave())
    assert queue.started


# -- Litestar ----------------------------------------------------------------------------------------------------------


def test_litestars_plugin_runs_and_provides_the_queue(queue: EmbedQ) -> None:
    @litestar.post("/async/{number:int}")
    async def in_the_loop(number: FromPath[int], queue: LitestarsQueue) -> int:
        return int(await (await queue.aenqueue(double, number)).aresult(10))

    @litestar.post("/sync/{number:int}", sync_to_thread=True)
    def on_a_thread(number: FromPath[int], queue: LitestarsQueue) -> int:
        queue.enqueue(note, "the job")
        return int(queue.enqueue(double, number).result(10))

    app = litestar.Litestar(
        [in_the_loop, on_a_thread], plugins=[EmbedQPlugin(queue)], lifespan=[own_lifespan], logging_config=None
    )
    with litestar.testing.TestClient(app) as client:
        assert client.post("/async/2").json() == 4
        assert client.post("/sync/3").json() == 6
    assert seen == ["own start", "the job", "own end"]
    assert not queue.engine.connected


def test_litestars_plugin_takes_a_url_and_another_name(tmp_path: Path) -> None:
    @litestar.get("/")
    async def handler(jobs: LitestarsQueue) -> bool:
        return jobs is embedq.default_app() and not jobs.started

    plugin = EmbedQPlugin(tmp_path / "jobs.db", dependency="jobs", workers_here=False)
    with litestar.testing.TestClient(litestar.Litestar([handler], plugins=[plugin], logging_config=None)) as client:
        assert client.get("/").json() is True


# -- the event loop stays free -----------------------------------------------------------------------------------------


def test_the_loop_continues_while_the_queue_is_drained(queue: EmbedQ) -> None:
    async def app() -> JobState:
        async with running(queue):
            job = await queue.aenqueue(wait_to_go_on)
            while not seen:
                await asyncio.sleep(0.001)
            # Only a loop that goes on can end the job that it is draining.
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            return job.state

    assert asyncio.run(app()) is JobState.RUNNING
    assert seen == ["waits", "went on"]
    assert queue.connect().job(1).state is JobState.SUCCEEDED


def test_enqueueing_does_not_stand_in_line_behind_the_apps_own_threads(queue: EmbedQ) -> None:
    async def app() -> int:
        async with running(queue):
            # Everything that the loop's executor has is taken, and more waits.
            busy = [asyncio.create_task(asyncio.to_thread(go_on.wait, 20)) for _ in range(100)]
            await asyncio.sleep(0)
            job = await queue.aenqueue(double, 2)
            result = await job.aresult(10)
            assert not any(task.done() for task in busy)
            # Neither does the drain, at the end of the block.
            asyncio.get_running_loop().call_soon(lambda: asyncio.create_task(go_on_when_stopped()))
            await asyncio.sleep(0)
        await asyncio.gather(*busy)
        return int(result)

    async def go_on_when_stopped() -> None:
        while queue.started:
            await asyncio.sleep(0.001)
        go_on.set()

    assert asyncio.run(app()) == 4


def test_a_requests_context_reaches_enqueue_middleware_and_no_job(queue: EmbedQ) -> None:
    app = FastAPI(lifespan=lifespan(queue))

    @app.get("/")
    async def handler(queue: Queue) -> list[list[str]]:
        request_id.set("of the request")
        jobs = [await queue.aenqueue(what_the_job_sees), await queue.aenqueue(what_the_async_job_sees)]
        return [await job.aresult(10) for job in jobs]

    @app.get("/sync")
    def on_a_thread(queue: Queue) -> list[list[str]]:
        request_id.set("of the request")
        return [queue.enqueue(what_the_job_sees).result(10), queue.enqueue(what_the_async_job_sees).result(10)]

    with TestClient(app) as client:
        for path in ("/", "/sync"):
            assert client.get(path).json() == [["none", "of the request"]] * 2


# -- a real server -----------------------------------------------------------------------------------------------------

SERVED = """
import os, time
from pathlib import Path
from fastapi import FastAPI
import embedq
from embedq.contrib.fastapi import lifespan

@embedq.job
def slow():
    Path("started").touch()
    while not Path("go on").exists():
        time.sleep(0.01)
    Path("done").write_text(str(os.getpid()))

app = FastAPI(lifespan=lifespan("sqlite:///jobs.db"))

@app.get("/")
async def index() -> int:
    return (await slow.aenqueue()).id
"""


def test_uvicorns_workers_share_the_jobs_and_drain_at_sigterm(tmp_path: Path) -> None:
    import httpx

    (tmp_path / "shop.py").write_text(textwrap.dedent(SERVED))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(port), "--workers", "2", "--log-level", "error"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    queue = EmbedQ(tmp_path / "jobs.db").connect()
    try:
        eventually(lambda: len(queue.servers()) == 2, seconds=30)
        assert httpx.get(f"http://127.0.0.1:{port}/").json() == 1
        eventually((tmp_path / "started").exists)
        pids = {one.pid for one in queue.servers()}
        server.send_signal(signal.SIGTERM)
        eventually(lambda: any(one.stopping for one in queue.servers()), seconds=30)
        (tmp_path / "go on").touch()
        _, errors = server.communicate(timeout=30)
    finally:
        server.kill()
        job = queue.job(1).snapshot()
        queue.close()
    assert job.state is JobState.SUCCEEDED, errors
    assert int((tmp_path / "done").read_text()) in pids
    assert (job.attempt, job.crashes) == (1, 0)

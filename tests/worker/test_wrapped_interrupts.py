"""Interrupts that come out of a job inside something else: in groups, or behind an error of the job's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

import embedq
from embedq import NO_RETRY, Ending, JobState, Retry
from tests.support import eventually

started = threading.Event()


@pytest.fixture(autouse=True)
def _fresh_event() -> None:
    started.clear()


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    app = embedq.EmbedQ(
        url, workers=2, interrupt_grace=5, cancel_grace=0.05, stop_timeout=5, secret_key="a secret of the tests"
    )
    app.connect()
    app.start()
    yield app
    assert app.stop(timeout=0)
    app.close()


async def step() -> None:
    """Never wait for long in a system call, where no interrupt reaches a thread."""
    started.set()
    while True:
        await asyncio.sleep(0.002)


async def in_task_groups(depth: int = 3) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(in_task_groups(depth - 1) if depth else step())
        group.create_task(asyncio.sleep(60))


async def that_fails_on_its_way_out() -> None:
    async def clean_up() -> None:
        try:
            await step()
        finally:
            raise ConnectionError("already closed")

    async with asyncio.TaskGroup() as group:
        group.create_task(clean_up())
        group.create_task(step())


async def that_wraps_what_it_gets() -> None:
    try:
        await step()
    except BaseException as error:
        raise RuntimeError("the export failed") from error


def task_groups() -> None:
    asyncio.run(in_task_groups())


def failing_clean_up() -> None:
    asyncio.run(that_fails_on_its_way_out())


def anyio_groups() -> None:
    anyio = pytest.importorskip("anyio")

    async def nested(depth: int = 2) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(nested, depth - 1) if depth else group.start_soon(step)
            group.start_soon(anyio.sleep, 60)

    anyio.run(nested)


def nurseries() -> None:
    """As trio raises what came in one of its tasks."""
    try:
        spin()
    except BaseException as error:
        raise BaseExceptionGroup("nursery", [ValueError("beside it"), BaseExceptionGroup("nursery", [error])]) from None


def spin() -> None:
    started.set()
    while True:
        pass


def wrapping() -> None:
    try:
        spin()
    except BaseException as error:
        raise RuntimeError("the export failed") from error


def failing_in_a_handler() -> None:
    try:
        try:
            spin()
        finally:
            {"a key": 1}["no such key"]
    except KeyError as error:
        raise ExceptionGroup("what went wrong", [ValueError("unrelated"), error]) from None


WAYS: list[Callable[[], object]] = [
    task_groups, failing_clean_up, anyio_groups, nurseries, wrapping, failing_in_a_handler,
    in_task_groups, that_fails_on_its_way_out, that_wraps_what_it_gets,
]  # fmt: skip


@pytest.fixture(params=WAYS, ids=lambda way: str(way.__name__))
def way(request: pytest.FixtureRequest) -> Callable[[], object]:
    function: Callable[[], object] = request.param
    return function


@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
class TestWrapped:
    def test_a_cancelled_job_is_cancelled(self, app: embedq.EmbedQ, way: Callable[[], object]) -> None:
        handle = app.options(retry=Retry(attempts=3)).enqueue(way)
        assert started.wait(10)
        handle.cancel()
        assert handle.wait(10) is JobState.CANCELLED
        assert [attempt.ending for attempt in handle.attempts()] == [Ending.CANCELLED]

    def test_a_job_whose_time_is_up_is_timed_out(self, app: embedq.EmbedQ, way: Callable[[], object]) -> None:
        handle = app.options(timeout=0.2, retry=NO_RETRY).enqueue(way)
        assert handle.wait(10) is JobState.DEAD
        [attempt] = handle.attempts()
        assert attempt.ending is Ending.TIMED_OUT
        assert attempt.error == "TimeoutError: the job ran longer than its timeout of 0.2 s"

    def test_a_job_that_a_deployment_stops_goes_back(self, app: embedq.EmbedQ, way: Callable[[], object]) -> None:
        handle = app.options(retry=NO_RETRY).enqueue(way)
        assert started.wait(10)
        assert app.stop(timeout=0)
        app.connect()
        assert handle.state is JobState.READY
        assert handle.snapshot().attempt == 0


@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
def test_an_error_after_an_interrupt_was_dealt_with_is_the_jobs_own(app: embedq.EmbedQ) -> None:
    def patient() -> None:
        try:
            spin()
        except embedq.JobCancelled:
            pass
        raise ValueError("of something else")

    handle = app.options(timeout=0.1, retry=NO_RETRY).enqueue(patient)
    eventually(lambda: handle.state.ended)
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]

    def impatient() -> None:
        try:
            spin()
        except embedq.JobTimeout:
            pass
        raise ValueError("of something else")

    handle = app.options(timeout=0.1, retry=NO_RETRY).enqueue(impatient)
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.error for attempt in handle.attempts()] == ["ValueError: of something else"]

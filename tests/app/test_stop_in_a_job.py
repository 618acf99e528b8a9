"""A job that stops the app it runs in is told that this cannot be; the app goes on, and stops and starts as ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import embedq
from embedq import NO_RETRY, EmbedQ, JobContext, JobState, ReentryError

apps: dict[str, EmbedQ] = {}
told: list[bool] = []


@pytest.fixture(autouse=True)
def _fresh(app: EmbedQ) -> Iterator[None]:
    apps["own"] = app
    told.clear()
    yield
    apps.clear()


def stop() -> None:
    apps["own"].stop(0)


def close() -> None:
    apps["own"].close()


async def stop_on_the_loop() -> None:
    apps["own"].stop(0)


async def stop_on_another_thread() -> None:
    await asyncio.to_thread(apps["own"].stop, 0)


def stop_on_a_thread_that_is_waited_for() -> None:
    thread = threading.Thread(target=lambda: told.append(apps["own"].stop(0.2)))
    thread.start()
    deadline = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)


def use() -> int:
    with apps["own"] as app:
        return app.enqueue(add, 1, 2).id


def stop_the_other() -> bool:
    return apps["other"].stop()


def add(a: int, b: int) -> int:
    return a + b


@contextmanager
def stopping(context: JobContext) -> Iterator[None]:
    yield
    apps["own"].stop(0)


@pytest.mark.parametrize("function", [stop, close, stop_on_the_loop, stop_on_another_thread])
def test_a_job_that_stops_its_app_is_refused_and_the_app_continues(app: EmbedQ, function: Callable[[], None]) -> None:
    app.start()
    job = app.options(retry=NO_RETRY).enqueue(function)
    assert job.wait(20) is JobState.DEAD
    error = str(job.snapshot().error)
    assert f"ReentryError: job {job.id} runs in the app that it stops" in error
    assert "SIGTERM" in error
    assert app.started
    assert app.enqueue(add, 1, 2).result(20) == 3
    assert app.stop()
    assert app.start().enqueue(add, 2, 2).result(20) == 4


def test_so_is_middleware_around_a_job(tmp_path: Path) -> None:
    with EmbedQ(tmp_path / "own.db", middleware=[stopping]) as app:
        apps["own"] = app
        job = app.options(retry=NO_RETRY).enqueue(add, 1, 2)
        assert job.wait(20) is JobState.DEAD
        assert "ReentryError" in str(job.snapshot().error)
        assert app.started


def test_a_block_in_a_job_leaves_the_app_running(app: EmbedQ) -> None:
    app.start()
    inner = app.job(app.enqueue(use).result(20))
    assert inner.result(20) == 3
    assert app.started


def test_a_job_may_stop_another_app(app: EmbedQ, tmp_path: Path) -> None:
    other = apps["other"] = EmbedQ(tmp_path / "other.db").start()
    app.start()
    assert app.enqueue(stop_the_other).result(20) is True
    assert not other.started


def test_on_a_thread_of_its_own_a_job_is_stopped_like_any_other(app: EmbedQ) -> None:
    app.start()
    job = app.enqueue(stop_on_a_thread_that_is_waited_for)
    deadline = time.monotonic() + 30
    while not told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # It was interrupted, and goes back to the queue.
    assert (told, app.started) == ([True], False)
    assert job.state is JobState.READY
    job.cancel()
    assert app.start().enqueue(add, 2, 2).result(20) == 4


def test_outside_of_a_job_nothing_is_refused(app: EmbedQ) -> None:
    app.start()
    assert app.stop()
    with pytest.raises(embedq.NoJobError):
        embedq.current_job()
    assert issubclass(ReentryError, embedq.EmbedqError)

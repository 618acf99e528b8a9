"""Jobs on worker threads that run an event loop, or return what is run on one, and what stays behind there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import NO_RETRY, Ending, JobState
from tests.databases import SQLiteHome

let_go = threading.Event()
notes: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    let_go.clear()
    notes.clear()
    yield
    let_go.set()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[embedq.EmbedQ]:
    app = embedq.EmbedQ(SQLiteHome().fresh(tmp_path), workers=2, interrupt_grace=4, cancel_grace=0.1).connect()
    app.start()
    yield app
    let_go.set()
    assert app.stop(timeout=5)
    app.close()


async def swallow_cancellation() -> None:
    while not let_go.is_set():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            notes.append("swallowed")


async def leave_one_behind() -> str:
    task = asyncio.create_task(swallow_cancellation())
    await asyncio.sleep(0)
    notes.append(task.get_name())
    return "done"


async def leave_one_behind_and_wait() -> None:
    await leave_one_behind()
    try:
        await asyncio.sleep(60)
    finally:
        # Longer than a task that stays behind is waited for: this is the job itself.
        await asyncio.sleep(1.2)
        notes.append("cleaned up")


def on_a_loop_of_its_own(main: Callable[[], Coroutine[Any, Any, object]]) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main())
        loop.run_forever()
    finally:
        loop.close()


def test_a_coroutine_that_leaves_a_task_behind_ends_whatever_that_does(app: embedq.EmbedQ) -> None:
    assert app.enqueue(app.job(name="leave")(lambda: leave_one_behind())).result(20) == "done"
    assert "swallowed" in notes


def test_a_coroutine_that_is_interrupted_ends_when_it_has_cleaned_up(app: embedq.EmbedQ) -> None:
    task = app.job(name="leave", timeout=0.3, retry=NO_RETRY)(lambda: leave_one_behind_and_wait())
    handle = app.enqueue(task)
    assert handle.wait(20) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]
    assert "cleaned up" in notes


LOOPS: dict[str, Callable[[], object]] = {
    "sleep": lambda: asyncio.run(asyncio.sleep(60)),
    "run": lambda: asyncio.run(leave_one_behind()),
    "run, interrupted twice": lambda: asyncio.run(leave_one_behind_and_wait()),
    "loop": lambda: on_a_loop_of_its_own(leave_one_behind),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_job_that_runs_a_loop_is_interrupted_while_that_waits(app: embedq.EmbedQ, name: str) -> None:
    handle = app.enqueue(app.job(name=name, timeout=0.3, retry=NO_RETRY)(LOOPS[name]))
    assert handle.wait(20) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]

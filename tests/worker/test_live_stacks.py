"""Where a job is at this moment: on a thread, on the event loop, in a process, and asked from another process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedq import EmbedQ, JobState, WaitTimeoutError
from embedq.operations.monitor import LiveStack
from embedq.storage.inspect.history import Totals
from tests.support import eventually

let_go = threading.Event()


@pytest.fixture(autouse=True)
def _free(app: EmbedQ) -> Iterator[None]:
    """Before the app is stopped, which waits for what runs."""
    let_go.clear()
    yield
    let_go.set()


def inner_wait() -> None:
    let_go.wait(30)


def hold() -> None:
    inner_wait()


async def inner_sleep() -> None:
    while not let_go.is_set():
        await asyncio.sleep(0.01)


async def hold_async() -> None:
    await inner_sleep()


def wait_for_file(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def compute(milliseconds: int) -> None:
    until = time.thread_time() + milliseconds / 1000
    while time.thread_time() < until:
        pass


async def quick() -> None: ...


def shown(app: EmbedQ, job_id: int, part: str) -> LiveStack:
    found: list[LiveStack] = []

    def look() -> bool:
        stack = app.monitor.stack(job_id)
        found[:] = [] if stack is None else [stack]
        return stack is not None and part in stack.text

    eventually(look)
    return found[0]


def test_the_stack_of_a_thread_begins_at_the_job(app: EmbedQ) -> None:
    job = app.start().enqueue(hold)
    stack = shown(app, job.id, "inner_wait")
    assert stack.thread.startswith("embedq-worker-")
    assert stack.text.index("in hold") < stack.text.index("in inner_wait")
    assert "execution.py" not in stack.text


def test_the_stack_of_an_async_job_is_what_it_awaits(app: EmbedQ) -> None:
    job = app.start().enqueue(hold_async)
    stack = shown(app, job.id, "in inner_sleep")
    assert stack.thread == "event loop"
    assert stack.text.index("in hold_async") < stack.text.index("in inner_sleep")


def test_the_stack_in_a_process_of_its_own_and_its_processor_time(app: EmbedQ, tmp_path: Path) -> None:
    app.start()
    job = app.options(executor="process").enqueue(wait_for_file, str(tmp_path / "go"))
    stack = shown(app, job.id, "in wait_for_file")
    assert stack.thread.startswith("process ")
    (tmp_path / "go").touch()
    assert job.wait(30) is JobState.SUCCEEDED
    assert totals(app, "wait_for_file").cpu_seconds > 0


def test_another_process_gets_the_request_through_the_database(app: EmbedQ) -> None:
    asker = EmbedQ(app.engine.settings.url).connect()
    job = app.start().enqueue(hold)
    stack = shown(asker, job.id, "inner_wait")
    assert (stack.job_id, stack.thread.startswith("embedq-worker-")) == (job.id, True)
    assert app.database.read(lambda tx: tx.select("SELECT count(*) FROM embedq_questions")) == [(0,)]
    let_go.set()
    job.wait(30)
    assert asker.monitor.stack(job.id) is None
    asker.close()


def test_a_process_that_does_not_answer_is_not_waited_for(app: EmbedQ) -> None:
    job = app.start().enqueue(hold)
    asker = EmbedQ(app.engine.settings.url).connect()
    shown(app, job.id, "inner_wait")
    with pytest.raises(WaitTimeoutError, match="did not respond within 0 s"):
        asker.monitor.stack(job.id, timeout=0)
    asker.close()


def test_the_processor_time_of_threads_is_counted_and_of_async_jobs_is_not_known(app: EmbedQ) -> None:
    app.start()
    app.enqueue(compute, 5).wait(30)
    app.enqueue(quick).wait(30)
    assert 0.005 <= totals(app, "compute").cpu_seconds < 5
    assert totals(app, "quick").cpu_seconds == 0.0


def totals(app: EmbedQ, function: str) -> Totals:
    [found] = [kind for kind in app.monitor.task_types("hour") if kind.name.endswith(f":{function}")]
    return found.totals

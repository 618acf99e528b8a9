"""What `async def` jobs do to the event loop they share: leave the program, stop the loop, break it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import embedq
from embedq import NO_RETRY, Ending, JobState, Retry
from embedq.process import supervision
from embedq.tasks.options import Executor
from embedq.testing import AppUnderTest
from tests.support import eventually

go_on = threading.Event()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_collect() -> Iterator[None]:
    """What the tasks of these tests complain of when they are collected is formatted by Python 3.11 with its parser,
    which breaks any parse that the collection is in the middle of."""
    yield
    gc.collect()


async def rest(n: int, seconds: float = 0.2) -> int:
    await asyncio.sleep(seconds)
    return n


async def leave() -> None:
    sys.exit(3)


async def leave_by_argparse() -> None:
    argparse.ArgumentParser(prog="report", exit_on_error=True).parse_args(["--no-such-option"])


async def await_a_child_that_leaves() -> None:
    await asyncio.create_task(leave())


async def leave_a_child_that_leaves() -> None:
    task = asyncio.create_task(leave())
    await asyncio.sleep(60)
    await task


async def leave_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(60)


async def leave_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave())
        group.create_task(asyncio.sleep(60))


async def interrupt_the_keyboard() -> None:
    raise KeyboardInterrupt


async def close_a_generator() -> None:
    raise GeneratorExit


async def close_the_loop() -> None:
    asyncio.get_running_loop().close()


LEAVE: dict[Callable[[], Any], str] = {
    leave: "SystemExit: 3", leave_by_argparse: "SystemExit: 2", await_a_child_that_leaves: "SystemExit: 3",
    leave_a_child_that_leaves: "SystemExit: 3", leave_in_a_callback: "SystemExit: 3",
    leave_in_a_group: "", interrupt_the_keyboard: "KeyboardInterrupt", close_a_generator: "GeneratorExit",
    close_the_loop: "RuntimeError: Cannot close a running event loop",
}  # fmt: skip


@pytest.mark.parametrize("executor", ["async", "process"])
@pytest.mark.parametrize("function", LEAVE, ids=lambda function: str(function.__name__))
def test_a_job_that_leaves_the_program_fails_by_its_policy_and_the_others_continue(
    app: embedq.EmbedQ, function: Callable[[], Any], executor: Executor
) -> None:
    app.start()
    replaced = supervision.restarts().get("embedq-async")
    before = [app.enqueue(rest, n) for n in range(3)]
    leaving = app.options(executor=executor, retry=NO_RETRY).enqueue(function)
    after = [app.enqueue(rest, n) for n in range(3)]
    assert leaving.wait(30) is JobState.DEAD
    [attempt] = leaving.attempts()
    assert attempt.ending is Ending.FAILED
    assert attempt.error is not None
    assert attempt.error.startswith(LEAVE[function])
    assert leaving.snapshot().crashes == 0
    assert [handle.result(10) for handle in (*before, *after)] == [0, 1, 2, 0, 1, 2]
    late = app.options(timeout=0.1, retry=NO_RETRY).enqueue(rest, 1, 60)
    assert late.wait(10) is JobState.DEAD
    assert app.stop(timeout=5)
    assert supervision.restarts().get("embedq-async") == replaced


def test_an_exit_is_retried_if_the_policy_includes_it(app: embedq.EmbedQ) -> None:
    app.start()
    handle = app.options(retry=Retry(retry_on=(SystemExit,))).enqueue(leave)
    eventually(lambda: handle.state is JobState.RETRYING)


async def stop_the_loop(n: int) -> int:
    for _ in range(3):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
    return n


@pytest.mark.parametrize("executor", ["async", "process"])
def test_a_job_that_stops_the_loop_stops_no_other_job(app: embedq.EmbedQ, executor: Executor) -> None:
    app.start()
    resting = [app.enqueue(rest, n) for n in range(3)]
    assert app.options(executor=executor).enqueue(stop_the_loop, 7).result(30) == 7
    assert [handle.result(10) for handle in resting] == [0, 1, 2]


async def make_no_tasks() -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no tasks are made here")

    asyncio.get_running_loop().set_task_factory(refuse)


async def make_tasks_again() -> int:
    asyncio.get_running_loop().set_task_factory(None)
    return await asyncio.create_task(rest(1, 0.0))


def test_a_task_factory_of_a_jobs_own_keeps_no_other_from_running(app: embedq.EmbedQ) -> None:
    app.start()
    assert app.enqueue(make_no_tasks).wait(10) is JobState.SUCCEEDED
    assert app.enqueue(make_tasks_again).result(10) == 1


async def shut_the_executor_down() -> int:
    answer = await asyncio.to_thread(int, "3")
    await asyncio.get_running_loop().shutdown_default_executor()
    return answer


async def bring_an_executor() -> str:
    with ThreadPoolExecutor(1, "brought") as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        return await asyncio.to_thread(lambda: threading.current_thread().name)


async def take_exceptions_to_the_exit() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: sys.exit(3))


async def use_the_loop(n: int) -> int:
    unheard = asyncio.get_running_loop().create_future()
    unheard.set_exception(ValueError("unheard"))
    del unheard
    return await asyncio.create_task(asyncio.to_thread(int, n))


@pytest.mark.parametrize(
    "function", [make_no_tasks, shut_the_executor_down, bring_an_executor, take_exceptions_to_the_exit]
)
def test_what_a_job_sets_the_loop_to_is_put_back_when_it_ends(
    app: embedq.EmbedQ, function: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    app.start()
    begun = app.enqueue(rest, 7, 0.5)
    setting = app.options(retry=NO_RETRY).enqueue(function)
    assert setting.wait(10) is JobState.SUCCEEDED
    assert [app.options(retry=NO_RETRY).enqueue(use_the_loop, n).result(10) for n in range(3)] == [0, 1, 2]
    assert begun.result(10) == 7
    assert "outside of any job" not in caplog.text
    assert app.stop(timeout=5)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("asyncio_", "brought"))]


async def break_the_loop() -> None:
    loop: Any = asyncio.get_running_loop()
    loop._run_once = None
    await asyncio.sleep(60)


async def wait_to_go_on(n: int) -> int:
    while not go_on.is_set():
        await asyncio.sleep(0.01)
    return n


def test_a_job_that_breaks_its_loop_alone_fails_and_another_loop_takes_its_place(app: embedq.EmbedQ) -> None:
    app.start()
    before = supervision.restarts().get("embedq-async")
    handle = app.options(retry=NO_RETRY).enqueue(break_the_loop)
    assert handle.wait(10) is JobState.DEAD
    [attempt] = handle.attempts()
    assert attempt.error is not None
    assert "broke the event loop" in attempt.error
    assert app.enqueue(rest, 1, 0).result(10) == 1
    count = supervision.restarts()["embedq-async"].count
    assert count == (0 if before is None else before.count) + 1
    assert app.stop(timeout=5)


def test_the_jobs_on_a_loop_that_another_broke_go_back_and_the_culprit_is_found(app: embedq.EmbedQ) -> None:
    go_on.clear()
    app.start()
    others = [app.options(retry=NO_RETRY).enqueue(wait_to_go_on, n) for n in range(5)]
    eventually(lambda: app.stats().counts[JobState.RUNNING] == 5)
    culprit = app.options(retry=NO_RETRY).enqueue(break_the_loop)
    assert culprit.wait(20) is JobState.DEAD
    go_on.set()
    assert [handle.result(20) for handle in others] == [0, 1, 2, 3, 4]
    assert {handle.snapshot().attempt for handle in others} == {1}
    assert app.stop(timeout=5)


def test_a_job_in_a_process_that_breaks_its_loop_fails_by_its_policy(app: embedq.EmbedQ) -> None:
    app.start()
    handle = app.options(executor="process", retry=NO_RETRY).enqueue(break_the_loop)
    assert handle.wait(30) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.FAILED]
    assert handle.snapshot().crashes == 0


def test_in_the_testing_kit_a_child_that_leaves_fails_its_job(embedq_app: AppUnderTest) -> None:
    for function in (leave, leave_a_child_that_leaves, leave_in_a_callback):
        handle = embedq.options(retry=NO_RETRY).enqueue(function)
        embedq_app.drain(raise_errors=False)
        assert handle.state is JobState.DEAD
        assert [attempt.error for attempt in handle.attempts()] == ["SystemExit: 3"]


def test_in_the_testing_kit_what_a_job_sets_the_loop_to_is_put_back(embedq_app: AppUnderTest) -> None:
    for function in (make_no_tasks, shut_the_executor_down, bring_an_executor):
        embedq_app.app.enqueue(function)
    last = embedq_app.app.enqueue(use_the_loop, 1)
    embedq_app.drain()
    assert last.result(0) == 1

"""Runs one `async def` job on an event loop: the asynchronous twin of `Execution.run`."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import Context
from typing import Any

from embedq.errors import JobInterrupt
from embedq.observability.log import get_logger
from embedq.process import faults
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.tasks.context import enter_job, leave_job
from embedq.worker import forked
from embedq.worker.execution import MISSING, Execution, PreparedCall, awaitable, completed
from embedq.worker.loops import close, new_task, run_task
from embedq.worker.runs import Interrupter
from embedq.worker.stacks import Stack, of_task

logger = get_logger()

# The jobs that run on event loops of this process, with the loop's thread.
_TASKS: dict[int, tuple[asyncio.Task[Any], int]] = {}
# The error that a job is to end with, because one of its tasks or callbacks raised it to end the program.
_EXITS: dict[int, BaseException] = {}


def stack_of(job_id: int) -> Stack | None:
    """Return where an `async def` job of this process is; None when it does not run here."""
    task, thread = _TASKS.get(job_id, (None, 0))
    text = None if task is None else of_task(task, thread)
    return None if text is None else Stack("event loop", text)


async def execute(execution: Execution, job: ClaimedJob) -> Outcome:
    """Run an `async def` job on the running event loop; return its outcome."""
    started = execution.clock.now()
    call = execution.prepare(job, started)
    if isinstance(call, Outcome):
        return call
    task = new_task(_guarded(execution, call), asyncio.get_running_loop())
    _TASKS[job.id] = task, threading.get_ident()
    run = execution.watch(call, _canceller(task, asyncio.get_running_loop()))
    result: Any = MISSING
    error: BaseException | None = None
    try:
        result, error = await task
    except BaseException as raised:
        # It was cancelled before it began.
        error = raised
    finally:
        _TASKS.pop(job.id, None)
        error = _EXITS.pop(job.id, error)
        execution.watchdog.remove(run)
    try:
        return execution.classify(call, run, started, result, error)
    finally:
        # The error's frames may lead here, and the task holds it.
        del task, run, call, result, error


async def _guarded(execution: Execution, call: PreparedCall) -> tuple[Any, BaseException | None]:
    """Return what the call returned, or raised: a SystemExit that leaves a task would end the whole loop."""
    forks = forked.forks
    result: Any = MISSING
    error: BaseException | None = None
    try:
        result = await _call(execution, call)
    except BaseException as raised:
        error = raised
    if forked.forks != forks:
        forked.end_child(error)
    try:
        return result, error
    finally:
        # This frame is one of the error's.
        result = error = None


def end_with(job_id: int, error: BaseException) -> bool:
    """End a job whose own task or callback raised `error` to end the program; False when it does not run here."""
    task, _ = _TASKS.get(job_id, (None, 0))
    if task is None or task.done():
        return False
    _EXITS[job_id] = error
    task.cancel()
    return True


def end_or_log(job_id: int | None, error: BaseException) -> None:
    """End a job as `end_with` does, or log the error."""
    if job_id is None or not end_with(job_id, error):
        logger.error("%s was raised on the event loop, outside of any running job", faults.name_of(error))


def run_alone(
    execution: Execution,
    job: ClaimedJob,
    loop: asyncio.AbstractEventLoop,
    context: Context,
    *,
    passes: tuple[type[BaseException], ...] = (),
) -> Outcome:
    """Run an `async def` job on a loop on which nothing else runs.

    Args:
        passes: errors that are raised here, not treated as the job's, when a task or callback raises them.
    """

    def exited(error: BaseException, _: Context | None) -> None:
        if faults.is_a(error, passes):
            raise error
        end_or_log(job.id, error)

    try:
        return run_task(loop, execute(execution, job), context, exited)
    except passes:
        raise
    except BaseException as error:
        close(loop, broken=True)
        execution.watchdog.forget(job.id, job.claim)
        _TASKS.pop(job.id, None)
        broken = RuntimeError(f"this job broke the event loop it ran on: {error}")
        broken.__cause__ = error
        return execution.outcomes.lost(job, broken)


async def _call(execution: Execution, call: PreparedCall) -> Any:
    token = enter_job(call.context)
    try:
        async with AsyncExitStack() as stack:
            for middleware in execution.middleware:
                manager = middleware(call.context)
                if isinstance(manager, AbstractAsyncContextManager):
                    await stack.enter_async_context(manager)
                else:
                    stack.enter_context(manager)
            if call.resolved.is_async:
                result = call.resolved.function(*call.args, **call.kwargs)
            else:
                # It was a coroutine function when it was enqueued and is none now; the loop must not wait for it.
                result = await asyncio.to_thread(call.resolved.function, *call.args, **call.kwargs)
            while awaitable(result):
                result = await result
            return completed(result)
    finally:
        leave_job(token)


def _canceller(task: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> Interrupter:
    def cancel(_: type[JobInterrupt]) -> bool:
        if task.done():
            return False
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:  # the loop is closed
            return False
        return True

    return cancel

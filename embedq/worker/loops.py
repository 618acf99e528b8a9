"""Runs an event loop to its end, whatever the code on it does to it.

`sys.exit` in a task or a callback ends `run_forever`, as does `loop.stop`; the loop itself is intact and is run again.
It is broken when it has been closed, or when its own code has raised an exception.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from inspect import isawaitable
from typing import Any, TypeVar

from embedq.observability.log import get_logger
from embedq.process import faults
from embedq.process.interrupts import this_thread
from embedq.process.offload import Offload

logger = get_logger()

T = TypeVar("T")

# How long tasks and calls that jobs have left on a loop get to end when it is closed.
CLOSE_SECONDS = 1.0

_CALLBACK = asyncio.events.Handle._run.__code__


class BrokenLoop(Exception):
    """The loop cannot continue; see the cause of this error."""


def drive(
    loop: asyncio.AbstractEventLoop, ended: Callable[[], bool], exited: Callable[[BaseException, Context | None], None]
) -> None:
    """Run a loop until it is stopped and `ended` is true.

    Args:
        exited: called with what a task or callback raised to end the program, and its context variables.
    Raises:
        BrokenLoop: it cannot continue.
    """
    while True:
        try:
            loop.run_forever()
        except BaseException as error:
            handle = _callback_in(error)
            if loop.is_closed() or (handle is None and not _is_foreign(loop)):
                raise BrokenLoop(f"{faults.name_of(error)} in its own code") from error
            exited(error, getattr(handle, "_context", None))
        else:
            if ended():
                return
        if loop.is_closed():
            raise BrokenLoop("it was closed")


def run_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T],
    context: Context,
    exited: Callable[[BaseException, Context | None], None],
) -> T:
    """Run one coroutine on a loop that nothing else runs on, and return what it returns. Raises as it, and `drive`."""
    task = new_task(coroutine, loop, context)
    task.add_done_callback(lambda _: loop.stop())
    drive(loop, task.done, exited)
    return task.result()


def new_task(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, context: Context | None = None
) -> asyncio.Task[T]:
    """Return a new task, not made by the loop's task factory: a job may have set that, and all jobs share it."""
    return asyncio.Task(coroutine, loop=loop, context=context)


class SharedLoopSettings:
    """The settings of a loop that jobs share: without `reset`, settings of one job would apply to all later ones.

    Args:
        loop: a loop that does not run yet; its settings now are what `reset` restores.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._executor: ThreadPoolExecutor = getattr(loop, "_default_executor", None) or DrainSafeExecutor()
        self._task_factory = loop.get_task_factory()
        self._exception_handler = loop.get_exception_handler()
        loop.set_default_executor(self._executor)
        with suppress(AttributeError):  # A loop that takes no attributes.
            loop.shutdown_default_executor = self._renew_executor  # type: ignore[method-assign]

    def reset(self) -> None:
        """Undo what a job has set. Call it on the loop when a job has ended."""
        self._loop.set_default_executor(self._executor)
        self._loop.set_task_factory(self._task_factory)
        self._loop.set_exception_handler(self._exception_handler)

    async def _renew_executor(self, timeout: float | None = None) -> None:
        """Shut the executor down for one job, which waits for its threads; other jobs get a new one."""
        threads, self._executor = self._executor, DrainSafeExecutor()
        self._loop.set_default_executor(self._executor)
        finish = threads.finish if isinstance(threads, DrainSafeExecutor) else threads.shutdown
        await asyncio.wait_for(asyncio.to_thread(finish), timeout)


class DrainSafeExecutor(ThreadPoolExecutor):
    """Runs `asyncio.to_thread` and the lookup of host names for jobs. It works while jobs drain, too.

    When the main thread ends, Python joins the threads of every other executor, however long their calls take, and then
    refuses new calls. Only after that embedq's exit handler runs, and requests the jobs to stop.
    """

    def __init__(self) -> None:
        super().__init__()
        # As many threads as asyncio's default executor has.
        self._offload = Offload(min(32, (os.cpu_count() or 1) + 4), name="embedq-async-call")
        self._open: set[Future[Any]] = set()
        self._ended = False

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `Executor.submit`."""
        if self._ended:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = self._offload.submit(function, *args, **kwargs)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `Executor.shutdown`; but it waits for running calls only for a limited time."""
        self._ended = True
        if cancel_futures:
            for call in list(self._open):
                call.cancel()
        if wait:
            wait_for(list(self._open), CLOSE_SECONDS)

    def finish(self) -> None:
        """Accept no more calls, and wait for the running ones."""
        self._ended = True
        wait_for(list(self._open))


def close(loop: asyncio.AbstractEventLoop, *, broken: bool = False) -> None:
    """Close a loop, with the tasks that are left on it; of a broken loop, what can be closed. Raises nothing."""
    if loop.is_closed():
        return
    try:
        if not broken:
            _end_all(loop)
    except BaseException as error:
        logger.warning("an event loop did not end in good order: %s", faults.name_of(error))
    try:
        loop.close()
    except BaseException as error:
        logger.warning("an event loop cannot be closed: %s", faults.name_of(error))


def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())
    # The method of the loop's class, which jobs cannot reach; see `SharedLoopSettings`.
    loop.run_until_complete(type(loop).shutdown_default_executor(loop))


def run_here(awaitable: Awaitable[Any]) -> Any:
    """Return the result of an awaitable, run on an event loop that is created and closed for it in this thread."""
    if asyncio._get_running_loop() is not None:
        # As in an asynchronous test that runs jobs: this thread has a running loop.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(copy_context().run, run_here, awaitable).result()
    loop = asyncio.new_event_loop()
    loop.set_default_executor(DrainSafeExecutor())
    try:
        with _woken(loop):
            return _run_to_its_end(new_task(_result_of(awaitable), loop), loop)
    finally:
        # Not as `asyncio.run` does it, which waits without a limit for a task that does not end when it is cancelled.
        close(loop)


def _run_to_its_end(task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> Any:
    """Return what the task returns. If this thread is interrupted, the task is cancelled and may clean up."""
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        raise


@contextmanager
def _woken(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let an interrupt of this thread wake the loop."""
    thread = this_thread()

    def wake() -> None:
        with suppress(RuntimeError):  # It has been closed.
            loop.call_soon_threadsafe(_nothing)

    if thread is not None:
        thread.wake = wake
    try:
        yield
    finally:
        if thread is not None:
            thread.wake = None


def _nothing() -> None:
    pass


async def _result_of(awaitable: Any) -> Any:
    while isawaitable(awaitable):
        awaitable = await awaitable
    return awaitable


def _callback_in(error: BaseException) -> Any:
    """Return the loop's callback that was running when the error was raised; None when none was."""
    frames = faults.frames_of(error)
    while frames is not None:
        if frames.tb_frame.f_code is _CALLBACK:
            return frames.tb_frame.f_locals.get("self")
        frames = frames.tb_next
    return None


def _is_foreign(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is not asyncio's own, so that its code cannot be distinguished from what runs on it."""
    return not isinstance(loop, asyncio.BaseEventLoop)

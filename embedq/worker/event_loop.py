"""The event loop that runs `async def` jobs, hundreds at a time, on one thread.

It is started by the first such job. A job that blocks the loop (a plain `time.sleep`, a long computation) holds up the
others; when it outruns its timeout as well, it is overdue and the next jobs get a fresh loop on a fresh thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from embedq.context import enter_job, leave_job
from embedq.errors import JobInterrupt
from embedq.liveness import RunningNotes
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.execution import MISSING, Execution, PreparedCall
from embedq.worker.runs import Interrupter
from embedq.worker.stacks import Stack, of_task

logger = logging.getLogger("embedq")


class AsyncRunner:
    """Runs up to `size` jobs at a time.

    Args:
        report: takes each outcome; called on the loop's thread, and must not raise or block.
    """

    def __init__(
        self, size: int, *, execution: Execution, report: Callable[[Outcome], None], notes: RunningNotes
    ) -> None:
        self.size = size
        self._execution = execution
        self._report = report
        self._notes = notes
        self._mutex = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops: list[tuple[asyncio.AbstractEventLoop, threading.Thread]] = []
        # When each started, on the monotonic clock.
        self._running: dict[tuple[int, int], float] = {}
        self._overdue: set[tuple[int, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """How many more jobs it takes."""
        return self.size - len(self._running) + len(self._overdue)

    @property
    def busy(self) -> bool:
        """Whether any job is running, overdue ones included."""
        return bool(self._running)

    @property
    def latest_start(self) -> float:
        """When the job that started last of those that run did, on the monotonic clock; 0.0 when none runs."""
        return max(list(self._running.values()), default=0.0)

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Start the jobs."""
        for job in jobs:
            self._running[job.id, job.claim] = time.monotonic()
        loop = self._loop or self._open_loop()
        loop.call_soon_threadsafe(self._begin, jobs)

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        with self._mutex:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_run_loop, args=(loop,), name="embedq-async", daemon=True)
                self._loops.append((loop, thread))
                thread.start()
            return self._loop

    def _begin(self, jobs: Sequence[ClaimedJob]) -> None:
        for job in jobs:
            task = asyncio.get_running_loop().create_task(self._run(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job: ClaimedJob) -> None:
        slot = self._notes.take_slot()
        self._notes.note(slot, job.id)
        try:
            self._report(await execute(self._execution, job))
        except BaseException:
            logger.critical("job %s (%s) fell out of the event loop", job.id, job.name, exc_info=True)
            raise
        finally:
            self._running.pop((job.id, job.claim), None)
            self._overdue.discard((job.id, job.claim))
            self._notes.free_slot(slot)

    def replace(self, job_id: int, claim: int) -> bool:
        """Stop counting an overdue job; if it blocks the loop, open another for the jobs to come."""
        if (job_id, claim) not in self._running:
            return False
        self._overdue.add((job_id, claim))
        loop = self._loop
        if loop is not None and not _answers(loop):
            with self._mutex:
                self._loop = None
        return True

    def stop(self, timeout: float) -> None:
        """End the loops once their jobs have ended."""
        for loop, thread in self._loops:
            if thread.is_alive() and not loop.is_closed():
                loop.call_soon_threadsafe(loop.stop)
                thread.join(timeout)


# The jobs that run on loops of this process, with the loop's thread.
_TASKS: dict[int, tuple[asyncio.Task[Any], int]] = {}


def stack_of(job_id: int) -> Stack | None:
    """Where an `async def` job of this process is; None when it does not run here."""
    task, thread = _TASKS.get(job_id, (None, 0))
    text = None if task is None else of_task(task, thread)
    return None if text is None else Stack("event loop", text)


async def execute(execution: Execution, job: ClaimedJob) -> Outcome:
    """`Execution.run` for an `async def` job, on the loop that is running."""
    started = execution.clock.now()
    call = execution.prepare(job, started)
    if isinstance(call, Outcome):
        return call
    task = asyncio.ensure_future(_call(execution, call))
    _TASKS[job.id] = task, threading.get_ident()
    run = execution.watch(call, _canceller(task, asyncio.get_running_loop()))
    result: Any = MISSING
    error: BaseException | None = None
    try:
        result = await task
    except asyncio.CancelledError as cancelled:
        # A cancellation that nobody here asked for is the job's own doing, and a failure like any other.
        error = run.interrupted() if run.interrupted is not None else cancelled
    except BaseException as raised:
        error = raised
    finally:
        _TASKS.pop(job.id, None)
        execution.watchdog.remove(run)
    return execution.classify(call, run, started, result, error)


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
            if not call.resolved.is_async:
                # It stopped being a coroutine function after it was enqueued; the loop must not wait for it.
                return await asyncio.to_thread(call.resolved.function, *call.args, **call.kwargs)
            return await call.resolved.function(*call.args, **call.kwargs)
    finally:
        leave_job(token)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


def _answers(loop: asyncio.AbstractEventLoop, patience: float = 0.5) -> bool:
    answered = threading.Event()
    loop.call_soon_threadsafe(answered.set)
    return answered.wait(patience)


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

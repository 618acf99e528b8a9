"""Threads on which calls made from an event loop wait for the database, so that the loop does not.

They are embedq's own. On the loop's default executor (`asyncio.to_thread`) an enqueue would queue behind the calls of
the application. And a `ThreadPoolExecutor` does not replace a thread that has ended, and accepts no call once the main
thread has ended, while jobs still drain.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from embedq.process import supervision

if TYPE_CHECKING:
    from concurrent.futures import Future

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Writes that come together share a transaction; more threads than this make nothing faster (measured).
THREADS = 16
# A thread that has had nothing to do for this long ends.
IDLE_SECONDS = 10.0


class Offload:
    """Runs calls on a few threads, which start when they are needed and end when they are not."""

    def __init__(self, threads: int = THREADS, *, name: str = "embedq-offload") -> None:
        self._most = threads
        self._name = name
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        # Re-entrant, for finalizers.
        self._lock = threading.RLock()
        # Counts the calls. A thread that ends unexpectedly may use up a count, so a thread reads before it waits.
        self._submitted = threading.Semaphore(0)
        self._threads = self._idle = self._made = 0

    async def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function on a thread, in the caller's context variables, and await what it returns.

        If the awaiting task is cancelled, the call still runs to its end.
        """
        # Imported here: a process without an event loop does without.
        import asyncio

        return await asyncio.wrap_future(self.submit(copy_context().run, function, *args, **kwargs))

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call the function on a thread; return a future of what it returns, or raises."""
        from concurrent.futures import Future

        future: Future[T] = Future()
        self._calls.append((future, partial(function, *args, **kwargs)))
        self._wake_a_thread()
        return future

    def _wake_a_thread(self) -> None:
        with self._lock:
            starts = self._threads < self._most and self._idle < len(self._calls)
            if starts:
                self._threads += 1
                self._made += 1
        self._submitted.release()
        if starts:
            try:
                supervision.start(f"{self._name}_{self._made}", self._work)
            except BaseException:
                with self._lock:
                    self._threads -= 1
                if not self._threads:
                    raise

    def _work(self) -> None:
        while True:
            while self._calls:
                self._run_one()
            with self._lock:
                self._idle += 1
            try:
                called = self._submitted.acquire(timeout=IDLE_SECONDS)
            finally:
                with self._lock:
                    self._idle -= 1
            if called:
                continue
            with self._lock:
                # `_wake_a_thread` reads the number of threads with the lock.
                if not self._calls:
                    self._threads -= 1
                    return

    def _run_one(self) -> None:
        try:
            future, call = self._calls.popleft()
        except IndexError:
            return
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(call())
        except BaseException as error:
            if future.done():
                raise
            future.set_exception(error)

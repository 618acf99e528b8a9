"""Threads on which calls made from an event loop wait for the database, so that the loop does not.

They are embedq's own. On the loop's default executor (`asyncio.to_thread`) an enqueue would stand in line behind
whatever the application has put there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

P = ParamSpec("P")
R = TypeVar("R")

# Writes that come together share a transaction; beyond this many threads nothing is gained (measured).
THREADS = 16


class Offload:
    """Runs calls on a few threads, which are started when they are first needed and end with this object."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function on a thread, in the caller's context variables, and await what it returns.

        If the awaiting task is cancelled, the call still goes on to its end.
        """
        # Imported here: a process without an event loop does without.
        import asyncio

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool(), partial(copy_context().run, function, *args, **kwargs))

    def _pool(self) -> ThreadPoolExecutor:
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            # Two loops may come here at once; the pool that is lost has no thread yet, or ends with its last call.
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="embedq-offload")
        return self._executor

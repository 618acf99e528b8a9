"""Waits for one job each: of a thread, or of a coroutine; and the calls that end the waits of coroutines."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from embedq.process.wakeup import WakeUp
from embedq.storage.inspect.details import StoredOutcome

if TYPE_CHECKING:
    import asyncio

# The pause before the first read, and the longest between two; in between, a sixteenth of the time waited so far.
FIRST_READ_SECONDS = 0.03
LONGEST_PAUSE_SECONDS = 0.25
PAUSE_SHARE = 1 / 16
# A read takes place this long before a wait times out, so that its error shows the state at that time.
BEFORE_TIMEOUT_SECONDS = 0.01


class Wait:
    """One thread or coroutine that waits for one job.

    Attributes:
        state: the job's state when it was last read; None before the first read.
        read_at: when it is read next, on the monotonic clock.
    """

    def __init__(self, job_id: int, deadline: float | None) -> None:
        self.job_id = job_id
        self.state: str | None = None
        self._deadline = math.inf if deadline is None else deadline
        self._since = time.monotonic()
        self.read_at = self._since
        self.read_later(self._since)

    def read_later(self, now: float) -> None:
        """Set when the state is read next."""
        pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_READ_SECONDS, (now - self._since) * PAUSE_SHARE))
        last = self._deadline - BEFORE_TIMEOUT_SECONDS
        self.read_at = now + pause if not now < last < now + pause else last

    def seen(self, state: str) -> None:
        """Note that the job has not ended."""
        self.state = state


class ThreadWait(Wait):
    """A thread that waits, and reads the job itself when it is woken.

    Attributes:
        alone: it is woken only for jobs that end in this process, and must read regularly: at the end of the
            interpreter no thread can be started.
    """

    def __init__(self, job_id: int, deadline: float | None) -> None:
        super().__init__(job_id, deadline)
        self.wake = WakeUp()
        self.alone = False


class CoroutineWait(Wait):
    """A coroutine that waits for the value that `read` makes of the job's outcome.

    Attributes:
        was_read: done when the job has been read.
        result: the value or error for the coroutine.
    """

    def __init__(
        self,
        job_id: int,
        deadline: float | None,
        loop: asyncio.AbstractEventLoop,
        read: Callable[[StoredOutcome | None], Any],
    ) -> None:
        super().__init__(job_id, deadline)
        self.loop = loop
        self.was_read: asyncio.Future[None] = loop.create_future()
        self.result: asyncio.Future[Any] = loop.create_future()
        self._read = read
        # At once: its state is not known yet.
        self.read_at = 0.0

    def set(self, value: Any, error: BaseException | None) -> None:
        """Set the result. Called in the event loop."""
        if not self.was_read.done():
            self.was_read.set_result(None)
        if self.result.done():
            return
        if error is None:
            self.result.set_result(value)
        else:
            self.result.set_exception(error)

    def set_read(self) -> None:
        """Note that the job was read and has not ended. Called in the event loop."""
        if not self.was_read.done():
            self.was_read.set_result(None)

    def make(self, outcome: StoredOutcome | Exception | None) -> tuple[Any, BaseException | None]:
        """Return a value or an error for the coroutine."""
        if isinstance(outcome, Exception):
            return None, outcome
        try:
            return self._read(outcome), None
        except BaseException as error:
            # This makes objects of the application's types; their errors are for the coroutine, not for this thread.
            return None, error

    def abandon(self) -> None:
        """Cancel it: the coroutine does not wait any more."""
        self.was_read.cancel()
        if not self.result.cancel() and not self.result.cancelled():
            # Otherwise asyncio reports that the exception was never retrieved.
            self.result.exception()


class LoopCalls:
    """Calls to make in event loops, sent as one callback for each loop."""

    def __init__(self) -> None:
        self._calls: defaultdict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = defaultdict(list)

    def add(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """Add a call."""
        self._calls[loop].append(call)

    def send(self) -> None:
        """Schedule the calls in their loops."""
        for loop, calls in self._calls.items():
            try:
                loop.call_soon_threadsafe(_all, calls)
            except RuntimeError:
                # The loop was closed, so nothing waits there.
                pass
        self._calls.clear()


def _all(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        call()

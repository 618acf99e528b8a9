"""Raises an exception inside another thread, except in places where none may be raised.

A job that exceeds its timeout gets a `JobInterrupt` at its next bytecode. That must never happen between the `BEGIN`
and the `COMMIT` of a write that the job makes, nor in the worker's own code after the job: a group of writes would be
left without a leader, or a finished job without its outcome. So a thread is armed only while it runs a job's code, and
code that must not be interrupted is shielded, which delays the exception.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from embedq.errors import JobInterrupt

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)
_set_async_exception.restype = ctypes.c_int
# Before Python 3.12, a thread that has not begun has the number of the thread that starts it.
_NUMBERS_ARE_SHARED = sys.version_info < (3, 12)
_BEGINS_WITHIN_SECONDS = 5.0

# A null pointer instead of an exception cancels one that was not raised yet.
_NOTHING = ctypes.py_object()

_current = threading.local()


class Interruptible:
    """Belongs to the thread that made it, which other threads may interrupt while it is armed and not shielded.

    Attributes:
        wake: ends a blocking call of the thread where that is possible, since the exception is raised at the next
            bytecode. Without one, an asyncio event loop that the thread runs is woken.
    """

    __slots__ = ("_armed", "_lock", "_pending", "_run", "_sent", "_shields", "_thread_id", "wake")

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        # Re-entrant: a finalizer may run in the middle of these lines, and enqueue.
        self._lock = threading.RLock()
        self._armed = False
        self._run = 0
        self._sent = False
        self._shields = 0
        self._pending: type[JobInterrupt] | None = None
        self.wake: Callable[[], None] | None = None
        _current.interruptible = self

    def next_run(self) -> Callable[[type[JobInterrupt]], bool]:
        """Return a function that interrupts the next run only: called too late, it does not hit the next job."""
        with self._lock:
            self._run += 1
            return partial(self._interrupt, self._run)

    def arm(self) -> None:
        """Let interrupts reach this thread from here on. Called by the thread itself."""
        with self._lock:
            self._pending = None
            self._sent = False
            self._shields = 0
            self._armed = True

    def disarm(self) -> None:
        """Let no interrupt reach it from here on. An exception that was sent before may be raised out of this call."""
        with self._lock:
            self._armed = False
            self._pending = None
            if self._sent:
                _set_async_exception(self._thread_id, _NOTHING)

    def disarm_for_good(self) -> None:
        """Call `disarm`, and swallow an exception that was sent before. After this returns none is raised."""
        while True:
            try:
                self.disarm()
                return
            except JobInterrupt:
                continue

    def _interrupt(self, run: int, error: type[JobInterrupt]) -> bool:
        """Raise `error` in the thread: at its next bytecode, or at the end of its shield.

        Returns False when the thread is not armed, or for another run by now: the job has ended.
        """
        with self._lock:
            if not self._armed or run != self._run:
                return False
            if self._shields:
                self._pending = error
            else:
                self._sent = True
                raise_in(self._thread_id, error)
            wake = self.wake
        if wake is not None:
            wake()
        else:
            _wake_loop_of(self._thread_id)
        return True

    def enter_shield(self) -> None:
        """Delay exceptions. One that was sent before is raised here, by the evaluation loop, not inside the shield."""
        with self._lock:
            self._shields += 1

    def leave_shield(self) -> None:
        """Raise the exception that was delayed."""
        with self._lock:
            pending = None
            if self._shields <= 1:
                # Before the count, so that what a finalizer calls in between does not raise it, where it would be lost.
                pending, self._pending = self._pending, None
            # Never below zero: an exception that lands at the end of `enter_shield` leaves a count that `arm` clears.
            self._shields = max(0, self._shields - 1)
        if pending is not None:
            raise pending


def raise_in(thread_id: int, error: type[BaseException]) -> None:
    """Raise an exception in the thread of this number, at its next bytecode.

    Where numbers are shared, this waits while the thread starts another one. The exception would be raised in the new
    thread, which would never begin, and the other would wait for that without end.
    """
    until = time.monotonic() + _BEGINS_WITHIN_SECONDS
    while _NUMBERS_ARE_SHARED and starts_a_thread(thread_id) and time.monotonic() < until:
        time.sleep(0.0005)
    _set_async_exception(thread_id, error)


def starts_a_thread(thread_id: int) -> bool:
    """Return whether this thread starts another one, which has not begun."""
    frame = sys._current_frames().get(thread_id)
    while frame is not None:
        if frame.f_code is threading.Thread.start.__code__:
            started: threading.Thread = frame.f_locals["self"]
            return started.ident is None
        frame = frame.f_back
    return False


def _wake_loop_of(thread_id: int) -> None:
    """Wake the event loop that a thread runs, if it runs one."""
    base_events = sys.modules.get("asyncio.base_events")
    frame = sys._current_frames().get(thread_id) if base_events is not None else None
    while frame is not None:
        if base_events is not None and frame.f_code is base_events.BaseEventLoop.run_forever.__code__:
            # It may have been closed in the meantime.
            with suppress(RuntimeError, KeyError):
                frame.f_locals["self"].call_soon_threadsafe(_nothing)
            return
        frame = frame.f_back


def _nothing() -> None:
    pass


def this_thread() -> Interruptible | None:
    """Return this thread's `Interruptible`; None in a thread that is never interrupted."""
    return getattr(_current, "interruptible", None)


@contextmanager
def interruptible() -> Iterator[Interruptible]:
    """Let this thread be interrupted inside, though it is not a thread of embedq, as in a test."""
    before = this_thread()
    try:
        yield Interruptible()
    finally:
        _current.interruptible = before


class Shielded:
    """`with Shielded():` no interrupt is raised inside; one that came is raised at the end."""

    __slots__ = ("_interruptible",)

    def __init__(self) -> None:
        self._interruptible = this_thread()

    def __enter__(self) -> None:
        if self._interruptible is not None:
            self._interruptible.enter_shield()

    def __exit__(self, *exception: object) -> None:
        if self._interruptible is not None:
            self._interruptible.leave_shield()

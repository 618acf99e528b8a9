"""Raising an exception inside another thread, and the places where none may land.

A job that overruns its timeout gets a `JobInterrupt` at its next bytecode. That must never happen between the `BEGIN`
and the `COMMIT` of a write the job asked for, nor in the worker's own code after the job: a group of writes would be
left without a leader, or a finished job without its outcome. So a thread that may be interrupted is armed only while it
is in a job's code, and what must not be torn apart is shielded, which holds the exception back.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from embedq.errors import JobInterrupt

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)
_set_async_exception.restype = ctypes.c_int

# A null pointer instead of an exception takes back one that was not delivered yet.
_NOTHING = ctypes.py_object()

_current = threading.local()


class Interruptible:
    """The thread that made it may be interrupted by others while it is armed and not shielded."""

    __slots__ = ("_armed", "_lock", "_pending", "_run", "_sent", "_shields", "_thread_id")

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._lock = threading.Lock()
        self._armed = False
        self._run = 0
        self._sent = False
        self._shields = 0
        self._pending: type[JobInterrupt] | None = None
        _current.interruptible = self

    def next_run(self) -> Callable[[type[JobInterrupt]], bool]:
        """What interrupts the next run and no other: who holds on to it too long does not hit the job after it."""
        with self._lock:
            self._run += 1
            return partial(self._interrupt, self._run)

    def arm(self) -> None:
        """From here on interrupts reach this thread. Called by the thread itself."""
        with self._lock:
            self._pending = None
            self._sent = False
            self._shields = 0
            self._armed = True

    def disarm(self) -> None:
        """From here on it does not. An exception already on its way may be raised out of this call."""
        with self._lock:
            self._armed = False
            self._pending = None
            if self._sent:
                _set_async_exception(self._thread_id, _NOTHING)

    def disarm_for_good(self) -> None:
        """`disarm`, and swallow what was on its way. When this returns nothing more will come."""
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
                _set_async_exception(self._thread_id, error)
            return True

    def enter_shield(self) -> None:
        """Hold exceptions back. An exception sent before is raised here, by the evaluation loop, not inside."""
        with self._lock:
            self._shields += 1

    def leave_shield(self) -> None:
        """Raise what was held back."""
        with self._lock:
            # Never below zero: an exception that lands at the end of `enter_shield` leaves a count that `arm` clears.
            self._shields = max(0, self._shields - 1)
            pending = None
            if not self._shields:
                pending, self._pending = self._pending, None
        if pending is not None:
            raise pending


def this_thread() -> Interruptible | None:
    """This thread's `Interruptible`; None in a thread that nobody interrupts."""
    return getattr(_current, "interruptible", None)


@contextmanager
def interruptible() -> Iterator[Interruptible]:
    """Let this thread be interrupted inside, though it belongs to somebody else, as in a test."""
    before = this_thread()
    try:
        yield Interruptible()
    finally:
        _current.interruptible = before


class Shielded:
    """`with Shielded():` no interrupt lands inside; one that came is raised at the end."""

    __slots__ = ("_interruptible",)

    def __init__(self) -> None:
        self._interruptible = this_thread()

    def __enter__(self) -> None:
        if self._interruptible is not None:
            self._interruptible.enter_shield()

    def __exit__(self, *exception: object) -> None:
        if self._interruptible is not None:
            self._interruptible.leave_shield()

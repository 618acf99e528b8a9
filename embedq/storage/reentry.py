"""Refuses a call to a database from a thread that is already inside a call.

User code can run in the middle of embedq's: a finalizer when the garbage collector finds its object, a signal handler
in the main thread, a callback of a driver, a logging handler. If that code calls embedq, its thread would wait for a
lock that it holds itself, or for a leader that it is, and every other thread behind it. So the call is refused at once:
its write could not be durable before it returns, since its own thread has to continue first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from embedq.errors import ReentryError

P = ParamSpec("P")
T = TypeVar("T")


class ReentryGuard:
    """Tracks which threads are inside one database's code.

    Args:
        label: names the database in errors.
    """

    __slots__ = ("_inside", "_label")

    def __init__(self, label: str) -> None:
        self._label = label
        self._inside: set[int] = set()

    def run(self, action: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the action, with this thread marked as inside.

        Raises:
            ReentryError: this thread is inside.
        """
        thread = threading.get_ident()
        if thread in self._inside:
            raise self._refusal()
        # No context manager: a signal handler that raises on the way into, or out of, a Python method would leave
        # the thread marked. Between these lines no handler runs, since `add` and `discard` are C.
        try:
            self._inside.add(thread)
            return action(*args, **kwargs)
        finally:
            self._inside.discard(thread)

    def refuse_reentry(self) -> None:
        """Raise ReentryError if this thread is inside."""
        if threading.get_ident() in self._inside:
            raise self._refusal()

    def _refusal(self) -> ReentryError:
        return ReentryError(
            f"this thread is in the middle of another call to embedq on {self._label}, and this one came from inside "
            "it: from a finalizer (__del__) that the garbage collector ran, a signal handler, a callback of the driver "
            "or a logging handler. It could not be durable before it returns, so nothing was done. Let another thread "
            "make the call: put what is to be enqueued into a queue.SimpleQueue, which works even there, and enqueue "
            "from a thread that reads it; in a signal handler set a flag, or use loop.add_signal_handler"
        )

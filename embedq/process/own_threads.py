"""Threads of embedq's own that must not wait for jobs, since no job ends without them.

The application's code may run there all the same: finalizers, which the garbage collector runs in any thread, and
logging handlers.
"""

from __future__ import annotations

import threading

from embedq.errors import ReentryError

NAMES = frozenset(f"embedq-{name}" for name in ("dispatcher", "heartbeat", "leader", "listener", "waiting", "watchdog"))


def refuse_to_wait() -> None:
    """Raise ReentryError on a thread of embedq's own that must not wait."""
    name = threading.current_thread().name
    if name in NAMES:
        raise ReentryError(
            f"this thread, {name}, is embedq's own, and no job would end while it waits. A finalizer (__del__) or a "
            "logging handler that runs here may not wait for jobs, nor stop embedq: let another thread do that"
        )

"""Keeps SQLite connections closed, and threads out of them, while a process forks.

SQLite remembers which locks this process holds on a file. A fork copies that memory, but the kernel does not give the
child the locks. A child that opens the file then believes that it holds its parent's locks: it is locked out
permanently if the parent was just writing, and what it writes is lost if the parent closes the file first and deletes
the write-ahead log. (https://www.sqlite.org/howtocorrupt.html, "carrying an open database file across a fork")

So each thread passes a gate before it uses a connection. A fork shuts the gate, waits for the threads inside, and
closes the connections; parent and child open their own when they next need one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from embedq.observability.log import get_logger

logger = get_logger()

# How long a fork waits for reads and writes to end. Longer ones wait for the disk, or for another process.
WAIT_SECONDS = 10.0


class ForkGate:
    """Lets threads in, except while their process forks. A thread that is inside must not enter again (`doorway`).

    Args:
        close_connections: called when no thread is inside.
    """

    def __init__(self, close_connections: Callable[[], None]) -> None:
        self._close_connections = close_connections
        self._reset()
        _GATES.add(self)

    def _reset(self) -> None:
        # Entered as itself rather than through the condition, whose own __enter__ is Python: a signal handler that
        # raises in there would leave it locked permanently.
        # Re-entrant, since a finalizer or signal handler that runs in the middle of these lines may fork.
        self._mutex = threading.RLock()
        self._changed = threading.Condition(self._mutex)
        self._inside: set[int] = set()
        self._forks = 0

    def __enter__(self) -> None:
        try:
            with self._mutex:
                while self._forks:
                    self._changed.wait()
                self._inside.add(threading.get_ident())
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        with self._mutex:
            self._inside.discard(threading.get_ident())
            if self._forks:
                self._changed.notify_all()

    def shut(self) -> None:
        """Keep threads out, and close the connections once no thread is inside."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._mutex:
            self._forks += 1
            while self._inside:
                left = deadline - time.monotonic()
                # A signal handler that forks may have found its own thread inside.
                if left <= 0 or threading.get_ident() in self._inside:
                    logger.warning("a fork in the middle of a write or read: the child should not use this database")
                    return
                self._changed.wait(left)
            self._close_connections()

    def open(self) -> None:
        """In the parent, after the fork."""
        with self._mutex:
            # Not below zero: Ctrl-C may have come before this gate was shut.
            self._forks = max(0, self._forks - 1)
            self._changed.notify_all()

    def forget(self) -> None:
        """In the child: the threads that were inside do not exist, and the lock may be in any state."""
        self._reset()


_GATES: WeakSet[ForkGate] = WeakSet()
# The gates that each forking thread has shut.
_SHUT: dict[int, list[ForkGate]] = {}


def _before() -> None:
    gates = _SHUT[threading.get_ident()] = []
    for gate in list(_GATES):
        gates.append(gate)
        gate.shut()


def _in_parent() -> None:
    for gate in _SHUT.pop(threading.get_ident(), []):
        gate.open()


def _in_child() -> None:
    _SHUT.clear()
    for gate in list(_GATES):
        gate.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

"""embedq's own threads, which are restarted when they end unexpectedly.

    thread = supervision.start("embedq-leader", loop)

`loop` returns when it is to stop. If it raises any exception instead, it is called again after a pause that grows; and
a thread that has ended altogether is restarted by `restart_ended`, which several of the threads call. `restarts()`
returns how often that happened and why, for `embedq doctor` and the dashboard.

The surprise: an exception may reach a thread at any line, so its state must be such that its work can continue from it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

from embedq.observability.log import get_logger
from embedq.process import faults

logger = get_logger()

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 5.0
# After work has run for this long, the next pause is the shortest again.
STABLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often the threads of one name were restarted; the reason and time (seconds since 1970) of the last."""

    count: int
    reason: str
    at: float


class Supervised:
    """One thread. Created by `start`."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self._work = work
        self._done = False
        self._joined = threading.Event()
        self._thread = self._launch()

    def _launch(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        failures = 0
        while not self._done:
            began = time.monotonic()
            try:
                self._work()
                self._done = True
            except BaseException as error:
                failures = failures + 1 if time.monotonic() - began < STABLE_SECONDS else 0
                note(self.name, error)
                self._joined.wait(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 20)))

    def revive(self) -> None:
        """Restart the thread if it has ended and its work is not done."""
        if not self._done and not self._thread.is_alive():
            note(self.name, RuntimeError("its thread was gone"))
            self._thread = self._launch()

    @property
    def ident(self) -> int | None:
        """The thread's identifier, as `threading.get_ident` returns it there."""
        return self._thread.ident

    def is_alive(self) -> bool:
        """Whether its work is not done."""
        return not self._done

    def join(self, timeout: float | None = None) -> None:
        """Wait until its work has ended, without further pauses; the caller has requested that."""
        self._joined.set()
        self._thread.join(timeout)


# Re-entrant: a finalizer may run in the middle of these lines, and wait for a job.
_lock = threading.RLock()
_threads: WeakSet[Supervised] = WeakSet()
_restarts: dict[str, Restarts] = {}


def start(name: str, work: Callable[[], object]) -> Supervised:
    """Start a thread of this name that calls `work` until it returns."""
    thread = Supervised(name, work)
    with _lock:
        _threads.add(thread)
    return thread


def restart_ended() -> None:
    """Restart the threads that have ended unexpectedly. Called at intervals by several threads."""
    if _lock.acquire(blocking=False):
        try:
            for thread in list(_threads):
                thread.revive()
        finally:
            _lock.release()


def note(name: str, error: BaseException) -> None:
    """Record that a thread, or an event loop, has ended unexpectedly and is restarted. Raises nothing."""
    try:
        before = _restarts.get(name)
        reason = f"{faults.name_of(error)}: {error}".removesuffix(": ")[:500]
    except BaseException as fault:
        before, reason = None, faults.name_of(fault)
    _restarts[name] = Restarts(1 if before is None else before.count + 1, reason, time.time())
    logger.critical("thread %s ended unexpectedly and is started again: %s", name, reason, exc_info=error)


def restarts() -> dict[str, Restarts]:
    """Return the restarts in this process, by the name of the thread."""
    return dict(_restarts)


def _after_fork() -> None:
    global _lock, _threads
    _lock, _threads = threading.RLock(), WeakSet()
    _restarts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

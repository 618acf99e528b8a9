"""The ends of a process, and its forks: SIGTERM, and starting again in a child."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType
from typing import Protocol

logger = logging.getLogger("embedq")

# A child that only forked to run another program is gone by then, and never starts a thread.
AFTER_FORK_SECONDS = 0.1


class Ward(Protocol):
    """What is looked after: an engine."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def after_fork(self) -> None: ...


# Every engine of this process, so that its end, or a fork, reaches them all.
_wards: weakref.WeakSet[Ward] = weakref.WeakSet()


def look_after(ward: Ward) -> None:
    """Close it at the interpreter's exit, and tell it when it finds itself in the child of a fork."""
    _wards.add(ward)


def _at_exit() -> None:
    for ward in list(_wards):
        ward.close()


def _in_child() -> None:
    for ward in list(_wards):
        ward.after_fork()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def drain_on_sigterm() -> None:
    """On SIGTERM leave by SystemExit, so that the interpreter's exit drains; only if nobody else handles the signal.

    A web server that sets its own handler, before or after, keeps it; its shutdown then stops embedq at exit.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)


def _leave(signum: int, frame: FrameType | None) -> None:
    # Raised in the main thread, which may be in the middle of anything: only an exception gets out of there in order.
    # Stopping right here could wait for a lock that this very thread holds.
    sys.exit(128 + signum)


def start_again_soon(ward: Ward) -> None:
    """In the child of a fork whose parent was running jobs: run jobs here too, once it is clear that it stays.

    Not in the children of `multiprocessing`: they are made for one thing, and often killed when it is done.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    child = os.getpid()

    def start() -> None:
        time.sleep(AFTER_FORK_SECONDS)
        if os.getpid() != child or (multiprocessing is not None and multiprocessing.parent_process() is not None):
            return
        try:
            ward.start()
        except Exception:
            logger.exception("could not start again after the fork; call embedq.start() in this process")

    threading.Thread(target=start, name="embedq-after-fork", daemon=True).start()

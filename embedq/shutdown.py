"""The ends of a process, and its forks: SIGTERM, and starting again in a child."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Protocol

from embedq import hosting

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


# Set while this process ends: another SIGTERM does not hurry it.
_leaving = False


def _at_exit() -> None:
    global _leaving
    _leaving = True
    for ward in list(_wards):
        ward.close()


def _in_child() -> None:
    for ward in list(_wards):
        ward.after_fork()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def drain_at_exit(*, on_sigterm: bool) -> None:
    """Where something was started: see to it that this process's end drains it.

    Args:
        on_sigterm: on SIGTERM leave by SystemExit, so that the interpreter's exit drains, if nobody else handles the
            signal. A web server that sets its own handler, before or after, keeps it; its shutdown then ends in the
            interpreter's exit. Uvicorn's ends in the signal, which is held back until then.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and multiprocessing_child():
        # Their end runs nothing of `atexit`.
        util.Finalize(None, _at_exit, exitpriority=0)
    if on_sigterm and threading.current_thread() is threading.main_thread():
        _drain_on_sigterm()


def _drain_on_sigterm() -> None:
    # uWSGI's handlers are C, and Python does not see them.
    if hosting.under_uwsgi():
        return
    handler = signal.getsignal(signal.SIGTERM)
    if handler is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
    elif callable(handler) and getattr(handler, "__module__", None) == "uvicorn.server":
        signal.signal(signal.SIGTERM, partial(_held_back, handler))


def _leave(signum: int, frame: FrameType | None) -> None:
    # Raised in the main thread, which may be in the middle of anything: only an exception gets out of there in order.
    # Stopping right here could wait for a lock that this very thread holds.
    if not _leaving:
        sys.exit(128 + signum)


def _held_back(handler: Callable[[int, FrameType | None], object], signum: int, frame: FrameType | None) -> None:
    # When Uvicorn has shut down it restores what was before, nothing, and raises the signal again, which would be the
    # end on the spot.
    handler(signum, frame)
    if hasattr(signal, "pthread_sigmask"):  # Not on Windows.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signum])


def multiprocessing_child() -> bool:
    """Whether `multiprocessing` has made this process."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _in_main_thread(_: object) -> int:
    _drain_on_sigterm()
    return 0


# It lives as long as the process: C calls it.
_IN_MAIN_THREAD = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_in_main_thread)


def start_again_soon(ward: Ward, *, on_sigterm: bool = False) -> None:
    """In the child of a fork whose parent was running jobs: run jobs here too, once it is clear that it stays.

    Not in the children of `multiprocessing`: they are made for one thing, and often killed when it is done.
    """
    child = os.getpid()

    def start() -> None:
        time.sleep(AFTER_FORK_SECONDS)
        if os.getpid() != child or multiprocessing_child():
            return
        try:
            ward.start()
        except Exception:
            logger.exception("could not start again after the fork; call embedq.start() in this process")
        else:
            if on_sigterm:
                # Only the main thread may set handlers of signals. It is called there between two instructions.
                ctypes.pythonapi.Py_AddPendingCall(_IN_MAIN_THREAD, None)

    threading.Thread(target=start, name="embedq-after-fork", daemon=True).start()

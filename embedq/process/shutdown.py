"""The end of a process, and its forks: SIGTERM, and the restart in a forked child."""

from __future__ import annotations

import atexit
import ctypes
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

from embedq.errors import StorageError
from embedq.observability.log import get_logger
from embedq.process import hosting, supervision

logger = get_logger()

# A child that was forked only to run another program has ended by then, and never starts a thread.
AFTER_FORK_SECONDS = 0.1
# The pauses between tries while the database cannot be reached; each is twice as long as the one before.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


class Drainable(Protocol):
    """What can be registered: an app's lifecycle."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def after_fork(self) -> None: ...


# All apps of this process, for its end and for forks.
_registered: weakref.WeakSet[Drainable] = weakref.WeakSet()


def register(app: Drainable) -> None:
    """Close an app at the interpreter's exit, and call its `after_fork` in the child of a fork."""
    _registered.add(app)


# Set while this process ends: another SIGTERM has no effect then.
_leaving = False


def _at_exit() -> None:
    global _leaving
    _leaving = True
    for app in list(_registered):
        app.close()


def _in_child() -> None:
    for app in list(_registered):
        app.after_fork()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def drain_at_exit(*, on_sigterm: bool) -> None:
    """Ensure that the apps drain when this process ends.

    Args:
        on_sigterm: on SIGTERM raise SystemExit, so that the interpreter's exit drains, unless the signal has another
            handler. A web server that sets its own handler, before or after, keeps it; its shutdown then ends in the
            interpreter's exit. Uvicorn's shutdown ends in the signal, which is blocked until then.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and multiprocessing_child():
        # The end of such processes does not run `atexit`.
        util.Finalize(None, _at_exit, exitpriority=0)
    if on_sigterm and threading.current_thread() is threading.main_thread():
        _drain_on_sigterm()


def _drain_on_sigterm() -> None:
    # uWSGI's handlers are written in C, and Python does not list them.
    if hosting.under_uwsgi():
        return
    handler = signal.getsignal(signal.SIGTERM)
    if handler is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
    elif callable(handler) and getattr(handler, "__module__", None) == "uvicorn.server":
        signal.signal(signal.SIGTERM, partial(_then_block, handler))
        if getattr(getattr(handler, "__self__", None), "should_exit", False):
            # The signal came while the application was being imported.
            _block(signal.SIGTERM)


def _leave(signum: int, frame: FrameType | None) -> None:
    # Raised in the main thread, which may be at any line: only an exception leaves it in good order. Stopping right
    # here could wait for a lock that this thread holds.
    if not _leaving:
        sys.exit(128 + signum)


def _then_block(handler: Callable[[int, FrameType | None], object], signum: int, frame: FrameType | None) -> None:
    # After its shutdown Uvicorn restores the earlier handler, which is none, and raises the signal again, which would
    # end the process at once.
    handler(signum, frame)
    _block(signum)


def _block(signum: int) -> None:
    if hasattr(signal, "pthread_sigmask"):  # Not on Windows.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signum])


def multiprocessing_child() -> bool:
    """Whether `multiprocessing` has started this process."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _in_main_thread(_: object) -> int:
    _drain_on_sigterm()
    return 0


# Kept as long as the process: C calls it.
_IN_MAIN_THREAD = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_in_main_thread)


def start_again_soon(app: Drainable, *, on_sigterm: bool = False) -> None:
    """Run jobs also in the child of a fork whose parent runs jobs, once it is clear that the child stays.

    Not in the children of `multiprocessing`: they are started for one task, and often killed when it is done.
    """
    child = os.getpid()

    def start() -> None:
        time.sleep(AFTER_FORK_SECONDS)
        if os.getpid() != child or multiprocessing_child():
            return
        pause = FIRST_PAUSE_SECONDS
        while not _leaving:
            try:
                app.start()
                break
            except StorageError as error:
                logger.error("could not start again after the fork: %s; the next try is in %g s", error, pause)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except Exception:
                logger.exception("could not start again after the fork; call embedq.start() in this process")
                return
        if on_sigterm:
            # Only the main thread may set signal handlers. Python calls this there between two instructions.
            ctypes.pythonapi.Py_AddPendingCall(_IN_MAIN_THREAD, None)

    supervision.start("embedq-after-fork", start)

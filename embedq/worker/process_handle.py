"""A job's process, seen from the one that made it: started, spoken to, and ended.

It is a fresh Python, never a fork: this process has threads. It may not outlive this one, for its job is then rescued:
the kernel kills it when the thread that started it ends (on Linux), and it leaves at the end of its pipe; and because
it holds this process's lock file open, nobody takes this process for dead before it is gone too.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import weakref
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedq.worker.process_link import Setup, read_frame, write_frame

if TYPE_CHECKING:
    import subprocess

# How long a process that was told to leave gets for its own exit handlers.
LEAVE_SECONDS = 2.0
# What it writes of where it is, before it is killed.
TRACE_SECONDS = 0.03
MAX_TRACE = 20_000
# -P: the current directory is not looked in before embedq is found. Its own path it is told later.
_COMMAND = "import sys; sys.path.insert(0, {home!r}); from embedq.worker.process_child import main; main({descriptors})"


class JobProcess:
    """One process for one job after another. Belongs to the thread that started it, which must outlive it.

    Args:
        hold: a descriptor that it is to hold open; -1 for none.
    Attributes:
        jobs: how many it was given.
        worn: it takes no more.
    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, *, hold: int) -> None:
        self.jobs = 0
        self.worn = False
        self._talk = threading.Lock()
        self._life = threading.Lock()
        self._trace = _memory_file()
        descriptors = [self._trace]
        try:
            theirs_read, self._down = os.pipe()
            descriptors += [theirs_read, self._down]
            self._up, theirs_write = os.pipe()
            descriptors += [self._up, theirs_write]
            self._popen = _spawn(theirs_read, theirs_write, self._trace, hold)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        os.close(theirs_read)
        os.close(theirs_write)
        self._open = [self._trace, self._down, self._up]
        _all.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def introduce(self, setup: Setup) -> None:
        """Tell it what it needs to know, first of all."""
        self._send(setup)

    def send(self, *message: Any) -> bool:
        """Say something; False when it is not there to hear it, or does not listen."""
        return self._send(message)

    def _send(self, message: Any) -> bool:
        # Whoever holds the lock may be waiting for a process that somebody has stopped; nobody else waits with it.
        if not self._talk.acquire(timeout=0.1):
            return False
        try:
            write_frame(self._down, pickle.dumps(message))
            return True
        except OSError:
            return False
        finally:
            self._talk.release()

    def receive(self) -> list[Any] | None:
        """What it says next; None when it is gone, or talks nonsense."""
        frame = read_frame(self._up)
        try:
            message = None if frame is None else json.loads(frame)
        except ValueError:
            return None
        return message if isinstance(message, list) and message else None

    def kill(self) -> None:
        """End it now, and what it has started in its process group. It first writes down where it is, if it can."""
        if not self._life.acquire(blocking=False):
            return
        try:
            if self._popen.returncode is None:
                os.ftruncate(self._trace, 0)
                os.lseek(self._trace, 0, os.SEEK_SET)
                with suppress(OSError):
                    os.kill(self.pid, signal.SIGURG)
                time.sleep(TRACE_SECONDS)
                with suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
        finally:
            self._life.release()

    def bury(self) -> tuple[str, str | None]:
        """Wait for its end, which is near; how it ended, in words, and where it was then, as text."""
        with self._life:
            # Not once it has been waited for: its number may be another's by then.
            if self._popen.returncode is None:
                with suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
            code = self._popen.wait()
            trace = os.pread(self._trace, MAX_TRACE, 0).decode(errors="replace")
            self._close()
        # From the innermost frame to the job's own function; embedq's frames after that tell the reader nothing.
        frames = takewhile(lambda line: "/embedq/worker/" not in line, trace.strip("\0\n").splitlines())
        return f"its process {self.pid} {ending(code)}", "\n".join(frames) or None

    def leave(self) -> None:
        """Let it leave in good order, and end it if it does not."""
        if self.send("end"):
            with suppress(Exception):
                self._popen.wait(LEAVE_SECONDS)
        self.bury()

    def _close(self) -> None:
        while self._open:
            os.close(self._open.pop())


def ending(code: int) -> str:
    """How a process ended, in words: `died of SIGSEGV (Segmentation fault)`, `left with exit code 3`."""
    if code >= 0:
        return f"left with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the kernel does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"died of {name} ({signal.strsignal(-code)}{hint})"


def _spawn(down: int, up: int, trace: int, hold: int) -> subprocess.Popen[bytes]:
    # Imported here: together they cost more than starting the dispatcher does.
    import subprocess
    from multiprocessing.spawn import get_executable

    import embedq

    home = str(Path(embedq.__file__).parent.parent)
    numbers = ", ".join(map(str, (down, up, trace, hold, os.getpid())))
    return subprocess.Popen(
        [
            os.fsdecode(get_executable() or sys.executable),
            *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
            "-P",
            "-c",
            _COMMAND.format(home=home, descriptors=numbers),
        ],
        stdin=subprocess.DEVNULL,
        stdout=_where(sys.stdout),
        stderr=_where(sys.stderr),
        pass_fds=[descriptor for descriptor in (down, up, trace, hold) if descriptor >= 0],
        # Ctrl-C in a terminal goes to the whole foreground group: this process decides for its jobs.
        process_group=0,
    )


def _where(stream: Any) -> int | None:
    """Where this process writes to, which may have been redirected; None for where it wrote at its start."""
    try:
        descriptor = stream.fileno()
    except Exception:
        return None
    return descriptor if isinstance(descriptor, int) and descriptor >= 0 else None


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("embedq-trace")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


# Every one of this process: the child of a fork must let go of their pipes, or they never see this process end.
_all: weakref.WeakSet[JobProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in list(_all):
        process._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

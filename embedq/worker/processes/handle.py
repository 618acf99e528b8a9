"""A child process that runs jobs, as its host uses it: start, send, receive, kill.

The child is a new Python, never a fork: the host has threads. It must not outlive the host, since its job is rescued
then. On Linux the kernel kills it when the thread that started it ends; everywhere it exits when its pipe closes; and
since it holds the host's lock file open, other processes do not take the host for dead before the child is gone too.
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

from embedq.worker.processes.protocol import ChildSetup, read_frame, write_frame

if TYPE_CHECKING:
    import subprocess

# How long a child that was sent "end" gets for its exit handlers.
EXIT_SECONDS = 2.0
# How long a child gets to write its stack before it is killed, how often that is checked, and the most that is read.
TRACE_SECONDS = 1.0
TRACE_STEP_SECONDS = 0.02
MAX_TRACE = 20_000
# -P: the current directory is not searched before embedq is found. The host's own path is sent later.
_COMMAND = (
    "import sys; sys.path.insert(0, {home!r}); from embedq.worker.processes.child import main; main({descriptors})"
)


class JobProcess:
    """One child process, for one job after another. It belongs to the thread that started it, which must outlive it.

    Args:
        hold: a descriptor that the child holds open; -1 for none.
    Attributes:
        jobs: how many jobs it was sent.
        exhausted: it must run no other job.
    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, *, hold: int) -> None:
        self.jobs = 0
        self.exhausted = False
        self._send_lock = threading.Lock()
        self._kill_lock = threading.Lock()
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

    def send_setup(self, setup: ChildSetup) -> None:
        """Send the first frame."""
        self._send(setup)

    def send(self, *message: Any) -> bool:
        """Send a message; return False when the child is gone, or does not read."""
        return self._send(message)

    def _send(self, message: Any) -> bool:
        # The thread that holds the lock may wait for a child that a signal has stopped; other threads do not join it.
        if not self._send_lock.acquire(timeout=0.1):
            return False
        try:
            write_frame(self._down, pickle.dumps(message))
            return True
        except OSError:
            return False
        finally:
            self._send_lock.release()

    def receive(self) -> list[Any] | None:
        """Return the next message; None when the child is gone, or sends an invalid frame."""
        frame = read_frame(self._up)
        try:
            message = None if frame is None else json.loads(frame)
        except ValueError:
            return None
        return message if isinstance(message, list) and message else None

    def kill(self) -> None:
        """Kill the child and all that it has started in its process group. It first writes its stack, if it can."""
        if not self._kill_lock.acquire(blocking=False):
            return
        try:
            if self._popen.returncode is None:
                os.ftruncate(self._trace, 0)
                os.lseek(self._trace, 0, os.SEEK_SET)
                with suppress(OSError):
                    os.kill(self.pid, signal.SIGURG)
                self._wait_for_trace()
                with suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
        finally:
            self._kill_lock.release()

    def _wait_for_trace(self) -> None:
        """Wait until the child has written its stack, which takes a while on a busy machine."""
        until, written = time.monotonic() + TRACE_SECONDS, 0
        while time.monotonic() < until:
            time.sleep(TRACE_STEP_SECONDS)
            before, written = written, os.fstat(self._trace).st_size
            if written and written == before:
                return

    def reap(self) -> tuple[str, str | None]:
        """Kill the child and wait for its end; return how it ended, in words, and the stack that it wrote, as text."""
        with self._kill_lock:
            # Not once it has been waited for: its process id may belong to another process by then.
            if self._popen.returncode is None:
                with suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
            code = self._popen.wait()
            trace = os.pread(self._trace, MAX_TRACE, 0).decode(errors="replace")
            self._close()
        # From the innermost frame to the job's own function; embedq's frames after that tell the reader nothing.
        frames = takewhile(lambda line: "/embedq/worker/" not in line, trace.strip("\0\n").splitlines())
        return f"its process {self.pid} {ending(code)}", "\n".join(frames) or None

    def shut_down(self) -> None:
        """Let the child exit in good order, and kill it if it does not."""
        if self.send("end"):
            with suppress(Exception):
                self._popen.wait(EXIT_SECONDS)
        self.reap()

    def _close(self) -> None:
        while self._open:
            os.close(self._open.pop())


def ending(code: int) -> str:
    """Return how a process ended, in words: `died of SIGSEGV (Segmentation fault)`, `left with exit code 3`."""
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

    home = str(Path(__file__).parents[3])
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
        stdout=_descriptor_of(sys.stdout),
        stderr=_descriptor_of(sys.stderr),
        pass_fds=[descriptor for descriptor in (down, up, trace, hold) if descriptor >= 0],
        # Ctrl-C in a terminal goes to the whole foreground group: the host decides for its jobs.
        process_group=0,
    )


def _descriptor_of(stream: Any) -> int | None:
    """Return the descriptor that a stream writes to, which may have been redirected; None for the original one."""
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


# All of this process: a fork of it must close their pipes, or they never see this process end.
_all: weakref.WeakSet[JobProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in list(_all):
        process._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""The process that a job runs in: what `python -c` starts (see process_handle.py), and all that it does.

The main thread runs one job after another, by the same `Execution` that runs jobs on threads, so that a job ends here
as it would end there. A second thread listens to the host. What a job says, and how it ended, goes up the pipe; the
database is the host's.

It leaves when the host is gone: the kernel sees to that on Linux, the end of the pipe everywhere. Signals that people
send to all processes of a service (SIGINT, SIGTERM) do nothing here: the host decides when its jobs end.
"""

from __future__ import annotations

import ctypes
import dataclasses
import faulthandler
import io
import json
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from embedq import job_process
from embedq.context import JobContext
from embedq.errors import EmbedqError, JobCancelled, JobInterrupt, JobStopped, JobTimeout
from embedq.functions import resolve
from embedq.interrupts import Interruptible, Shielded
from embedq.job import Ending
from embedq.serializers import loads_value
from embedq.storage.rows import Outcome
from embedq.worker.execution import Execution
from embedq.worker.process_imports import HomeResolver, unpack_callable
from embedq.worker.process_link import Packed, Setup, Work, read_frame, write_frame
from embedq.worker.runs import Run, Watchdog
from embedq.worker.stacks import of_thread
from embedq.worker.wording import headline, traceback_text

PDEATHSIG = 1
INTERRUPTS: dict[str, type[JobInterrupt]] = {kind.__name__: kind for kind in (JobTimeout, JobCancelled, JobStopped)}


def main(down: int, up: int, trace: int, hold: int, host: int) -> None:
    """Serve the host until it says otherwise.

    Args:
        down, up: the pipes.
        trace: a file that takes the traceback of a crash.
        hold: kept open until the end; -1 for none.
        host: the host's process id.
    """
    # What a job starts must not keep them open.
    own = [descriptor for descriptor in (down, up, trace, hold) if descriptor >= 0]
    for descriptor in own:
        os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=lambda: _close(own))
    _die_with(host)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGURG):
        # Not SIG_IGN, which programs that a job starts would inherit.
        signal.signal(number, _wake_up)
    faulthandler.enable(trace, all_threads=False)
    # Told by the host when it is about to kill, and by `_interrupt`; the C handler works inside C code too.
    faulthandler.register(signal.SIGURG, trace, all_threads=False, chain=True)
    pipe = Pipe(down, up)
    frame = read_frame(down)
    if frame is None:
        return
    try:
        setup: Setup = pickle.loads(frame)
        child = Child(setup, pipe)
    except BaseException as error:
        pipe.say("unfit", headline(error), traceback_text(error))
        return
    child.serve()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _wake_up(*_: Any) -> None:
    """A signal's handler. What the main thread waits in ends here, if it is to be interrupted, and goes on if not."""


def _die_with(host: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have gone before that.
    if os.getppid() != host:
        os._exit(0)


class Pipe:
    """To the host. Threads that a job has started may use it too."""

    def __init__(self, down: int, up: int) -> None:
        self.down = down
        self._up = up
        self._lock = threading.Lock()

    def say(self, *message: Any) -> None:
        """One message, whole: no interrupt tears it."""
        frame = json.dumps(message).encode()
        with Shielded(), self._lock:
            try:
                write_frame(self._up, frame)
            except OSError:
                os._exit(0)


class Child:
    """Runs the jobs that the host sends. Raises what the app's own setup raises."""

    def __init__(self, setup: Setup, pipe: Pipe) -> None:
        self._pipe = pipe
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._parents: SimpleQueue[tuple[str | None, str | None]] = SimpleQueue()
        self._interruptible = Interruptible()
        self._clock = HostClock()
        self._server_id = 0
        # The run that is on, and what the host has said of it.
        self._current: tuple[int, int] | None = None
        self._told: set[str] = set()
        self._worn = False
        sys.path[:] = setup.path
        sys.argv[:] = setup.argv
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        # Listens from here on: what the app's own modules do at import may take long, and the host may go meanwhile.
        threading.Thread(target=self._listen, name="embedq-host", daemon=True).start()
        logging.getLogger().addHandler(ToHost(pipe))
        for logger, level in setup.log_levels.items():
            logging.getLogger(logger).setLevel(level)
        # What serves requests comes first.
        os.nice(setup.settings.process_nice)
        # Before anything of the app's is imported, which may call embedq.start().
        job_process.enter(setup.default_app)
        self._resolver = HomeResolver(setup.main)
        if setup.settings.process_setup is not None:
            resolve(setup.settings.process_setup)()
        if setup.default_app is not None:
            setup.default_app["enqueue_middleware"] = self._unpack(setup.enqueue_middleware)
        self._watchdog = Begun(self)
        self._execution = Execution(
            settings=setup.settings,
            clock=self._clock,
            resolver=self._resolver,
            middleware=self._unpack(setup.middleware),
            watchdog=self._watchdog,
            server_id=lambda: self._server_id,
            save_log=lambda context, text: pipe.say("log", context.id, context.claim, text),
            save_progress=self._save_progress,
            load_parent=self._load_parent,
            on_overdue=_wake_up,
        )
        if setup.settings.process_memory_mb is not None:
            limit_memory(setup.settings.process_memory_mb)
        pipe.say("ready")

    def _unpack(self, packed: Sequence[Packed]) -> list[Any]:
        return [unpack_callable(one, self._resolver) for one in packed]

    # -- the main thread -----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run what comes, until the host says that it is enough."""
        while (work := self._work.get()) is not None:
            outcome = self._run(work)
            self._pipe.say("outcome", dataclasses.asdict(outcome), self._worn)

    def _run(self, work: Work) -> Outcome:
        job = work.job
        self._clock.set(work.now)
        self._server_id = work.server_id
        self._resolver.home, self._resolver.modules = work.home, work.modules
        began = time.process_time_ns()
        try:
            if self._resolver.is_async(job):
                import asyncio

                from embedq.worker.event_loop import execute

                outcome = asyncio.run(execute(self._execution, job))
            else:
                outcome = self._execution.run(job, self._interruptible)
        finally:
            self._current = None
            self._told.clear()
        # All threads of the process: it has no other job.
        outcome.cpu_us = (time.process_time_ns() - began) // 1000
        if outcome.ending is not Ending.SUCCEEDED and (outcome.error or "").startswith("MemoryError"):
            self._worn = True
        return outcome

    def begun(self, run: Run) -> None:
        """Its function is about to be called."""
        if "cancelled" in self._told:
            run.context.request_cancel()
        run.context.stopping = "stopping" in self._told
        self._pipe.say("begun")

    def _save_progress(self, context: JobContext, fraction: float, note: str | None) -> None:
        self._pipe.say("progress", context.id, context.claim, fraction, None if note is None else str(note))

    def _load_parent(self, _: int) -> Any:
        self._pipe.say("parent")
        text, error = self._parents.get()
        if error is not None:
            raise EmbedqError(error)
        return None if text is None else loads_value(text)

    # -- the listening thread ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while (frame := read_frame(self._pipe.down)) is not None:
            kind, *rest = pickle.loads(frame)
            if kind == "run":
                [work] = rest
                self._current = work.job.id, work.job.claim
                self._pipe.say("taken")
                self._work.put(work)
            elif kind == "tell":
                self._tell(*rest)
            elif kind == "interrupt":
                # A thread of its own: this one must go on listening, for the host may go.
                threading.Thread(target=self._interrupt, args=rest, name="embedq-interrupt", daemon=True).start()
            elif kind == "stack":
                self._show(*rest)
            elif kind == "parent":
                self._parents.put(tuple(rest))
            elif kind == "end":
                self._work.put(None)
        # The host is gone: whatever the job is doing, another process runs it soon.
        os._exit(0)

    def _tell(self, job_id: int, claim: int, flag: str) -> None:
        if self._current != (job_id, claim):
            return
        self._told.add(flag)
        for run in self._watchdog.runs():
            if flag == "cancelled":
                run.context.request_cancel()
            else:
                run.context.stopping = True

    def _show(self, job_id: int, claim: int) -> None:
        """Say where the job is."""
        if self._current != (job_id, claim):
            return
        loop = sys.modules.get("embedq.worker.event_loop")
        found = None if loop is None else loop.stack_of(job_id)
        text = of_thread(threading.main_thread().ident) if found is None else found.text
        self._pipe.say("stack", job_id, claim, text)

    def _interrupt(self, job_id: int, claim: int, name: str) -> None:
        """Raise it in the job, as soon as that has begun."""
        self._worn = True
        while self._current == (job_id, claim):
            for run in self._watchdog.runs():
                if run.interrupted is None:
                    run.interrupt(INTERRUPTS[name], time.monotonic(), 0.0)
                if run.interrupted is not None:
                    # Out of what it waits in: the handler does nothing, and on the way there the exception is raised.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
                    return
            time.sleep(0.01)


class Begun(Watchdog):
    """The host's watchdog keeps the time; this one only knows the run."""

    def __init__(self, child: Child) -> None:
        super().__init__(grace=0.0, cancel_grace=0.0)
        self._child = child

    def add(self, run: Run) -> None:
        super().add(run)
        self._child.begun(run)


class HostClock:
    """The host's time, which may be the database's."""

    def __init__(self) -> None:
        self._ahead = 0

    def set(self, now: int) -> None:
        """It is `now` there."""
        self._ahead = now - time.monotonic_ns() // 1000

    def now(self) -> int:
        return time.monotonic_ns() // 1000 + self._ahead

    def monotonic(self) -> float:
        return time.monotonic()


class ToHost(logging.Handler):
    """Hands log records to the host's loggers, as long as the app does not set up logging here itself."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
            fields = {name: getattr(record, name) for name in _PASSED_ON}
            self._pipe.say("record", {**fields, "msg": record.getMessage(), "exc_text": trace})
        except Exception:
            self.handleError(record)


_PASSED_ON = (
    "name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created", "msecs",
    "process", "processName", "thread", "threadName", "stack_info",
)  # fmt: skip


def limit_memory(mebibytes: int) -> None:
    """Let this process have no more than that; what wants more gets a MemoryError."""
    import resource

    # What it has written to, or may: address space that is only reserved does not count. Elsewhere there is no such
    # limit, and the whole address space is the next best.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    _, most = resource.getrlimit(kind)
    wanted = mebibytes << 20
    resource.setrlimit(kind, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))

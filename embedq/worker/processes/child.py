"""The child process that jobs run in: what `python -c` starts (see handle.py), and all that it does.

The main thread runs one job after another with the same `Execution` that runs jobs on threads, so that jobs end in the
same ways. A second thread receives the host's messages. What a job writes, and its outcome, is sent to the host, which
alone uses the database.

The child exits when the host is gone: on Linux the kernel kills it, everywhere the pipe closes. Signals that are sent
to all processes of a service (SIGINT, SIGTERM) have no effect here: the host decides when its jobs end.
"""

from __future__ import annotations

import ctypes
import dataclasses
import faulthandler
import io
import locale
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from embedq.errors import EmbedqError, JobCancelled, JobInterrupt, JobStopped, JobTimeout
from embedq.job import Ending
from embedq.observability.log import get_logger
from embedq.process import job_process
from embedq.process.interrupts import Interruptible
from embedq.process.registration import Registration
from embedq.serializers import loads_value
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.tasks.functions import resolve
from embedq.worker.contexts import Contexts
from embedq.worker.error_text import headline, traceback_text
from embedq.worker.execution import Execution, PreparedCall
from embedq.worker.processes.host_pipe import HostClock, HostLogHandler, HostNotes, HostPipe
from embedq.worker.processes.imports import HomeResolver, unpack_callable
from embedq.worker.processes.protocol import Assignment, ChildSetup, PackedCallable, read_frame
from embedq.worker.runs import Interrupter, Run, Watchdog
from embedq.worker.stacks import of_thread

logger = get_logger()

PDEATHSIG = 1
# The signals that are sent to all processes of a service, and the one that the host sends before it kills.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGURG)
INTERRUPTS: dict[str, type[JobInterrupt]] = {kind.__name__: kind for kind in (JobTimeout, JobCancelled, JobStopped)}


def main(down: int, up: int, trace: int, hold: int, host: int) -> None:
    """Run the host's jobs until it sends "end".

    Args:
        down, up: the pipes.
        trace: a file for the traceback of a crash.
        hold: a descriptor that is kept open until the end; -1 for none.
        host: the host's process id.
    """
    pipe = HostPipe(down, up)
    # Programs that a job starts must not keep them open.
    own = [descriptor for descriptor in (down, up, trace, hold) if descriptor >= 0]
    for descriptor in own:
        os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=lambda: _after_fork(own, pipe))
    _die_with(host)
    for number in _SIGNALS:
        # Not SIG_IGN, which programs that a job starts would inherit.
        signal.signal(number, _do_nothing)
    faulthandler.enable(trace, all_threads=False)
    # Sent by the host before it kills, and by `_interrupt`; the C handler works inside C code too.
    faulthandler.register(signal.SIGURG, trace, all_threads=False, chain=True)
    frame = read_frame(down)
    if frame is None:
        return
    try:
        setup: ChildSetup = pickle.loads(frame)
        child = ChildRunner(setup, pipe)
    except BaseException as error:
        pipe.send("unfit", headline(error), traceback_text(error))
        return
    child.serve()


def _after_fork(descriptors: list[int], pipe: HostPipe) -> None:
    """Detach a process that a job has forked: it sends nothing to the host, and signals end it like any other."""
    pipe.closed = True
    faulthandler.disable()
    # Each once: a fork of the fork may have opened something else under the same number.
    while descriptors:
        with suppress(OSError):
            os.close(descriptors.pop())
    for number in _SIGNALS:
        if signal.getsignal(number) is _do_nothing:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _do_nothing(*_: Any) -> None:
    """Handle a signal. It ends a blocking call of the main thread if an interrupt is pending."""


def _die_with(host: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The host may have ended before that.
    if os.getppid() != host:
        os._exit(0)


class ChildExecution(Execution):
    """Runs jobs in a child process, and notifies the host, which enforces their timeouts, when a function is called.

    Args:
        started: called with each run just before the job's function is called.
    """

    def __init__(self, *, started: Callable[[Run], None], **given: Any) -> None:
        super().__init__(**given)
        self._started = started

    def watch(self, call: PreparedCall, interrupter: Interrupter) -> Run:
        run = super().watch(call, interrupter)
        self._started(run)
        return run


class ChildRunner:
    """Runs the jobs that the host sends. Raises what the app's own setup raises."""

    def __init__(self, setup: ChildSetup, pipe: HostPipe) -> None:
        self._pipe = pipe
        self._work: SimpleQueue[Assignment | None] = SimpleQueue()
        self._parents: SimpleQueue[tuple[str | None, str | None]] = SimpleQueue()
        self._interruptible = Interruptible()
        self._clock = HostClock()
        self._registration = Registration(0)
        # The job that the host has sent, whether its function has been called, and the flags that the host has set.
        self._current: tuple[int, int] | None = None
        self._started = False
        self._starting = threading.Lock()
        self._flags: set[str] = set()
        self._exhausted = False
        # It is never started: the host enforces the timeouts. It only lists the runs.
        self._watchdog = Watchdog(grace=0.0, cancel_grace=0.0)
        sys.path[:] = setup.path
        sys.argv[:] = setup.argv
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        # From here on: importing the app's modules may take long, and the host may end meanwhile.
        threading.Thread(target=self._receive, name="embedq-host", daemon=True).start()
        logging.getLogger().addHandler(HostLogHandler(pipe))
        for logger, level in setup.log_levels.items():
            logging.getLogger(logger).setLevel(level)
        # Processes that serve requests come first.
        os.nice(setup.settings.process_nice)
        # Before anything of the app's is imported, which may call embedq.start().
        job_process.enter(setup.default_app)
        self._resolver = HomeResolver(setup.main)
        if setup.settings.process_setup is not None:
            resolve(setup.settings.process_setup)()
        if setup.default_app is not None:
            setup.default_app["enqueue_middleware"] = self._unpack(setup.enqueue_middleware)
        self._execution = ChildExecution(
            started=self._function_starts,
            settings=setup.settings,
            clock=self._clock,
            registration=self._registration,
            resolver=self._resolver,
            middleware=self._unpack(setup.middleware),
            watchdog=self._watchdog,
            notes=HostNotes(pipe),
            load_parent=self._load_parent,
            on_overdue=_do_nothing,
        )
        if setup.settings.process_memory_mb is not None:
            limit_memory(setup.settings.process_memory_mb)
        pipe.send("ready")

    def _unpack(self, packed: Sequence[PackedCallable]) -> list[Any]:
        return [unpack_callable(one, self._resolver) for one in packed]

    # -- the main thread -----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run the jobs that come, until the host sends "end"."""
        while (work := self._work.get()) is not None:
            outcome = self._run(work)
            self._pipe.send("outcome", dataclasses.asdict(outcome), self._exhausted)

    def _run(self, work: Assignment) -> Outcome:
        job = work.job
        self._clock.set(work.now)
        self._registration.server_id = work.server_id
        self._resolver.home, self._resolver.modules = work.home, work.modules
        began = time.process_time_ns()
        try:
            # Outside of the job's context: what the app's modules set when they are imported applies to all jobs.
            is_async = self._resolver.is_async(job)
            self._execution.contexts = Contexts()
            with restored_process_state():
                if is_async:
                    outcome = self._run_async(job)
                else:
                    outcome = self._execution.run(job, self._interruptible)
        finally:
            self._current = None
            self._flags.clear()
        # Of all threads: the process has no other job.
        outcome.cpu_us = (time.process_time_ns() - began) // 1000
        if outcome.ending is not Ending.SUCCEEDED and (outcome.error or "").startswith("MemoryError"):
            self._exhausted = True
        return outcome

    def _run_async(self, job: ClaimedJob) -> Outcome:
        import asyncio

        from embedq.worker.async_execution import run_alone
        from embedq.worker.loops import close

        loop = asyncio.new_event_loop()
        try:
            return run_alone(self._execution, job, loop, self._execution.contexts.fresh())
        finally:
            close(loop)

    def _function_starts(self, run: Run) -> None:
        """Set the flags that have come before the run existed, and let the host start its clock."""
        with self._starting:
            self._started = True
        if "cancelled" in self._flags:
            run.context.request_cancel()
        run.context.stopping = "stopping" in self._flags
        self._pipe.send("started")

    def _load_parent(self, _: int) -> Any:
        if self._pipe.closed:
            raise EmbedqError("a process that the job has forked cannot read the parent's result: pass it there")
        self._pipe.send("parent")
        text, error = self._parents.get()
        if error is not None:
            raise EmbedqError(error)
        return None if text is None else loads_value(text)

    # -- the receiving thread ------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            while (frame := read_frame(self._pipe.down)) is not None:
                try:
                    self._handle(*pickle.loads(frame))
                except BaseException:
                    # This thread notices the end of the host, so it must not end.
                    logger.exception("job process %s: a message of its host cannot be handled", os.getpid())
        finally:
            # The host is gone: another process runs the job soon, whatever it is doing now.
            os._exit(0)

    def _handle(self, kind: str, *fields: Any) -> None:
        if kind == "run":
            [work] = fields
            self._current, self._started = (work.job.id, work.job.claim), False
            self._pipe.send("accepted")
            self._work.put(work)
        elif kind == "flag":
            self._set_flag(*fields)
        elif kind == "interrupt":
            # A thread of its own: this one must keep receiving, since the host may end.
            threading.Thread(target=self._interrupt, args=fields, name="embedq-interrupt", daemon=True).start()
        elif kind == "stack":
            self._send_stack(*fields)
        elif kind == "parent":
            self._parents.put((fields[0], fields[1]))
        elif kind == "end":
            self._work.put(None)

    def _set_flag(self, job_id: int, claim: int, flag: str) -> None:
        if self._current != (job_id, claim):
            return
        self._flags.add(flag)
        for run in self._watchdog.runs():
            if flag == "cancelled":
                run.context.request_cancel()
            else:
                run.context.stopping = True

    def _send_stack(self, job_id: int, claim: int) -> None:
        """Send the job's stack."""
        if self._current != (job_id, claim):
            return
        loop = sys.modules.get("embedq.worker.async_execution")
        found = None if loop is None else loop.stack_of(job_id)
        text = of_thread(threading.main_thread().ident) if found is None else found.text
        self._pipe.send("stack", job_id, claim, text)

    def _interrupt(self, job_id: int, claim: int, name: str) -> None:
        """Raise it in the job; exit if that has not started: there is nothing to clean up, and imports take long."""
        self._exhausted = True
        with self._starting:
            if self._current == (job_id, claim) and not self._started:
                os._exit(0)
        while self._current == (job_id, claim):
            for run in self._watchdog.runs():
                if run.interrupted is None:
                    run.interrupt(INTERRUPTS[name], time.monotonic(), 0.0)
                if run.interrupted is not None:
                    # It ends a blocking call: the handler does nothing, and on the way there the exception is raised.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
                    return
            time.sleep(0.01)


@contextmanager
def restored_process_state() -> Iterator[None]:
    """Restore what a job may change for its whole process, and thus for the next job: locale and current folder."""
    text, folder = locale.setlocale(locale.LC_ALL), _folder()
    yield
    if locale.setlocale(locale.LC_ALL) != text:
        locale.setlocale(locale.LC_ALL, text)
    if folder is not None and _folder() != folder:
        with suppress(OSError):
            os.chdir(folder)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def limit_memory(mebibytes: int) -> None:
    """Limit the memory of this process; an allocation beyond that raises MemoryError."""
    import resource

    # On Linux, memory that the process may write to; address space that is only reserved does not count. Elsewhere
    # there is no such limit, and the whole address space is the next best.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    _, most = resource.getrlimit(kind)
    limit = mebibytes << 20
    resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))

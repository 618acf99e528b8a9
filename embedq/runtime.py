"""Everything that runs while an app is started in this process, put together and taken apart in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from embedq.clock import Clock
from embedq.config import Settings
from embedq.maintenance.leader import Leader
from embedq.maintenance.membership import Membership
from embedq.middleware import Middleware
from embedq.signing import Key
from embedq.storage.base import Database
from embedq.task import Registry
from embedq.wakeup import WakeUp
from embedq.worker.dispatcher import Dispatcher
from embedq.worker.execution import Execution
from embedq.worker.parents import load_result
from embedq.worker.resolving import Resolver
from embedq.worker.runs import Watchdog

logger = logging.getLogger("embedq")

# How long the threads get to end once no job is running: they only have to notice.
THREADS_SECONDS = 5.0


class Runtime:
    """The threads of one started app.

    Args:
        look_around: called with this on a thread of its own when it has run for a few seconds; see `Leader`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        database: Database,
        folder: Path,
        registry: Registry,
        key: Callable[[], Key],
        middleware: Sequence[Middleware],
        version: str,
        look_around: Callable[[Runtime], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._middleware = middleware
        self.waiters = Waiters()
        self.membership = Membership(
            settings=settings,
            clock=clock,
            database=database,
            folder=folder,
            version=version,
            rescued=self._look_again,
            given_up=lambda: self.dispatcher.doubt(),
            stack_of=lambda job_id: self.dispatcher.stack_of(job_id),
        )
        self._resolver = Resolver(registry, key)
        self._watchdog = Watchdog(grace=settings.interrupt_grace, cancel_grace=settings.cancel_grace)
        self.dispatcher = Dispatcher(
            settings=settings,
            clock=clock,
            database=database,
            resolver=self._resolver,
            watchdog=self._watchdog,
            notes=self.membership.presence.notes,
            hold=self.membership.presence.descriptor,
            make_execution=self._make_execution,
            server_id=self._server_id,
            ended=self.waiters.ended,
        )
        self.leader = Leader(
            settings=settings,
            clock=clock,
            database=database,
            server_id=self._server_id,
            fired=lambda: self.dispatcher.notify(0),
            look_around=None if look_around is None else lambda: look_around(self),
        )

    def has(self, needs: str) -> bool:
        """Whether this process has what a parked job needs."""
        return self._resolver.has(needs)

    def _server_id(self) -> int:
        return self.membership.server_id

    def _make_execution(self, dispatcher: Dispatcher) -> Execution:
        return Execution(
            settings=self._settings,
            clock=self._clock,
            resolver=self._resolver,
            middleware=self._middleware,
            watchdog=self._watchdog,
            server_id=self._server_id,
            save_log=dispatcher.notes.log,
            save_progress=dispatcher.notes.progress,
            load_parent=partial(load_result, self._database),
            on_overdue=dispatcher.overdue,
        )

    def _look_again(self) -> None:
        self.dispatcher.look_again()
        self.leader.look_again()

    def start(self) -> None:
        """Start the threads. What earlier processes left behind is taken up first."""
        try:
            self._watchdog.start()
            self.dispatcher.start()
            self.leader.start()
            self.membership.start()
        except BaseException:
            # All of it or nothing: threads that nobody knows of would go on running jobs.
            self.stop(0)
            raise

    def stop(self, timeout: float) -> bool:
        """Drain and stop: claim nothing more, let running jobs end, put back what does not.

        Args:
            timeout: seconds that running jobs get to end by themselves. Then they are interrupted and get
                `interrupt_grace` to yield.
        Returns:
            False when a job still does not yield, or an outcome cannot be written. It keeps its claim: the threads that
            record its outcome stay until it ends, and if the process ends first, the job is rescued.
        """
        try:
            self.membership.announce_stop()
        except Exception as error:
            logger.warning("could not announce the stop: %s", error)
        self.dispatcher.stop_claiming()
        self.leader.stop()
        self._watchdog.ask_to_stop()
        if not self._drained(timeout):
            logger.warning(
                "jobs are still running after %.1f s; they are interrupted and go back to the queue", timeout
            )
            self._watchdog.interrupt_all()
            if not self._drained(self._settings.interrupt_grace + 0.5):
                logger.error("jobs do not yield; they keep this process's claim until they end, or it does")
                threading.Thread(target=self._finish_later, name="embedq-draining", daemon=True).start()
                return False
        return self._finish()

    def _drained(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.dispatcher.busy:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def _finish_later(self) -> None:
        while self.dispatcher.busy:
            time.sleep(0.05)
        self._finish()

    def _finish(self) -> bool:
        if not self.dispatcher.close(THREADS_SECONDS):
            logger.error("outcomes cannot be written; this process keeps its claims, and goes on trying until it ends")
            return False
        self._watchdog.stop()
        self.membership.stop()
        self.membership.leave()
        self.waiters.ended_all()
        return True


class Waiters:
    """Threads of this process that wait for a job to end, woken when its outcome is durable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[int, list[WakeUp]] = defaultdict(list)

    def add(self, job_id: int) -> WakeUp:
        """A wake-up that is called when the job ends here."""
        wake = WakeUp()
        with self._lock:
            self._waiting[job_id].append(wake)
        return wake

    def remove(self, job_id: int, wake: WakeUp) -> None:
        """Wait no longer."""
        with self._lock:
            waiting = self._waiting.get(job_id)
            if waiting and wake in waiting:
                waiting.remove(wake)
                if not waiting:
                    del self._waiting[job_id]

    def ended(self, job_ids: Sequence[int]) -> None:
        """The outcomes of these jobs are durable."""
        if not self._waiting:
            return
        with self._lock:
            waking = [wake for job_id in job_ids for wake in self._waiting.get(job_id, ())]
        for wake in waking:
            wake.call()

    def ended_all(self) -> None:
        """Let everybody look for themselves: this process runs no more jobs."""
        self.ended(list(self._waiting))

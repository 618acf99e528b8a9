"""The threads that run while an app is started in this process: created, started and stopped in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from embedq.clock import Clock
from embedq.config import Settings
from embedq.maintenance.leader import Leader
from embedq.maintenance.membership import Membership
from embedq.observability.log import get_logger
from embedq.observability.outage import Outage
from embedq.process import supervision
from embedq.storage.base import Database
from embedq.tasks.context import JobContext
from embedq.tasks.middleware import Middleware
from embedq.tasks.registry import Registry
from embedq.tasks.signing import Key
from embedq.worker.dispatcher import Dispatcher
from embedq.worker.parts import WorkerParts
from embedq.worker.resolving import Resolver
from embedq.worker.runs import Watchdog

logger = get_logger()

# How long the threads have to end once no job is running.
THREADS_SECONDS = 5.0


class Runtime:
    """The threads of one started app.

    Args:
        ended: called with the jobs that have ended, once that is durable, in the dispatcher's thread.
        ended_all: called when this process runs no more jobs.
        look_around: called with this object on a thread of its own, a few seconds after the start; see `Leader`.
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
        ended: Callable[[Sequence[int]], None],
        ended_all: Callable[[], None],
        look_around: Callable[[Runtime], None] | None = None,
    ) -> None:
        self._settings = settings
        self._ended_all = ended_all
        self._watchdog = Watchdog(grace=settings.interrupt_grace, cancel_grace=settings.cancel_grace)
        self._resolver = Resolver(registry, key)
        outage = Outage(running=lambda: len(self._watchdog.runs()), waiting=lambda: len(self.dispatcher.outcomes))
        self.membership = Membership(
            settings=settings, clock=clock, database=database, folder=folder, version=version, outage=outage
        )
        membership = self.membership
        self.dispatcher = Dispatcher(
            WorkerParts(
                settings=settings,
                clock=clock,
                database=database,
                registration=membership.registration,
                resolver=self._resolver,
                middleware=middleware,
                watchdog=self._watchdog,
                running_jobs=membership.presence.running_jobs,
                lock_descriptor=membership.presence.descriptor,
                outage=outage,
                may_run=lambda: membership.may_run,
                ended=ended,
            )
        )
        self.leader = Leader(
            settings=settings,
            clock=clock,
            database=database,
            registration=membership.registration,
            fired=partial(self.dispatcher.notify, 0),
            outage=outage,
            look_around=None if look_around is None else lambda: look_around(self),
        )

    def runs(self, job: JobContext) -> bool:
        """Whether a job with this context runs here."""
        return any(run.context is job for run in self._watchdog.runs())

    def has(self, needs: str) -> bool:
        """Whether this process has what a parked job needs."""
        return self._resolver.has(needs)

    def _look_again(self) -> None:
        self.dispatcher.look_again()
        self.leader.look_again()

    def start(self) -> None:
        """Start the threads. Jobs that earlier processes left behind are handled first."""
        try:
            self._watchdog.start()
            # Before any job starts: what a dead process may have died of is tried where nothing else runs yet.
            self.membership.start(self.dispatcher, self._look_again)
            self.dispatcher.start()
            self.leader.start()
        except BaseException:
            # All threads or none: threads that are left over would continue to run jobs.
            self.stop(0)
            raise

    def stop(self, timeout: float) -> bool:
        """Drain and stop: claim nothing more, let running jobs end, and release those that do not.

        Args:
            timeout: seconds that running jobs have to end by themselves. Then they are interrupted and have
                `interrupt_grace` to end.
        Returns:
            False when a job still does not end, or an outcome cannot be written. The job keeps its claim: the threads
            that record its outcome stay until it ends, and if the process ends first, the job is rescued.
        """
        try:
            self.membership.announce_stop()
        except Exception as error:
            logger.warning("could not announce the stop: %s", error)
        self.dispatcher.stop_claiming()
        self.leader.stop()
        self._watchdog.request_stop()
        if not self._drained(timeout):
            logger.warning(
                "jobs are still running after %.1f s; they are interrupted and go back to the queue", timeout
            )
            self._watchdog.interrupt_all()
            if not self._drained(self._settings.interrupt_grace + 0.5):
                logger.error("jobs do not end; they keep this process's claim until they end, or the process does")
                supervision.start("embedq-draining", self._finish_later)
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
            logger.error("outcomes cannot be written; this process keeps its claims, and tries again until it ends")
            return False
        self._watchdog.stop()
        self.membership.stop()
        self.membership.leave()
        self._ended_all()
        return True

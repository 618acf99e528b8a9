"""The registration of this process, its heartbeat, and the rescue of the jobs of processes that died.

On one host a dead process is recognized by its file lock, which the kernel has freed, within `CHECK_SECONDS`. Across
hosts it is recognized by a heartbeat that this process has seen unchanged for a whole lease (`observation`). A process
that is merely slow keeps its lock, and so its jobs.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from embedq.clock import SECOND, Clock, booted_for, elapsed
from embedq.config import Settings
from embedq.display.units import counted
from embedq.errors import StorageError
from embedq.job import JobState
from embedq.maintenance.contact import Contact, LeaseTiming
from embedq.maintenance.fence import Fence, LocalJobs
from embedq.maintenance.heartbeat import Heartbeat
from embedq.observability.log import get_logger
from embedq.observability.outage import Outage
from embedq.process import supervision
from embedq.process.liveness import Presence, died, host_identity, remove_files, running_jobs_of, sweep
from embedq.process.registration import Registration
from embedq.storage import location_requests, servers
from embedq.storage.base import Database, Transaction
from embedq.storage.location_requests import LocationReply, LocationRequest
from embedq.storage.rows import Outcome, storable
from embedq.storage.servers import Identity, ServerRow

logger = get_logger()

CHECK_SECONDS = 0.4
PART = "rescue"


class Membership:
    """Registers this process, and rescues the jobs of others that died.

    Args:
        folder: where the processes of this database keep their lock files.
    Attributes:
        presence: the lock file by which other processes of this host see that this one is alive.
        registration: holds this process's number.
    """

    def __init__(
        self, *, settings: Settings, clock: Clock, database: Database, folder: Path, version: str, outage: Outage
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._folder = folder
        self._outage = outage
        # A slot for each worker, async job and child process, and some for the workers that replace stuck ones.
        slots = settings.workers * 4 + settings.async_jobs + settings.process_count
        self.presence = Presence(folder, slots=slots)
        self._host = host_identity(folder)
        identity = Identity(
            uuid=self.presence.uuid,
            host=self._host,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=version,
            workers=settings.workers,
            queues=settings.queues,
        )
        sent = elapsed()
        try:
            server_id = database.write(servers.register, identity, now=clock.now())
            self.registration = Registration(server_id, identity.uuid)
        except BaseException:
            self.presence.leave()
            raise
        timing = LeaseTiming.of(settings.lease, interrupt_grace=settings.interrupt_grace, remote=database.remote)
        self._contact = Contact(timing, sent)
        self._heartbeat = Heartbeat(
            database=database,
            clock=clock,
            identity=identity,
            registration=self.registration,
            contact=self._contact,
            outage=outage,
            registered_again=lambda: self._jobs.mark_uncertain(),
        )
        self._jobs: LocalJobs
        self._rescued: Callable[[], None]
        self._fence: Fence | None = None
        self._stop = threading.Event()
        self._thread: supervision.Supervised | None = None

    @property
    def may_run(self) -> bool:
        """Whether jobs may start here: the process has not been cut off for so long that others may take its jobs."""
        return self._fence is None or not (self._fence.closed or self._contact.lost(elapsed()))

    def start(self, jobs: LocalJobs, rescued: Callable[[], None]) -> None:
        """Rescue the jobs of earlier processes of this host, then start the threads.

        Args:
            jobs: the jobs of this process, which end when it may have been cut off.
            rescued: called when jobs were taken back, or leadership may be free.
        """
        self._jobs, self._rescued = jobs, rescued
        self.rescue_dead_processes()
        sweep(self._folder, {self.presence.uuid, *(row.uuid for row in self._others())})
        self._heartbeat.start()
        if self._database.remote:
            self._fence = Fence(self._contact, jobs=jobs, beat_now=self._heartbeat.beat_now, outage=self._outage)
            self._fence.start()
        self._thread = supervision.start("embedq-rescue", self._watch)

    def announce_stop(self) -> None:
        """Record that this process ends on purpose: jobs that it leaves running have not crashed."""
        self._database.write(servers.mark_stopping, self.registration.server_id, now=self._clock.now())

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._fence is not None:
            self._fence.stop()
        self._heartbeat.stop()

    def leave(self) -> None:
        """Deregister and release the lock. Only once no job of this process can still be running."""
        try:
            self._database.write(servers.leave, self.registration.server_id)
        except StorageError as error:
            logger.warning("could not deregister; another process will clean up: %s", error)
        self.presence.leave()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.wait(CHECK_SECONDS):
            try:
                registered, requests = self._database.read(self._read)
                if not registered:
                    self._heartbeat.beat_now()
                for request in requests:
                    self._reply(request)
                self.rescue_dead_processes()
                self._outage.worked(PART)
            except StorageError as error:
                self._outage.failed(PART, error)
            except Exception as error:
                logger.exception("rescue: %s", error)
        self._outage.left(PART)

    def _read(self, tx: Transaction) -> tuple[bool, list[LocationRequest]]:
        return servers.registered(tx, self.registration.server_id), location_requests.pending(
            tx, self.registration.server_id
        )

    def _reply(self, request: LocationRequest) -> None:
        where, text = self._jobs.stack_of(request.job_id) or ("", "")
        reply = LocationReply(self._clock.now(), where, storable(text))
        self._database.write(location_requests.reply, request.id, reply)

    def _others(self) -> list[ServerRow]:
        return self._database.read(servers.others, self.registration.server_id)

    def rescue_dead_processes(self) -> int:
        """Take back the jobs of every process that is known to be dead; return how many processes."""
        dead = [row for row in self._others() if self._is_dead(row)]
        for row in dead:
            rescue(
                self._database,
                row,
                folder=self._folder,
                host=self._host,
                settings=self._settings,
                now=self._clock.now(),
            )
        if dead:
            self._rescued()
        return len(dead)

    def _is_dead(self, row: ServerRow) -> bool:
        free = lock_is_free(row, folder=self._folder, host=self._host)
        if free is not None:
            return free
        return self._heartbeat.observer.unchanged_for_lease(row.id, row.heartbeat_at) or self._is_of_an_earlier_boot(
            row
        )

    def _is_of_an_earlier_boot(self, row: ServerRow) -> bool:
        """Whether it can only have run before the last boot of this machine, where its database file is."""
        up = booted_for()
        if self._database.remote or up is None or row.host == self._host:
            return False
        return row.heartbeat_at < self._clock.now() - max(up, self._settings.lease) * SECOND


def lock_is_free(row: ServerRow, *, folder: Path, host: str) -> bool | None:
    """Return whether a process of this host is dead, by its lock; None if its lock is not visible from here.

    Args:
        folder: where the processes of its database keep their lock files, and `host` that folder's `host_identity`.
    """
    return died(folder, row.uuid) if row.host == host else None


def rescue(
    database: Database, row: ServerRow, *, folder: Path, host: str, settings: Settings, now: int
) -> list[Outcome]:
    """Take back the jobs of a dead process, and log that; return their outcomes.

    Nothing is taken if its heartbeat has changed since the row was read.
    """
    started = running_jobs_of(folder, row.uuid) if row.host == host else None
    outcomes = database.write(
        servers.rescue,
        row.id,
        heartbeat_at=row.heartbeat_at,
        started=started,
        now=now,
        max_crashes=settings.max_crashes,
        retention=settings.retention,
    )
    if outcomes is None:
        return []
    logger.warning("process %s on %s is gone: %s", row.pid, row.hostname, rescued_jobs(outcomes, started))
    if row.host == host:
        remove_files(folder, row.uuid)
    return outcomes


def rescued_jobs(outcomes: Sequence[Outcome], started: Collection[int] | None) -> str:
    """Return which jobs a dead process had, and where they go, in words.

    Args:
        started: the jobs that were running, as it recorded them; None if that is not known.
    """
    if not outcomes:
        return "it held no jobs"
    if started is None:
        text = f"it held {counted(len(outcomes), 'job')}, and which of them were running is not known"
    else:
        running = sum(outcome.job_id in started for outcome in outcomes)
        claimed = len(outcomes) - running
        text = f"{running:,} of its jobs {'was' if running == 1 else 'were'} running"
        text += f", {claimed:,} more {'was' if claimed == 1 else 'were'} claimed" if claimed else ""
    states = [outcome.state for outcome in outcomes]
    results = [
        f"{count:,} {one if count == 1 else many}" for state, one, many in _RESULTS if (count := states.count(state))
    ]
    return f"{text}; {', '.join(results)}"


_RESULTS = (
    (JobState.READY, "goes back to the queue", "go back to the queue"),
    (JobState.DEAD, "is set aside as dead", "are set aside as dead"),
    (JobState.CANCELLED, "is cancelled", "are cancelled"),
)

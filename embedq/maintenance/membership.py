"""This process among the others: its registration, its heartbeat, and the rescue of those that died.

On one host a death is seen by the file lock that the kernel freed, within `LOOK_SECONDS`. Across hosts it is seen by a
heartbeat that stayed away for the lease. A process that is merely slow keeps its lock, and so its jobs.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from embedq.clock import SECOND, Clock
from embedq.config import Settings
from embedq.errors import StorageError
from embedq.job import Ending
from embedq.liveness import Presence, died, host_identity, notes_of, remove_files, sweep
from embedq.storage import questions, servers
from embedq.storage.base import Database, Transaction
from embedq.storage.questions import Answer, Question
from embedq.storage.rows import Outcome, storable
from embedq.storage.servers import Identity, ServerRow

logger = logging.getLogger("embedq")

LOOK_SECONDS = 0.4


class Membership:
    """Registers this process and keeps an eye on its neighbours.

    Args:
        folder: where the processes of this database keep their lock files.
        rescued: called when jobs were taken back, or leadership may be free.
        given_up: called when this process had been given up on and has registered anew.
        stack_of: says where a job is that runs here, as (where, text); None when it does not.
    Attributes:
        server_id: this process's number; it changes if others gave it up and it had to register anew.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        database: Database,
        folder: Path,
        version: str,
        rescued: Callable[[], None],
        given_up: Callable[[], None],
        stack_of: Callable[[int], tuple[str, str] | None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._folder = folder
        self._rescued = rescued
        self._given_up = given_up
        self._stack_of = stack_of
        # A slot for each worker, async job and process, and some for the workers that replace stuck ones.
        slots = settings.workers * 4 + settings.async_jobs + settings.process_count
        self.presence = Presence(folder, slots=slots)
        self._host = host_identity(folder)
        self._identity = Identity(
            uuid=self.presence.uuid,
            host=self._host,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=version,
            workers=settings.workers,
            queues=settings.queues,
        )
        try:
            self.server_id = database.write(servers.register, self._identity, now=clock.now())
        except BaseException:
            self.presence.leave()
            raise
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Rescue what earlier processes left, then keep looking on a thread of its own."""
        self.rescue_the_dead()
        sweep(self._folder, {self.presence.uuid, *(row.uuid for row in self._others())})
        self._thread = threading.Thread(target=self._watch, name="embedq-heartbeat", daemon=True)
        self._thread.start()

    def announce_stop(self) -> None:
        """Let it be known that this process ends on purpose: what it may leave behind is no crash."""
        self._database.write(servers.mark_stopping, self.server_id, now=self._clock.now())

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def leave(self) -> None:
        """Deregister and let go of the lock. Only once no job of this process can still be running."""
        try:
            self._database.write(servers.remove, self.server_id)
        except StorageError as error:
            logger.warning("could not deregister; the next process to look will clean up: %s", error)
        self.presence.leave()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        beat_at = time.monotonic() + self._settings.lease / 3
        while not self._stop.wait(LOOK_SECONDS):
            try:
                registered, asked = self._database.read(self._look)
                if time.monotonic() >= beat_at or not registered:
                    beat_at = time.monotonic() + self._settings.lease / 3
                    self._beat()
                for question in asked:
                    self._answer(question)
                self.rescue_the_dead()
            except Exception as error:
                log = logger.warning if isinstance(error, StorageError) else logger.exception
                log("heartbeat: %s", error)

    def _look(self, tx: Transaction) -> tuple[bool, list[Question]]:
        return servers.registered(tx, self.server_id), questions.asked(tx, self.server_id)

    def _answer(self, question: Question) -> None:
        where, text = self._stack_of(question.job_id) or ("", "")
        answer = Answer(self._clock.now(), where, storable(text))
        self._database.write(questions.reply, question.id, answer)

    def _beat(self) -> None:
        if self._database.write(servers.beat, self.server_id, now=self._clock.now()):
            return
        # Others gave this process up (it slept past its lease on another host). What they took of its claims is theirs:
        # the outcomes are refused, and the runs here are interrupted. It goes on under a new number.
        logger.error("this process had been given up on and registers anew; the jobs it was running run elsewhere")
        self.server_id = self._database.write(
            servers.register_anew, self._identity, instead_of=self.server_id, now=self._clock.now()
        )
        self._given_up()

    def _others(self) -> list[ServerRow]:
        return self._database.read(servers.others, self.server_id)

    def rescue_the_dead(self) -> int:
        """Take back the jobs of every process that is known to be gone; return how many processes."""
        gone = [row for row in self._others() if self._is_gone(row)]
        for row in gone:
            rescue(
                self._database,
                row,
                folder=self._folder,
                host=self._host,
                settings=self._settings,
                now=self._clock.now(),
            )
        if gone:
            self._rescued()
        return len(gone)

    def _is_gone(self, row: ServerRow) -> bool:
        return is_gone(row, folder=self._folder, host=self._host, lease=self._settings.lease, now=self._clock.now())


def is_gone(row: ServerRow, *, folder: Path, host: str, lease: float, now: int) -> bool:
    """Whether a process is dead: by its lock file if it is on this host, otherwise by its heartbeat.

    Args:
        folder: where the processes of its database keep their lock files, and `host` that folder's `host_identity`.
        lease: seconds after the last heartbeat.
    """
    gone = died(folder, row.uuid) if row.host == host else None
    if gone is None:
        return row.heartbeat_at + lease * SECOND < now
    return gone


def rescue(
    database: Database, row: ServerRow, *, folder: Path, host: str, settings: Settings, now: int
) -> list[Outcome]:
    """Take back what a dead process held, and say so in the log; what became of its jobs."""
    outcomes = database.write(
        servers.rescue,
        row.id,
        started=notes_of(folder, row.uuid) if row.host == host else None,
        now=now,
        max_crashes=settings.max_crashes,
        retention=settings.retention,
    )
    crashed = sum(outcome.ending is Ending.CRASHED for outcome in outcomes)
    logger.warning(
        "process %s on %s is gone; %d of its jobs were running, %d more claimed; they go back to the queue",
        row.pid, row.hostname, crashed, len(outcomes) - crashed,
    )  # fmt: skip
    if row.host == host:
        remove_files(folder, row.uuid)
    return outcomes

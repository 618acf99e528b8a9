"""Makes three lists of claims agree: this process's ledger, those that its threads have, and the database's.

They differ after a commit whose result is unknown, after other processes declared this one dead, and after a thread
ended unexpectedly. All of it runs on the dispatcher's thread, between its turns.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from embedq.observability.log import get_logger
from embedq.storage import servers
from embedq.storage.rows import Outcome
from embedq.worker.claim_ledger import ClaimKey, ClaimLedger
from embedq.worker.outcome_queue import OutcomeQueue
from embedq.worker.outcomes import OutcomeBuilder
from embedq.worker.parts import WorkerParts
from embedq.worker.runners import Runners

logger = get_logger()


class Reconciler:
    """Belongs to one dispatcher.

    Attributes:
        turn_uncertain: the last turn may or may not have been committed.
        thread_ended: a thread ended unexpectedly, so that no thread may hold some claim.
    """

    def __init__(
        self,
        parts: WorkerParts,
        *,
        ledger: ClaimLedger,
        outcomes: OutcomeQueue,
        runners: Runners,
        builder: OutcomeBuilder,
    ) -> None:
        self._parts = parts
        self._ledger = ledger
        self._outcomes = outcomes
        self._runners = runners
        self._builder = builder
        self.turn_uncertain = False
        self.thread_ended = False
        # Claims that belong to another process by now, and whose runs are still to be interrupted.
        self._taken: set[ClaimKey] = set()
        # Claims whose outcomes were refused: other processes took them as if this one had died.
        self._refused: set[ClaimKey] = set()

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.thread_ended or self._ledger.uncertain or self._taken or self._refused)

    def refused(self, outcomes: Iterable[Outcome]) -> None:
        """Record outcomes that the database refused."""
        for outcome in outcomes:
            self._refused.add((outcome.job_id, outcome.claim))
            logger.warning(
                "job %s (%s): a late outcome (%s) was refused; the job had been taken from this process",
                outcome.job_id, outcome.name, outcome.ending,
            )  # fmt: skip

    def drop_stray_claims(self) -> None:
        """Drop the claims that no thread holds, after one has ended; the ledger is uncertain, so `compare` releases
        them in the database. Nothing is handed over meanwhile."""
        if not self.thread_ended or self._runners.threads.reserved:
            return
        held = self._runners.held()
        if held is None:
            return
        self.thread_ended = False
        # After `held`: the runners report an outcome before they drop its job.
        self._ledger.keep(held | self._outcomes.claims())

    def compare(self) -> list[Outcome] | None:
        """Compare the ledger with the database, if it is uncertain and that is possible now.

        Returns:
            The outcomes that turn out to be written; None if nothing was compared.
        """
        if not self._ledger.uncertain or self._runners.threads.reserved or self.thread_ended:
            return None
        outcomes = self._outcomes
        found = self._ledger.compare(outcomes.unwritten if self.turn_uncertain else [])
        self.turn_uncertain = False
        if found.written:
            outcomes.unwritten = [outcome for outcome in outcomes.unwritten if outcome not in found.written]
        taken = found.taken.difference((outcome.job_id, outcome.claim) for outcome in found.written)
        if taken:
            logger.warning("%d jobs were taken from this process; their runs here are interrupted", len(taken))
        self._taken.update(taken)
        return found.written

    def withdraw_taken(self) -> None:
        """Interrupt the runs of jobs that belong to another process by now, as soon as each can be interrupted."""
        for job_id, claim in list(self._taken):
            waiting = self._runners.threads.withdraw(job_id, claim)
            if waiting is not None:
                self._outcomes.reported.append(self._builder.released(waiting))
            if waiting or (job_id, claim) not in self._ledger or self._parts.watchdog.withdraw(job_id, claim):
                self._taken.discard((job_id, claim))

    def forgive_refused(self) -> None:
        """Undo the crashes that were counted for jobs taken from this process, since it is alive."""
        if not self._refused:
            return
        refused = frozenset(self._refused)
        said = (
            f"process {os.getpid()} on {socket.gethostname()}, which ran this job, was out of reach, and had not died"
        )
        self._parts.database.write(servers.forgive, refused, said=said, now=self._parts.clock.now())
        self._refused.difference_update(refused)

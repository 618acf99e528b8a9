"""The claims of this process: each one from the moment it is known here until the end of its run is durable.

The database agrees with the ledger, except in two situations: after a commit whose result is unknown (a job may be
`running` there and unknown here), and after other processes have declared this one dead (a job may run here and belong
to another process). The code that meets one of them calls `mark_uncertain`; the dispatcher then compares the two.

The surprise is a job that is handed to an idle worker directly: between its insert and the hand-over it looks like a
job that no process runs. So there is no comparison while a worker is reserved, and no reservation while the ledger is
uncertain.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from embedq.observability.log import get_logger
from embedq.storage import servers
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.parts import WorkerParts

logger = get_logger()

ClaimKey = tuple[int, int]
"""A job's id and the number of the claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How the ledger and the database differed.

    Attributes:
        taken: claims that are in the ledger, and belong to another process by now.
        written: of the outcomes in question, those that need no writing.
    """

    taken: frozenset[ClaimKey]
    written: list[Outcome]


class ClaimLedger:
    """The claims of one process. Any thread may call `add`, `job_ids` and `mark_uncertain`."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._claims: set[ClaimKey] = set()
        # The latest event after which the database may disagree; None once the two have been compared.
        self._uncertainty: object | None = None
        self._mutex = threading.RLock()
        # This process's number at the last comparison.
        self._known_as = parts.registration.server_id

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Enter claims."""
        self._claims.update([(job.id, job.claim) for job in jobs])

    def drop(self, outcomes: Iterable[Outcome]) -> None:
        """Remove claims whose outcomes are durable, or refused."""
        self._claims.difference_update([(outcome.job_id, outcome.claim) for outcome in outcomes])

    def keep(self, claims: Set[ClaimKey]) -> None:
        """Remove all claims but these. None are added while the ledger is uncertain."""
        self._claims.intersection_update(claims)

    def __contains__(self, claim: ClaimKey) -> bool:
        return claim in self._claims

    def job_ids(self) -> set[int]:
        """Return the ids of the claimed jobs."""
        return {job_id for job_id, _ in frozenset(self._claims)}

    @property
    def uncertain(self) -> bool:
        """Whether the database may disagree."""
        return self._uncertainty is not None

    def mark_uncertain(self) -> None:
        """Record that the database may disagree."""
        with self._mutex:
            self._uncertainty = object()

    def compare(self, unwritten: Sequence[Outcome]) -> Comparison:
        """Compare with the database, and release there what is claimed by this process and not in the ledger.

        Args:
            unwritten: outcomes that may or may not have been written.
        Raises:
            StorageError: the ledger remains uncertain.
        """
        parts, server_id = self._parts, self._parts.registration.server_id
        uncertainty, claims = self._uncertainty, frozenset(self._claims)
        own, released = parts.database.write(
            servers.reconcile,
            server_id,
            formerly=self._known_as,
            held=claims,
            now=parts.clock.now(),
            retention=parts.settings.retention,
        )
        self._known_as = server_id
        with self._mutex:
            if self._uncertainty is uncertainty:
                self._uncertainty = None
        if released:
            logger.warning(
                "%d jobs go back to the queue: the database had them as claimed here, and they did not run", released
            )
        written = [outcome for outcome in unwritten if (outcome.job_id, outcome.claim) not in own]
        return Comparison(taken=frozenset(self._claims & claims - own), written=written)

"""What this process holds: each claim from the moment it is known here until the end of its run is durable.

The database says the same of it, but for two kinds of moment: after a commit of which nobody knows whether it happened
(a job may be `running` there and nowhere here), and after others gave this process up (a job may run here and be
theirs). Whoever meets one says `doubt`, and the dispatcher then compares the two.

The surprise is a job that is handed over without the queue: between its insert and the hand-over it looks like one that
nobody holds. So there is no comparing while a worker is promised to somebody, and no promising while there is a doubt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from embedq.clock import Clock
from embedq.config import Settings
from embedq.storage import servers
from embedq.storage.base import Database
from embedq.storage.rows import ClaimedJob, Outcome

logger = logging.getLogger("embedq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the database had to say.

    Attributes:
        taken: claims (job id, claim) that are held here and not this process's own any more.
        written: of the outcomes in question, those that need no writing.
    """

    taken: frozenset[tuple[int, int]]
    written: list[Outcome]


class Holdings:
    """The claims of one process.

    Args:
        server_id: gives this process's number.
    """

    def __init__(self, *, database: Database, clock: Clock, settings: Settings, server_id: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._server_id = server_id
        self._claims: set[tuple[int, int]] = set()
        # The last doubt that there was; None when it has been cleared up.
        self._doubt: object | None = None
        self._mutex = threading.Lock()
        # The number under which it was known at the last comparison.
        self._known_as = server_id()

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """These are held from now on. Called by any thread."""
        self._claims.update([(job.id, job.claim) for job in jobs])

    def drop(self, outcomes: Iterable[Outcome]) -> None:
        """The ends of these are durable, or refused."""
        self._claims.difference_update([(outcome.job_id, outcome.claim) for outcome in outcomes])

    def __contains__(self, claim: tuple[int, int]) -> bool:
        return claim in self._claims

    @property
    def doubted(self) -> bool:
        """Whether the database may see it otherwise."""
        return self._doubt is not None

    def doubt(self) -> None:
        """Something happened of which it cannot be known what the database makes of it. Called by any thread."""
        with self._mutex:
            self._doubt = object()

    def compare(self, unwritten: Sequence[Outcome]) -> Comparison:
        """Give back what the database has as this process's and is not held here; find out what is not its own.

        Args:
            unwritten: outcomes of which it is not known whether they were written.
        Raises:
            StorageError: the doubt remains.
        """
        doubt, held, server_id = self._doubt, frozenset(self._claims), self._server_id()
        own, released = self._database.write(
            servers.reconcile,
            server_id,
            formerly=self._known_as,
            held=held,
            now=self._clock.now(),
            retention=self._settings.retention,
        )
        self._known_as = server_id
        with self._mutex:
            if self._doubt is doubt:
                self._doubt = None
        if released:
            logger.warning("%d jobs that were claimed here without its being known go back to the queue", released)
        written = [outcome for outcome in unwritten if (outcome.job_id, outcome.claim) not in own]
        return Comparison(taken=frozenset(self._claims & held - own), written=written)

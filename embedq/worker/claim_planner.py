"""Decides what the dispatcher claims next: how many jobs for each executor, or one suspect.

How much follows from what is free: a job for each idle worker, and beyond that about as many as the workers finish in
the next moments (`rate_estimate`). Nothing is claimed for an executor for which no job is ready, as far as is known.
"""

from __future__ import annotations

import math

from embedq.clock import SECOND
from embedq.storage.claims import EXECUTORS, ISOLATED_EXECUTORS, Claim, Request
from embedq.worker.needs import Needs
from embedq.worker.parts import WorkerParts
from embedq.worker.quarantine import Quarantine
from embedq.worker.rate_estimate import BUFFER_LIMIT, RateEstimate
from embedq.worker.runners import Runners


class ClaimPlanner:
    """Belongs to one dispatcher. Other threads may call `expect_jobs` and `expect_at`.

    Attributes:
        claiming: False once the process is stopping.
        expected: the executors for which jobs may be ready.
        next_due: when the next job is due, in microseconds; `math.inf` when none is known.
    """

    def __init__(self, parts: WorkerParts, runners: Runners) -> None:
        self._parts = parts
        self._runners = runners
        self.claiming = True
        self.needs = Needs()
        self.quarantine = Quarantine()
        self.rate = RateEstimate()
        self.expected = set(EXECUTORS)
        self.next_due: float = math.inf
        # The most jobs that a claim may read: fewer after one that could not be read.
        self._limit: float = math.inf

    def expect_jobs(self) -> None:
        """Record that jobs may be ready, for any executor."""
        self.expected.update(EXECUTORS)

    def expect_at(self, run_at: int) -> bool:
        """Record that a job is due at `run_at`; return whether the dispatcher has to act or to sleep less long."""
        if run_at <= self._parts.clock.now():
            self.expect_jobs()
            return True
        if run_at < self.next_due:
            self.next_due = run_at
            return True
        return False

    def room(self) -> dict[str, int]:
        """Return how many more jobs each executor may have now."""
        if not self.claiming or self.quarantine.closed or not self._parts.may_run():
            return {}
        room = self._runners.room(prefetch=self.rate.prefetch, low_water=self.rate.low_water)
        if self._limit is math.inf:
            return room
        return {executor: min(limit, int(self._limit)) for executor, limit in room.items()}

    def limits(self) -> dict[str, int]:
        """Return how many jobs to claim for each executor; empty for none."""
        due = self.next_due <= self._parts.clock.now()
        if not due and not self.expected:
            return {}
        room = self.room().items()
        return {executor: limit for executor, limit in room if limit > 0 and (due or executor in self.expected)}

    def seconds_until_due(self) -> float:
        """Return how long until the next job is due that has room here."""
        if self.next_due == math.inf or not any(self.room().values()):
            return math.inf
        return (self.next_due - self._parts.clock.now()) / SECOND

    def request(self) -> Request | None:
        """Return what to claim now; None for nothing. A suspect comes first."""
        if not self._runners.has_processes:
            self.expected.discard("process")
        limits = self.limits()
        if (suspect := self._suspect(others_wait=bool(limits))) is not None:
            return suspect
        if not limits:
            return None
        return Request(
            server_id=self._parts.registration.server_id,
            limits=limits,
            queues=self._parts.settings.queues,
            known_needs=self.needs.known,
        )

    def _suspect(self, *, others_wait: bool) -> Request | None:
        """Return the request for the suspect that waits, when it may start here."""
        if not (self.quarantine.waiting and self.claiming):
            return None
        threads = self._runners.threads
        if threads.buffer or threads.reserved or threads.idle == 0 or not self._parts.may_run():
            return None
        if not self.quarantine.admits(self._runners.latest_start, others_wait=others_wait):
            return None
        return Request(
            server_id=self._parts.registration.server_id,
            limits={executor: 1 for executor in EXECUTORS if executor not in ISOLATED_EXECUTORS},
            queues=self._parts.settings.queues,
            suspect=True,
        )

    def claim_starts(self, request: Request) -> None:
        """Forget what the claim is about to find.

        An enqueue that comes later records it again. Not earlier than in the transaction: an enqueue before that has
        recorded a job that is claimed now, and the next job would not be handed over directly.
        """
        if not request.suspect:
            self.expected.difference_update(request.limits)
        self.next_due = math.inf

    def claimed(self, claim: Claim) -> None:
        """Record what a claim found."""
        self.expected.update(claim.full)
        if claim.jobs and self._limit is not math.inf:
            self._limit = self._limit * 2 if self._limit < BUFFER_LIMIT else math.inf
        self.quarantine.waiting = claim.suspect_waits
        if claim.next_due is not None:
            self.next_due = min(self.next_due, claim.next_due)

    def narrow(self, request: Request) -> bool:
        """Claim half as many jobs from now on; return False when it was one job already."""
        most = max(request.limits.values())
        if most > 1:
            self._limit = most // 2
        return most > 1

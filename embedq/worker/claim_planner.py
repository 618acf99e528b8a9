"""Decides what the dispatcher claims next: how many jobs for each executor, or one suspect.

How much follows from what is free: a job for each idle worker, and beyond that about as many as the workers finish in
the next moments (`rate_estimate`). Nothing is claimed for an executor for which no job is ready, as far as is known.
"""

from __future__ import annotations

import math

from embedq.clock import SECOND
from embedq.flow.lanes import LANE_EXECUTORS, is_laned, laned
from embedq.storage.claims import ALL_EXECUTORS, ISOLATED_EXECUTORS, Claim, Request
from embedq.worker.known_holds import KnownHolds
from embedq.worker.known_lanes import KnownLanes
from embedq.worker.needs import Needs
from embedq.worker.parts import WorkerParts
from embedq.worker.quarantine import Quarantine
from embedq.worker.rate_estimate import BUFFER_LIMIT, RateEstimate
from embedq.worker.runners import Runners

# How soon lanes that had no room are looked at again when another process has written.
RETRY_MICROS = 50_000


class ClaimPlanner:
    """Belongs to one dispatcher. Other threads may call `expect_jobs` and `expect_at`.

    Attributes:
        claiming: False once the process is stopping.
        expected: the executors for which jobs may be ready.
        next_due: when the next job is due, or a pause ends, in microseconds; `math.inf` when none is known.
        holds: what is paused.
        all_held: the last claim found nothing while something is paused, or limits are reached: what is ready may be
            just that.
    """

    def __init__(self, parts: WorkerParts, runners: Runners) -> None:
        self._parts = parts
        self._runners = runners
        self.claiming = True
        self.needs = Needs()
        self.holds = KnownHolds(parts.clock, parts.registration)
        self.all_held = False
        self.quarantine = Quarantine()
        self.rate = RateEstimate()
        self.lanes = KnownLanes()
        self.expected = set(ALL_EXECUTORS)
        self.next_due: float = math.inf
        # The most jobs that a claim may read: fewer after one that could not be read.
        self._limit: float = math.inf

    def expect_jobs(self) -> None:
        """Record that jobs may be ready, for any executor."""
        self.expected.update(ALL_EXECUTORS)
        self.lanes.changed = True

    def expect_news(self) -> None:
        """Record that another process has written, and a job is ready; not at once for lanes that had no room."""
        now = self._parts.clock.now()
        waits = self.lanes.saturated if self.lanes.just_tried() else frozenset()
        self.expected.update(executor for executor in ALL_EXECUTORS if executor not in waits)
        if waits:
            self.lanes.look_at = min(self.lanes.look_at, now + RETRY_MICROS)
        else:
            self.lanes.changed = True

    def permits_return(self) -> None:
        """Record that jobs have ended here: lanes that had no room may have some."""
        if self.lanes.saturated:
            self.expected.update(self.lanes.saturated)
            self.lanes.changed = True

    def nothing_waits(self, executor: str) -> bool:
        """Return whether no job is known to wait for an executor."""
        return executor not in self.expected and laned(executor) not in self.expected

    def expect_at(self, run_at: int) -> bool:
        """Record that a job is due at `run_at`; return whether the dispatcher has to act or to sleep less long."""
        if run_at <= self._parts.clock.now():
            self.expect_jobs()
            return True
        if run_at < self.next_due:
            self.next_due = run_at
            return True
        return False

    @property
    def claims(self) -> bool:
        """Whether this process claims jobs: it is neither stopping nor quiet."""
        return self.claiming and not self.holds.quiet

    def room(self) -> dict[str, int]:
        """Return how many more jobs each executor may have now."""
        if not self.claims or self.quarantine.closed or not self._parts.may_run():
            return {}
        # While lanes have jobs to start, nothing is claimed ahead: it would take their workers.
        prefetch, low_water = (0, 0) if self.lanes.waiting else (self.rate.prefetch, self.rate.low_water)
        room = self._runners.room(prefetch=prefetch, low_water=low_water)
        if self._limit is math.inf:
            return room
        return {executor: min(limit, int(self._limit)) for executor, limit in room.items()}

    def limits(self) -> dict[str, int]:
        """Return how many jobs to claim for each executor; empty for none."""
        now = self._parts.clock.now()
        due, lanes_due = self.next_due <= now, self.lanes.look_at <= now
        if not due and not lanes_due and not self.expected:
            return {}
        return {
            executor: limit
            for executor, limit in self.room().items()
            if limit > 0 and (due or executor in self.expected or (lanes_due and is_laned(executor)))
        }

    def seconds_until_due(self) -> float:
        """Return how long until the next job is due that has room here, or this process claims again."""
        if self.holds.quiet:
            until = self.holds.quiet_until
            return math.inf if until is None else (until - self._parts.clock.now()) / SECOND
        if self.next_due == self.lanes.look_at == math.inf:
            return math.inf
        room = [executor for executor, limit in self.room().items() if limit > 0]
        moment = self.next_due if room else math.inf
        if any(is_laned(executor) for executor in room):
            moment = min(moment, self.lanes.look_at)
        return (moment - self._parts.clock.now()) / SECOND

    def request(self) -> Request | None:
        """Return what to claim now; None for nothing. A suspect comes first."""
        if not self._runners.has_processes:
            self.expected.discard("process")
        limits = self.limits()
        if (suspect := self._suspect(others_wait=bool(limits))) is not None:
            return suspect
        if not limits:
            return None
        # Whether lanes have jobs is learned even where they have no room now.
        lanes = self.lanes.request(self._parts.clock.now())
        limits |= {one: 0 for one in LANE_EXECUTORS if (lanes.due or one in self.expected) and one not in limits}
        return Request(
            server_id=self._parts.registration.server_id,
            limits=limits,
            queues=self._parts.settings.queues,
            known_needs=self.needs.known,
            lanes=lanes,
        )

    def _suspect(self, *, others_wait: bool) -> Request | None:
        """Return the request for the suspect that waits, when it may start here."""
        if not (self.quarantine.waiting and self.claims):
            return None
        threads = self._runners.threads
        if threads.buffer or threads.reserved or threads.idle == 0 or not self._parts.may_run():
            return None
        if not self.quarantine.admits(self._runners.latest_start, others_wait=others_wait):
            return None
        return Request(
            server_id=self._parts.registration.server_id,
            limits={executor: 1 for executor in ALL_EXECUTORS if executor not in ISOLATED_EXECUTORS},
            queues=self._parts.settings.queues,
            suspect=True,
            lanes=self.lanes.request(self._parts.clock.now()),
        )

    def claim_starts(self, request: Request) -> None:
        """Forget what the claim is about to find.

        An enqueue that comes later records it again. Not earlier than in the transaction: an enqueue before that has
        recorded a job that is claimed now, and the next job would not be handed over directly.
        """
        if not request.suspect:
            self.expected.difference_update(request.limits)
            self.lanes.claim_starts(request)
        self.next_due = math.inf
        self.holds.reading()

    def claimed(self, request: Request, claim: Claim) -> None:
        """Record what a claim found."""
        self.expected.update(claim.full)
        # A claim of one suspect looks at no lanes.
        self.lanes.learned(() if request.suspect else request.limits, claim.lanes)
        if claim.lanes.missing:
            self.expected.update(LANE_EXECUTORS)
            self.lanes.changed = True
        if claim.jobs and self._limit is not math.inf:
            self._limit = self._limit * 2 if self._limit < BUFFER_LIMIT else math.inf
        self.quarantine.waiting = claim.suspect_waits
        self.holds.read(claim.holds)
        self.all_held = bool(claim.holds or claim.lanes.saturated) and not claim.jobs
        if claim.next_due is not None:
            self.next_due = min(self.next_due, claim.next_due)

    def narrow(self, request: Request) -> bool:
        """Claim half as many jobs from now on; return False when it was one job already."""
        most = max(request.limits.values())
        if most > 1:
            self._limit = most // 2
        return most > 1

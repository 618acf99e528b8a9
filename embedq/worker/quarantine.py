"""Keeping a suspect apart: a job whose process died under it twice may be what kills it, and takes nobody along.

A suspect starts only when every other job of the process has been running for a while (those that kill do so soon), and
for as long again nothing else starts beside it. If the process dies now, it is known by whom; if it lives, the suspect
was a bystander. The price is a pause of some seconds in one process, paid when a job has seen two crashes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from embedq.storage.claims import APART, SUSPECT_AFTER
from embedq.storage.rows import ClaimedJob, Outcome

APART_SECONDS = 10.0


class Quarantine:
    """What one dispatcher knows of suspects.

    Attributes:
        waiting: a suspect is ready in a queue that is worked here.
    """

    def __init__(self) -> None:
        self.waiting = False
        self._suspect: tuple[int, int] | None = None
        self._alone_until = 0.0

    @property
    def closed(self) -> bool:
        """Whether no ordinary job may start now."""
        if self._suspect is None:
            return self.waiting
        return time.monotonic() < self._alone_until

    @property
    def calming(self) -> bool:
        """Whether a suspect waits for the others to have run for a while."""
        return self.waiting and self._suspect is None

    def admits(self, latest_start: float) -> bool:
        """Whether the waiting suspect may start, given when the latest of the other jobs started (monotonic)."""
        return self.calming and time.monotonic() - latest_start >= APART_SECONDS

    def seconds_left(self) -> float | None:
        """Until ordinary jobs may start beside the suspect; None when they may, or it has not started."""
        left = self._alone_until - time.monotonic()
        return left if self._suspect is not None and left > 0 else None

    def started(self, claimed: Sequence[ClaimedJob]) -> None:
        """Take note of a suspect among the jobs that start now."""
        for job in claimed:
            if job.crashes >= SUSPECT_AFTER and job.executor not in APART:
                self._suspect = (job.id, job.claim)
                self._alone_until = time.monotonic() + APART_SECONDS

    def ended(self, outcomes: Sequence[Outcome]) -> bool:
        """Take note of these ends; True when the suspect is among them."""
        if self._suspect is None or all((out.job_id, out.claim) != self._suspect for out in outcomes):
            return False
        self._suspect = None
        return True

"""Runs suspects apart: a job whose process died twice while it ran may be what kills the process (process/poison.py).

A suspect starts first where nothing else runs, as in a process that has just started: there its trial is alone. Where
jobs run, it waits a moment for such a process, then until the others have ended or have run for a while; meanwhile
nothing else starts. During its trial nothing else starts either. If the process dies then, the cause is known. If it
lives, the trial is over, and the next suspect waits until other jobs have had as much time to start as this one took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from embedq.process.poison import SUSPECT_AFTER, trial_seconds
from embedq.storage.claims import ISOLATED_EXECUTORS
from embedq.storage.rows import ClaimedJob, Outcome

# Where other jobs run, a suspect waits this long for a process in which none does.
WAIT_FOR_IDLE_SECONDS = 5.0
# A suspect does not wait for jobs that have run for this long.
CALM_SECONDS = 10.0


class Quarantine:
    """The suspects of one dispatcher.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When the suspect that waits was first seen.
        self._waiting_since: float | None = None
        self._trial: tuple[int, int] | None = None
        self._trial_ends = 0.0
        self._closed_since = 0.0
        self._open_until = 0.0

    @property
    def waiting(self) -> bool:
        """Whether a suspect is ready in a queue that this process works."""
        return self._waiting_since is not None

    @waiting.setter
    def waiting(self, waiting: bool) -> None:
        if not waiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self._clock()

    @property
    def _closes_at(self) -> float | None:
        """When ordinary jobs stop starting because a suspect waits; None when none does."""
        since = self._waiting_since
        return None if since is None else max(self._open_until, since + WAIT_FOR_IDLE_SECONDS)

    @property
    def closed(self) -> bool:
        """Whether no ordinary job may start now. Any thread may read it."""
        return self._trial is not None or self.calming

    @property
    def calming(self) -> bool:
        """Whether a suspect waits until the running jobs have ended or have run for a while."""
        closes_at = self._closes_at
        return self._trial is None and closes_at is not None and self._clock() >= closes_at

    def admits(self, latest_start: float, *, others_wait: bool) -> bool:
        """Return whether the waiting suspect may start.

        Args:
            latest_start: when the latest of the running jobs started, on the clock; 0.0 when none runs.
            others_wait: whether ordinary jobs may be ready.
        """
        if self._trial is not None or not self.waiting:
            return False
        if not latest_start:
            return not others_wait or self._clock() >= self._open_until
        return self.calming and self._clock() - latest_start >= CALM_SECONDS

    def seconds_left(self) -> float | None:
        """Return how long until something changes by itself; None when nothing does."""
        at = self._closes_at if self._trial is None else self._trial_ends
        left = 0.0 if at is None else at - self._clock()
        return left if left > 0 else None

    def started(self, claimed: Sequence[ClaimedJob]) -> None:
        """Begin the trial of a suspect that is among the jobs that start now."""
        for job in claimed:
            if job.crashes >= SUSPECT_AFTER and job.executor not in ISOLATED_EXECUTORS:
                now = self._clock()
                self._closed_since = min(now, self._closes_at or now)
                self._trial = (job.id, job.claim)
                self._trial_ends = now + trial_seconds(job.trials)

    def survived(self) -> tuple[int, int] | None:
        """Return once the suspect (job id, claim) whose trial is over; other jobs may start beside it."""
        trial = self._trial
        if trial is None or self._clock() < self._trial_ends:
            return None
        self._open()
        return trial

    def ended(self, outcomes: Sequence[Outcome]) -> bool:
        """End the trial if its suspect is among these outcomes; return whether it is."""
        if self._trial is None or all((out.job_id, out.claim) != self._trial for out in outcomes):
            return False
        self._open()
        return True

    def _open(self) -> None:
        now = self._clock()
        self._trial = None
        self._open_until = now + (now - self._closed_since)

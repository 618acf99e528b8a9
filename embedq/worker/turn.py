"""A turn of the dispatcher: one transaction in which outcomes go in and claims come out, and what follows from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from embedq.clock import Clock
from embedq.config import Settings
from embedq.flow.lanes import is_laned
from embedq.job import JobState
from embedq.observability.log import get_logger
from embedq.storage import claims, continuations, finishing, permits
from embedq.storage.base import Transaction
from embedq.storage.claims import Claim, Request
from embedq.storage.finishing import Finished
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker import unwritable
from embedq.worker.claim_ledger import ClaimLedger
from embedq.worker.claim_planner import ClaimPlanner
from embedq.worker.notes import NO_NOTES, NoteBatch, Notes
from embedq.worker.outcome_queue import OutcomeQueue
from embedq.worker.outcomes import OutcomeBuilder
from embedq.worker.parts import WorkerParts
from embedq.worker.reconciliation import Reconciler
from embedq.worker.records import log_outcomes, log_step
from embedq.worker.runners import Runners

logger = get_logger()

# Outcomes that come close together share a transaction.
LINGER_SECONDS = 0.002


def turn(
    tx: Transaction,
    outcomes: Sequence[Outcome],
    request: Request | None,
    notes: NoteBatch,
    *,
    now: int,
    settings: Settings,
    claim_starts: Callable[[Request], None] | None = None,
    clock: Clock | None = None,
) -> tuple[Claim | None, Finished]:
    """Write the notes and outcomes of jobs, and claim the next jobs.

    Args:
        claim_starts: called when the outcomes are written and the claim begins.
        clock: the moment of the claim. A transaction may wait for its turn, or be tried again, long after `now`, and
            rates count starts by when they happen; None for `now`.
    """
    noted = notes.job_ids()
    locked = bool(noted) and finishing.lock(tx, outcomes, noted)
    notes.write(tx)
    finished = finishing.finish(tx, outcomes, now=now, retention=settings.retention, locked=locked)
    if request is None:
        _tell_lanes(tx, outcomes, ())
        return None, finished
    if claim_starts is not None:
        claim_starts(request)
    claim = claims.claim(tx, request, now=now if clock is None else clock.now(), retention=settings.retention)
    _tell_lanes(tx, outcomes, claim.jobs)
    return claim, finished


def _tell_lanes(tx: Transaction, outcomes: Sequence[Outcome], claimed: Sequence[ClaimedJob]) -> None:
    """Wake other processes if more permits came back than are used here."""
    freed = sum(outcome.laned for outcome in outcomes)
    if freed > sum(is_laned(job.executor) for job in claimed):
        permits.announce(tx)


class TurnRunner:
    """Takes the turns of one dispatcher, on its thread.

    Attributes:
        ended_at: when the last turn ended, on the monotonic clock.
        unsettled: more continuations wait for jobs that ended here than one transaction takes.
    """

    def __init__(
        self,
        parts: WorkerParts,
        *,
        runners: Runners,
        builder: OutcomeBuilder,
        notes: Notes,
        outcomes: OutcomeQueue,
        ledger: ClaimLedger,
        planner: ClaimPlanner,
        reconciler: Reconciler,
    ) -> None:
        self._parts = parts
        self._database = parts.database
        self._settings = parts.settings
        self._runners = runners
        self._pool = runners.threads
        self._builder = builder
        self._notes = notes
        self._outcomes = outcomes
        self._ledger = ledger
        self._planner = planner
        self._quarantine = planner.quarantine
        self._reconciler = reconciler
        self.ended_at = 0.0
        self.unsettled = False

    def take(self) -> None:
        """Write and claim what there is to write and claim."""
        if (not self._planner.claims or self._quarantine.calming) and self._pool.buffer:
            self.give_back()
        if self._outcomes:
            self._planner.permits_return()
        request = self._planner.request()
        if request is None and time.monotonic() < self.ended_at + LINGER_SECONDS:
            return
        if not (self._outcomes or request or self._notes):
            return
        notes = self._notes.take()
        outcomes = self._outcomes.take(self._notes)
        try:
            claim, finished = self._database.write(
                turn, outcomes, request, notes,
                now=self._parts.clock.now(), settings=self._settings, claim_starts=self._planner.claim_starts,
                clock=self._parts.clock,
            )  # fmt: skip
        except BaseException as error:
            self._notes.put_back(notes)
            if unwritable.is_unwritable(error) and (outcomes or self._notes):
                self._write_around()
            elif request is not None and unwritable.is_unreadable(error):
                self._claim_less(request)
            else:
                raise
            self._planner.expect_jobs()
            return
        self._after(outcomes, finished, request, claim)
        self._outcomes.unwritten = []

    def _after(self, outcomes: list[Outcome], finished: Finished, request: Request | None, claim: Claim | None) -> None:
        now = time.monotonic()
        if outcomes:
            self._planner.rate.measure(len(outcomes), now - self.ended_at)
            self._pool.progressed_at = now
            self.settle(outcomes, finished)
        self.ended_at = now
        if finished.woken:
            self._planner.expect_jobs()
        self.unsettled = self.unsettled or finished.unsettled
        if request is not None and claim is not None:
            undeclared = self._planner.lanes.undeclared(claim.lanes)
            if claim.lanes.missing or undeclared:
                now_us = self._parts.clock.now()
                self._database.write(permits.prepare, claim.lanes.missing, undeclared, now=now_us)
            self._planner.claimed(request, claim)
            self._start(claim.jobs)

    def settle(self, outcomes: list[Outcome], finished: Finished) -> None:
        """Do what follows from outcomes that are durable."""
        self._ledger.drop(outcomes)
        if self._quarantine.ended(outcomes):
            self._planner.expect_jobs()
        for outcome in outcomes:
            if outcome.state is JobState.PARKED and outcome.needs is not None:
                self._planner.needs.lacks(outcome.needs)
        if finished.refused:
            self._reconciler.refused(finished.refused)
            log_outcomes([outcome for outcome in outcomes if outcome not in finished.refused])
        else:
            log_outcomes(outcomes)
        self._parts.ended(finished.ended)

    def _start(self, claimed: list[ClaimedJob]) -> None:
        if not claimed:
            return
        self._ledger.add(claimed)
        if not self._parts.may_run():
            # The answer took long, and others may be about to take these jobs.
            self._outcomes.reported.extend([self._builder.released(job) for job in claimed])
            return
        if not self._pool.buffer:
            self._pool.progressed_at = time.monotonic()
        self._quarantine.started(claimed)
        if logger.isEnabledFor(logging.DEBUG):
            for job in claimed:
                log_step("claimed", job)
        self._runners.submit(claimed)

    def settle_some(self) -> None:
        """Decide some of the continuations that a turn has left, in a transaction of their own."""
        now, retention = self._parts.clock.now(), self._settings.retention
        advanced = self._database.write(continuations.settle, now=now, retention=retention)
        self.unsettled = advanced.unsettled
        if advanced.woken:
            self._planner.expect_jobs()

    def give_back(self) -> int:
        """Give back the jobs in the buffer; return how many. Any thread may call it."""
        waiting = self._pool.take_back()
        self._outcomes.reported.extend([self._builder.released(job) for job in waiting])
        return len(waiting)

    # -- what cannot be written or read --------------------------------------------------------------------------------

    def _write_around(self) -> None:
        """Write all of a turn but what cannot be written, and record why that could not be."""
        pieces = self._notes.take().pieces()
        try:
            for written in unwritable.write_notes(self._database, pieces):
                pieces = pieces[len(written) :]
        finally:
            for piece in pieces:
                self._notes.put_back(piece)
        for lot, finished in unwritable.write_outcomes(
            self._database, self._outcomes.unwritten, now=self._parts.clock.now(), settings=self._settings
        ):
            self._outcomes.unwritten = self._outcomes.unwritten[len(lot) :]
            self.settle(lot, finished)

    def _claim_less(self, request: Request) -> None:
        """Claim fewer jobs after a claim that cannot be read; set a job aside that cannot be read by itself."""
        if self._planner.narrow(request):
            return
        now, settings = self._parts.clock.now(), self._settings
        for executor in request.limits:
            one = replace(request, limits={executor: 1})
            try:
                claim, finished = self._database.write(turn, [], one, NO_NOTES, now=now, settings=settings)
            except Exception as error:
                if not unwritable.is_unreadable(error):
                    raise
                reason, retention = unwritable.why_unreadable(error), settings.retention
                set_aside = self._database.write(finishing.set_aside, one, reason=reason, now=now, retention=retention)
                log_outcomes(set_aside)
            else:
                self._after([], finished, one, claim)

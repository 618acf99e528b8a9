"""The outcomes of claimed jobs: what each way to end means for the job. Nothing here touches the database."""

from __future__ import annotations

from typing import Any

from embedq.clock import SECOND, Clock
from embedq.config import Settings
from embedq.errors import ParkError, PayloadTooLargeError, RateLimited, Snooze, UnstorableArgumentError
from embedq.job import Ending, JobState
from embedq.observability.log import get_logger
from embedq.process import faults
from embedq.process.registration import Registration
from embedq.serializers import dumps_value
from embedq.storage.rows import ClaimedJob, Outcome, storable
from embedq.tasks.options import StoredOptions
from embedq.tasks.retry import Retry, decide
from embedq.worker.error_text import headline, traceback_text
from embedq.worker.records import log_failure
from embedq.worker.resolving import Resolves

logger = get_logger()

DEFAULT_RETRY = Retry()


class OutcomeBuilder:
    """Makes the outcomes of one process's jobs.

    Args:
        logs_failures: failures are logged here, in the thread where they happen, rather than when they are recorded.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        registration: Registration,
        resolver: Resolves,
        logs_failures: bool = False,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._registration = registration
        self._resolver = resolver
        self._logs_failures = logs_failures

    def _outcome(
        self,
        job: ClaimedJob,
        state: JobState,
        ending: Ending,
        started: int,
        *,
        error: str | None = None,
        needs: str | None = None,
        gives_back: int = 0,
    ) -> Outcome:
        now = self._clock.now()
        return Outcome.of(
            job, state, ending,
            started_at=started,
            # Never before it started, whatever the clock has done meanwhile.
            finished_at=now if now > started else started,
            server_id=self._registration.server_id,
            retention=self._settings.retention,
            error=error,
            needs=needs,
            gives_back=gives_back,
        )  # fmt: skip

    def succeeded(self, job: ClaimedJob, started: int, result: Any) -> Outcome:
        """Return the outcome of a job that returned `result`."""
        outcome = self._outcome(job, JobState.SUCCEEDED, Ending.SUCCEEDED, started)
        if result is not None:
            try:
                outcome.result = dumps_value(result, limit=self._settings.max_payload_bytes)
            except (UnstorableArgumentError, PayloadTooLargeError) as error:
                # The work is done; only its result cannot be read by others.
                outcome.error = storable(f"the result was not stored: {error}")
            except Exception as error:
                outcome.error = storable(f"the result was not stored: {headline(error)}")
        return outcome

    def failed(
        self,
        job: ClaimedJob,
        started: int,
        error: BaseException,
        policy: Retry | None,
        ending: Ending = Ending.FAILED,
    ) -> Outcome:
        """Return the outcome of a job that raised `error`: retried or dead, as its policy decides."""
        if faults.is_a(error, RateLimited) and isinstance(error, RateLimited):
            return self._rate_limited(job, started, error)
        if faults.is_a(error, Snooze) and isinstance(error, Snooze) and ending is Ending.FAILED:
            return self._snoozed(job, started, error)
        now = self._clock.now()
        first = job.first_started_at or started
        decision = decide(
            policy or DEFAULT_RETRY,
            attempt=job.attempt,
            first_started_at=first,
            now=now,
            error=error,
            slept=max(0.0, (started - first) / SECOND),
        )
        state = JobState.DEAD if decision.retry_at is None else JobState.RETRYING
        outcome = self._outcome(job, state, ending, started, error=headline(error))
        outcome.retry_at = decision.retry_at
        outcome.traceback = traceback_text(error)
        outcome.note = decision.reason
        if self._logs_failures:
            log_failure(outcome, error)
        return outcome

    def _rate_limited(self, job: ClaimedJob, started: int, error: RateLimited) -> Outcome:
        """Return the outcome of a job that raised RateLimited."""
        outcome = self._outcome(job, JobState.RETRYING, Ending.RELEASED, started, error=headline(error), gives_back=1)
        outcome.retry_at = outcome.finished_at + round(error.retry_after * SECOND)
        outcome.closes, outcome.closed_until = error.limit or "", outcome.retry_at
        logger.info("job %s (%s) runs again in %g s: it was refused for now", job.id, job.name, error.retry_after)
        return outcome

    def _snoozed(self, job: ClaimedJob, started: int, error: Snooze) -> Outcome:
        """Return the outcome of a job that put itself off. Its count is checked when this is recorded."""
        outcome = self._outcome(job, JobState.SCHEDULED, Ending.SNOOZED, started, error=headline(error), gives_back=1)
        outcome.retry_at = outcome.finished_at + round(error.seconds * SECOND)
        outcome.snoozes = error.at_most
        return outcome

    def lost(self, job: ClaimedJob, error: BaseException) -> Outcome:
        """Return the outcome of a job whose thread or event loop ended: a failure, by the job's own policy."""
        try:
            policy = StoredOptions.read(job.options).retry or self._resolver.resolve(job).defaults.retry
        except BaseException:
            policy = None
        return self.failed(job, self._clock.now(), error, policy)

    def unprepared(self, job: ClaimedJob, started: int, error: BaseException, policy: Retry | None) -> Outcome:
        """Return the outcome of a job that cannot be called: it cannot run in this process, or cannot be read."""
        if isinstance(error, ParkError):
            logger.warning("job %s (%s) is parked: %s", job.id, job.name, error)
            return self._outcome(
                job, JobState.PARKED, Ending.PARKED, started, error=str(error), needs=error.needs, gives_back=1
            )
        logger.error("job %s (%s) cannot be read", job.id, job.name)
        return self.failed(job, started, error, policy)

    def crashed(self, job: ClaimedJob, started: int, how: str, trace: str | None) -> Outcome:
        """Return the outcome of a job whose own child process died. The crash is the job's own, whatever ran beside."""
        dead = job.crashes_alone + 1 >= self._settings.max_crashes
        outcome = self._outcome(
            job,
            JobState.DEAD if dead else JobState.READY,
            Ending.CRASHED,
            started,
            error=how + (f", {job.crashes_alone + 1} times in all; set aside" if dead else ""),
            gives_back=int(not dead),
        )
        outcome.crashed = outcome.crashed_alone = 1
        outcome.traceback = trace
        return outcome

    def cancelled_while_running(self, job: ClaimedJob, started: int) -> Outcome:
        """Return the outcome of a run that ended because it was cancelled."""
        return self._outcome(job, JobState.CANCELLED, Ending.CANCELLED, started, error="cancelled while it ran")

    def stopped(self, job: ClaimedJob, started: int) -> Outcome:
        """Return the outcome of a run that ended because the process stops: the job goes back to the queue."""
        return self._outcome(job, JobState.READY, Ending.RELEASED, started, gives_back=1)

    def released(self, job: ClaimedJob) -> Outcome:
        """Return the outcome of a claim that is given back before the job began."""
        return self.stopped(job, self._clock.now())

    def cancelled(self, job: ClaimedJob) -> Outcome:
        """Return the outcome of a claim that was cancelled before the job began: no attempt was made."""
        return self._outcome(
            job, JobState.CANCELLED, Ending.RELEASED, self._clock.now(), error="cancelled", gives_back=1
        )

"""One log record for each outcome, with its fields as attributes for machines and in the message for people."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from embedq.clock import SECOND
from embedq.job import Ending, JobState
from embedq.observability.log import get_logger
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.error_text import ExcInfo, exc_info, stand_in

logger = get_logger()

_FAILURES = (Ending.FAILED, Ending.TIMED_OUT, Ending.CRASHED)


def log_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Log at INFO what went well, at WARNING a failure that is retried, at ERROR a job that is dead.

    Failures were logged when they happened (`log_failure`), except those in child processes.
    """
    if not logger.isEnabledFor(logging.WARNING):
        return
    fine = logger.isEnabledFor(logging.INFO)
    for outcome in outcomes:
        if outcome.logged or (outcome.ending is Ending.SUCCEEDED and not fine):
            continue
        if outcome.ending in _FAILURES:
            _log_failure(outcome, stand_in(outcome.error, outcome.traceback))
        elif fine:
            _log(logging.INFO, outcome, None)


def log_failure(outcome: Outcome, error: BaseException) -> None:
    """Log a failure with the error itself: in the thread where it happened, before the error's frames are cleared."""
    outcome.logged = True
    _log_failure(outcome, exc_info(error) or stand_in(outcome.error, outcome.traceback))


def _log_failure(outcome: Outcome, error: ExcInfo) -> None:
    level = logging.ERROR if outcome.state is JobState.DEAD else logging.WARNING
    if logger.isEnabledFor(level):
        _log(level, outcome, error)


def _log(level: int, outcome: Outcome, error: ExcInfo | None) -> None:
    seconds = (outcome.finished_at - outcome.started_at) / SECOND
    logger.log(
        level,
        "job %s (%s) attempt %s %s in %.3f s%s%s",
        outcome.job_id, outcome.name, outcome.attempt, outcome.ending.value, seconds,
        f": {outcome.error}" if outcome.error else "",
        f" ({outcome.note})" if outcome.note else "",
        exc_info=error,
        extra={
            "job_id": outcome.job_id,
            "job_name": outcome.name,
            "job_queue": outcome.queue,
            "job_attempt": outcome.attempt,
            "job_duration": seconds,
            "job_outcome": outcome.ending.value,
            "job_state": outcome.state.value,
        },
    )  # fmt: skip


def log_step(step: str, job: ClaimedJob) -> None:
    """Log one step of a job at DEBUG: claimed, started. Check `logger.isEnabledFor` first."""
    logger.debug(
        "job %s (%s) attempt %s %s", job.id, job.name, job.attempt, step,
        extra={"job_id": job.id, "job_name": job.name, "job_queue": job.queue, "job_attempt": job.attempt},
    )  # fmt: skip

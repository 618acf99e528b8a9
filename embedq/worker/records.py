"""The log record of each outcome: fields as attributes of the record for machines, and in its message for people."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from embedq.clock import SECOND
from embedq.job import Ending, JobState
from embedq.storage.rows import Outcome

logger = logging.getLogger("embedq")


def log_outcomes(outcomes: Sequence[Outcome]) -> None:
    """One record for each: INFO for what went well, WARNING for a failure that is tried again, ERROR for a dead job."""
    if not logger.isEnabledFor(logging.WARNING):
        return
    fine = logger.isEnabledFor(logging.INFO)
    for outcome in outcomes:
        if outcome.ending is Ending.SUCCEEDED and not fine:
            continue
        bad = outcome.ending in (Ending.FAILED, Ending.TIMED_OUT, Ending.CRASHED)
        if not (fine or bad):
            continue
        seconds = (outcome.finished_at - outcome.started_at) / SECOND
        logger.log(
            logging.ERROR if outcome.state is JobState.DEAD else logging.WARNING if bad else logging.INFO,
            "job %s (%s) attempt %s %s in %.3f s%s%s",
            outcome.job_id, outcome.name, outcome.attempt, outcome.ending.value, seconds,
            f": {outcome.error}" if outcome.error else "",
            f" ({outcome.note})" if outcome.note else "",
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

"""Jobs that put themselves off: their count, their cap, and the history that is kept of them.

The count stands in the job's row, so that it survives restarts; a retry by hand begins a new one. What a job sleeps
does not count for its retry policy: the moment of its first start moves along.
"""

from __future__ import annotations

from embedq.clock import SECOND
from embedq.config import Retention
from embedq.job import Ending, JobState
from embedq.storage.base import Transaction
from embedq.storage.rows import Outcome

# So many of a job's snoozes stay in its history.
KEPT = 20


def put_off(tx: Transaction, outcome: Outcome, retention: Retention) -> None:
    """Count a snooze, or let the outcome be a failure where the job may put itself off no more.

    A claim that was lost changes nothing, here as when the outcome is recorded.
    """
    row = tx.one("snoozes", (outcome.job_id, outcome.claim))
    if row is None or outcome.retry_at is None:
        return
    number, at_most = (row[0] or 0) + 1, outcome.snoozes
    seconds = (outcome.retry_at - outcome.finished_at) / SECOND
    if at_most is not None and number > at_most:
        outcome.state, outcome.ending = JobState.DEAD, Ending.FAILED
        outcome.delete_at = retention.for_job(row[1]).delete_at(JobState.DEAD, outcome.finished_at)
        outcome.retry_at, outcome.gives_back = None, 0
        outcome.error = (
            f"Snooze: it put itself off {at_most} times, as often as it may (at_most={at_most}); look for what it "
            "waits for, then retry it, or raise at_most"
        )
        return
    of = "" if at_most is None else f" of at most {at_most}"
    outcome.error = f"put itself off for {seconds:g} s (time {number}{of})"
    tx.run("count_snooze", (outcome.retry_at - outcome.started_at, outcome.job_id, outcome.claim))
    if number > KEPT:
        tx.run("forget_snoozes", (outcome.job_id, outcome.claim - KEPT))

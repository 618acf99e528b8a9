"""Waiting jobs that get another time, queue or priority. What has been attempted, and what waits for them, stays."""

from __future__ import annotations

from embedq.errors import JobStateError
from embedq.job import JobState
from embedq.storage import bulk, jobs
from embedq.storage.base import Transaction

_WHY_NOT = {
    JobState.RUNNING: "it is running; cancel it, or let it raise embedq.Snooze",
    JobState.SUCCEEDED: "it succeeded; enqueue a new job",
    JobState.DEAD: "it is dead; retry it first",
    JobState.CANCELLED: "it is cancelled; retry it first",
}


def reschedule(
    tx: Transaction, job_id: int, *, run_at: int | None, queue: str | None, priority: int | None, now: int
) -> JobState:
    """Give a waiting job another time (microseconds), queue or priority; None keeps what it has. Return its state.

    Raises:
        JobNotFoundError: there is no such job.
        JobStateError: it does not wait, or it is parked and is given a time.
    """
    state = jobs.locked_state(tx, job_id)
    if state not in jobs.WAITING:
        raise JobStateError(f"job {job_id} cannot be rescheduled: {_WHY_NOT.get(state, 'its row is damaged')}")
    if run_at is not None and state is JobState.PARKED:
        raise JobStateError(
            f"job {job_id} cannot get another time: it is parked, and starts as soon as what it needs is there; "
            "embedq show names that"
        )
    if queue is not None or priority is not None:
        bulk.move(tx, [job_id], queue=queue, priority=priority)
    if run_at is not None:
        waits = state in (JobState.AWAITING, JobState.RETRYING)
        ready = run_at <= now and state is not JobState.AWAITING
        state = JobState.READY if ready else state if waits else JobState.SCHEDULED
        tx.run("reschedule_job", (state, run_at, job_id))
    return jobs.locked_state(tx, job_id)

"""Why a job that is due has not started: a limit is reached, or it is paused. In words, for a test's messages."""

from __future__ import annotations

from dataclasses import dataclass

from embedq.errors import JobNotFoundError
from embedq.flow.holds import HoldKind
from embedq.flow.limits import declared
from embedq.job import Job, JobState
from embedq.storage import holds, inspect
from embedq.storage.base import Transaction
from embedq.storage.holds import Hold
from embedq.storage.why_waiting import obstacles

# Of so many jobs that wait, the latest ones, a drain tells why.
MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job waits, in words, and what a test can do about it.

    Attributes:
        limits: those that keep it from starting.
    """

    text: str
    remedy: str
    limits: tuple[str, ...] = ()


def why(tx: Transaction, job: Job, *, now: int) -> Reason | None:
    """Return why a ready or parked job does not start; None if nothing keeps it, or it lacks something else."""
    for hold in holds.in_force(tx, now=now):
        if hold.covers(job.queue, job.name):
            return _paused(hold)
    found = obstacles(tx, job.id, declared=declared(), now=now)
    limits = tuple(obstacle.limit for obstacle in found if obstacle.limit is not None)
    if not limits:
        # Those before it in its lane start first, and then it does.
        return None
    return Reason(
        "; ".join([obstacle.text for obstacle in found]),
        "let the time pass: embedq_app.clock.advance(…); or change the limit: embedq.set_limit(…)",
        limits,
    )


def situation(tx: Transaction, job_id: int, *, now: int) -> tuple[tuple[str, ...], str]:
    """Return the limits that a job waits for, and what it does, in words."""
    try:
        job = inspect.job(tx, job_id)
    except JobNotFoundError:
        return (), "it has ended, and was deleted after its retention"
    state = f"it is {job.state.value}"
    if job.state in (JobState.READY, JobState.PARKED):
        reason = why(tx, job, now=now)
        if reason is not None:
            return reason.limits, f"{state}, and waits: {reason.text}"
    if job.state is JobState.READY:
        return (), f"{state}, and no limit keeps it; drain() lets it run as far as limits allow"
    if job.state in (JobState.SCHEDULED, JobState.RETRYING):
        return (), f"{state} until {job.run_at:%Y-%m-%d %H:%M:%S} UTC"
    return (), state


def _paused(hold: Hold) -> Reason:
    subject = "everything" if hold.kind is HoldKind.EVERYTHING else f"{hold.kind} {hold.name}"
    until = "" if hold.until is None else f" until {hold.until:%Y-%m-%d %H:%M:%S} UTC"
    because = f" ({hold.reason})" if hold.reason else ""
    given = "" if hold.kind is HoldKind.EVERYTHING else f"{hold.kind}={hold.name!r}"
    remedy = f"resume it: embedq.resume({given})"
    if hold.until is not None:
        remedy += "; or let the time pass: embedq_app.clock.advance(…)"
    return Reason(f"{subject} is paused{until}{because}", remedy)


def reasons(tx: Transaction, queue: str | None, *, now: int) -> list[tuple[int, Reason]]:
    """Return the ids of jobs that are due and wait for a limit or the end of a pause, and why."""
    found: list[tuple[int, Reason]] = []
    for state in (JobState.READY, JobState.PARKED):
        for job in inspect.jobs(tx, state=state, queue=queue, limit=MOST_TOLD):
            reason = why(tx, job, now=now)
            if reason is not None:
                found.append((job.id, reason))
    return sorted(found, key=lambda one: one[0])[-MOST_TOLD:]

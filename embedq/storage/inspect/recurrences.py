"""Recurring jobs, and the ledger of their occurrences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from embedq.clock import to_datetime
from embedq.job import JobId
from embedq.storage.base import Transaction
from embedq.storage.schedules import ScheduleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One line of a schedule's ledger: an occurrence that was enqueued, or a run of them that was not.

    Attributes:
        outcome: "enqueued", "triggered" (by hand) or "passed".
        count: how many occurrences, from `fire_at` to `last_fire_at`; 1 unless passed.
        job_id: the job it became.
    """

    fire_at: datetime
    last_fire_at: datetime
    outcome: str
    count: int
    job_id: JobId | None
    reason: str | None
    recorded_at: datetime


def schedules(tx: Transaction) -> list[ScheduleRow]:
    """Every recurring job, by name."""
    return [ScheduleRow._make(row) for row in tx.all("schedules")]


def occurrences(tx: Transaction, schedule: str, limit: int = 100) -> list[Occurrence]:
    """The latest lines of a schedule's ledger, newest first."""
    return [
        Occurrence(
            fire_at=to_datetime(fire_at),
            last_fire_at=to_datetime(last),
            outcome=outcome,
            count=count,
            job_id=job_id,
            reason=reason,
            recorded_at=to_datetime(recorded_at),
        )
        for fire_at, outcome, last, count, job_id, reason, recorded_at in tx.all("occurrences", (schedule, limit))
    ]

"""One job: its row, its attempts, what it said, and the jobs before and after it."""

from __future__ import annotations

from embedq.clock import to_datetime
from embedq.errors import JobNotFoundError
from embedq.job import Attempt, Ending, Job, JobId, JobState, LogLine
from embedq.storage.base import Transaction
from embedq.storage.inspect.rows import job_from_row


def job(tx: Transaction, job_id: int) -> Job:
    """One job. JobNotFoundError if it is not there."""
    row = tx.one("job", (job_id,))
    if row is None:
        raise JobNotFoundError(f"no job {job_id}; it may have been pruned after its retention time")
    return job_from_row(row)


def attempts(tx: Transaction, job_id: int) -> list[Attempt]:
    """Every attempt that is over, oldest first; a success is the last."""
    found = [
        Attempt(
            number=number,
            ending=Ending(ending),
            started_at=to_datetime(started_at),
            finished_at=to_datetime(finished_at),
            error=error,
            traceback=traceback,
            server=server,
        )
        for number, ending, started_at, finished_at, error, traceback, server in tx.all("attempts", (job_id,))
    ]
    last = job(tx, job_id)
    if last.state is JobState.SUCCEEDED:
        assert last.started_at is not None
        assert last.finished_at is not None
        found.append(
            Attempt(
                number=last.attempt,
                ending=Ending.SUCCEEDED,
                started_at=last.started_at,
                finished_at=last.finished_at,
                error=None,
                traceback=None,
                server=None,
            )
        )
    return found


def logs(tx: Transaction, job_id: int) -> list[LogLine]:
    """What the job wrote, oldest first."""
    return [
        LogLine(at=to_datetime(at), attempt=attempt, message=text) for at, attempt, text in tx.all("logs", (job_id,))
    ]


def children(tx: Transaction, job_id: int) -> list[JobId]:
    """The jobs that continue this one."""
    return [JobId(child) for (child,) in tx.all("children", (job_id,))]


def outcome(tx: Transaction, job_id: int) -> tuple[JobState, str | None, str | None] | None:
    """State, stored result and error of a job; None if it is not there."""
    row = tx.one("outcome", (job_id,))
    return None if row is None else (JobState(row[0]), row[1], row[2])


def last_traceback(tx: Transaction, job_id: int) -> str | None:
    """The traceback of the last attempt that failed."""
    row = tx.one("last_traceback", (job_id,))
    return row[0] if row else None

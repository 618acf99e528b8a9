"""Jobs before and after they run: inserting, cancelling, retrying, and what they say while they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from embedq.config import Retention
from embedq.errors import JobNotFoundError, JobStateError, StorageBusyError
from embedq.job import ENDED, JobState
from embedq.storage import continuations
from embedq.storage.base import Transaction
from embedq.storage.rows import PAYLOAD, NewJob

# The columns that are rarely set stand together, from the first to the one before `created_at`.
CODE, CREATED_AT = NewJob._fields.index("code"), NewJob._fields.index("created_at")
NOTHING_RARE = (None,) * (CREATED_AT - CODE)
# So many rows at a time go in together.
CHUNK = 1000
# How often a job whose idempotency key is taken is looked for, and inserted after all when it is gone.
KEY_TRIES = 10


class Inserted(NamedTuple):
    """What became of a job to insert. `created` is False when its idempotency key belongs to an earlier job."""

    id: int
    created: bool


def insert(tx: Transaction, job: NewJob, *, claimed_by: Callable[[], int | None] | None = None) -> Inserted:
    """Insert one job.

    Args:
        claimed_by: gives the server on which it is running already, as it is to be handed to an idle worker there; None
            to let it wait. Asked here, when all is written that this process wrote before.

    Raises:
        StorageBusyError: the job that has its idempotency key cannot be seen in this transaction.
    """
    server_id = None if claimed_by is None else claimed_by()
    for _ in range(KEY_TRIES):
        job_id = _insert(tx, job, server_id)
        if job_id is not None:
            return Inserted(job_id, True)
        # Only a key's conflict stops an insert. Where several write at once, its job may be pruned at this moment.
        row = tx.one("job_id_by_key", (job.idempotency_key,))
        if row is not None:
            return Inserted(row[0], False)
    raise StorageBusyError(
        f"another job has the idempotency key {job.idempotency_key!r}, and this transaction cannot see it; roll back "
        "and try again"
    )


def _insert(tx: Transaction, job: NewJob, server_id: int | None) -> int | None:
    if server_id is not None:
        started = (JobState.RUNNING, *job[1:], 1, 1, job.created_at, job.created_at, server_id)
        return tx.insert("insert_job", started)
    if job[CODE:CREATED_AT] == NOTHING_RARE and job.expires_at is None:
        return tx.insert("insert_plain", (*job[:CODE], job.created_at, job.run_at))
    return tx.insert("insert_job", (*job, 0, 0, None, None, None))


def insert_many(tx: Transaction, jobs: Sequence[NewJob]) -> list[Inserted]:
    """Insert all, in order. Runs of jobs that differ only in their payload, as most are, go in together."""
    inserted: list[Inserted] = []
    for shared, group in groupby(jobs, key=_all_but_payload):
        alike = list(group)
        if len(alike) == 1 or alike[0].idempotency_key is not None:
            inserted += [insert(tx, job) for job in alike]
        else:
            ids = tx.insert_alike("insert_alike", shared, [job.payload for job in alike])
            inserted += [Inserted(job_id, True) for job_id in ids]
    return inserted


def _all_but_payload(job: NewJob) -> tuple[object, ...]:
    return job[:PAYLOAD] + job[PAYLOAD + 1 :]


def insert_continuation(tx: Transaction, job: NewJob, *, retention: Retention) -> Inserted:
    """Insert a job whose `parent_id` and `trigger` are set; it starts at once if the parent has ended that way.

    Raises:
        JobNotFoundError: the parent is not there (any more).
    """
    parent = tx.one("job_state", (job.parent_id,))
    if parent is None:
        raise JobNotFoundError(
            f"job {job.parent_id} is not there (any more), so nothing can continue it; "
            "ended jobs are kept for their retention time"
        )
    inserted = insert(tx, job)
    state = JobState(parent[0])
    if inserted.created and state in ENDED:
        assert job.parent_id is not None
        continuations.advance(tx, {job.parent_id: state}, now=job.created_at, retention=retention)
    return inserted


def insert_all(tx: Transaction, jobs: Sequence[NewJob], *, retention: Retention) -> list[Inserted]:
    """Insert all, in order, continuations among them.

    Raises:
        JobNotFoundError: as for `insert_continuation`.
    """
    inserted: list[Inserted] = []
    for continues, group in groupby(jobs, key=_continues):
        alike = list(group)
        if continues:
            inserted += [insert_continuation(tx, job, retention=retention) for job in alike]
        else:
            for at in range(0, len(alike), CHUNK):
                inserted += insert_many(tx, alike[at : at + CHUNK])
    return inserted


def _continues(job: NewJob) -> bool:
    return job.parent_id is not None


def cancel(tx: Transaction, job_id: int, *, now: int, retention: Retention, reason: str = "cancelled") -> JobState:
    """Cancel a job that waits, or ask the process that runs it to stop it; return the state it is in now.

    An ended job stays as it is.
    Raises:
        JobNotFoundError: there is no such job.
    """
    row = _state(tx, job_id)
    state = JobState(row[0])
    if state in ENDED:
        return state
    if state is JobState.RUNNING:
        tx.run("request_cancel", (now, job_id))
        return state
    delete_at = retention.for_job(row[3]).delete_at(JobState.CANCELLED, now)
    tx.run("cancel_waiting", (now, delete_at, reason, job_id))
    continuations.advance(tx, {job_id: JobState.CANCELLED}, now=now, retention=retention)
    return JobState.CANCELLED


def cancel_many(tx: Transaction, job_ids: Sequence[int], *, now: int, retention: Retention) -> int:
    """Cancel those of these jobs that are there and have not ended; return how many."""
    done = 0
    for job_id in job_ids:
        row = tx.one("job_state", (job_id,))
        if row is not None and row[0] not in ENDED:
            cancel(tx, job_id, now=now, retention=retention)
            done += 1
    return done


def retry(tx: Transaction, job_id: int, *, now: int) -> None:
    """Make a job run now, with a fresh count of attempts; its history is kept.

    Children that were cancelled because it died wait for it again.
    Raises:
        JobNotFoundError: there is no such job.
        JobStateError: it is running, ready, waits for its parent, or succeeded.
    """
    row = _state(tx, job_id)
    if not tx.run("retry_job", (now, job_id)):
        why = {
            "succeeded": "it succeeded; enqueue it anew if it must run again",
            "awaiting": "it waits for its parent",
            "ready": "it already waits for a worker",
            "running": "it is running",
        }[row[0]]
        raise JobStateError(f"job {job_id} cannot be retried: {why}")
    continuations.revive(tx, job_id)


def retry_many(tx: Transaction, job_ids: Sequence[int], *, now: int) -> int:
    """Retry those of these jobs that can be; return how many."""
    done = 0
    for job_id in job_ids:
        if tx.run("retry_job", (now, job_id)):
            continuations.revive(tx, job_id)
            done += 1
    return done


def add_logs(tx: Transaction, lines: Sequence[tuple[int, int, int, str]]) -> None:
    """Store lines that jobs wrote: (job id, instant, attempt, message)."""
    for line in lines:
        tx.run("insert_log", line)


def save_progress(tx: Transaction, reports: Sequence[tuple[float, str | None, int, int]]) -> None:
    """Store the latest progress of running jobs: (fraction, note, job id, claim)."""
    for report in reports:
        tx.run("save_progress", report)


def _state(tx: Transaction, job_id: int) -> tuple[str, str, str, str | None]:
    row = tx.one("job_state", (job_id,))
    if row is None:
        raise JobNotFoundError(f"no job {job_id}; it may have been pruned after its retention time")
    return row[0], row[1], row[2], row[3]

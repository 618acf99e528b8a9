"""Jobs before and after they run: inserting, cancelling, retrying; and the log and progress of running jobs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import NamedTuple

from embedq.config import Retention
from embedq.display.units import brief
from embedq.errors import JobNotFoundError, JobStateError, StorageBusyError
from embedq.flow.unique import may_have_rule
from embedq.job import ENDED, JobState
from embedq.storage import continuations, unique
from embedq.storage.base import Transaction
from embedq.storage.continuations import ChildJob
from embedq.storage.damage import member
from embedq.storage.rows import CODE, CREATED_AT, NOT_STARTED, PAYLOAD, NewJob, json_ids

# The columns that are rarely set stand together, from the first to the one before `created_at`.
NOTHING_RARE = (None,) * (CREATED_AT - CODE)
# What waits, and can be cancelled at once; and what can be retried.
WAITING = frozenset({JobState.AWAITING, JobState.SCHEDULED, JobState.READY, JobState.RETRYING, JobState.PARKED})
RETRIED = frozenset({JobState.SCHEDULED, JobState.RETRYING, JobState.PARKED, JobState.DEAD, JobState.CANCELLED})
# So many rows at a time go in together.
CHUNK = 1000
# How often a job whose idempotency key is taken is looked for, and inserted after all when it is gone.
KEY_TRIES = 10


class Inserted(NamedTuple):
    """The result of an insert. `created` is False when its idempotency or unique key belongs to an earlier job."""

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
    if may_have_rule(job.options):
        return insert_many(tx, [job])[0]
    return _insert_one(tx, job, None if claimed_by is None else claimed_by())


def _insert_one(tx: Transaction, job: NewJob, server_id: int | None) -> Inserted:
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
    if job[CODE:CREATED_AT] == NOTHING_RARE and job.expires_at is None and job.lane_key is None:
        return tx.insert("insert_plain", (*job[:CODE], job.created_at, job.run_at))
    return tx.insert("insert_job", (*job, *NOT_STARTED))


def insert_many(tx: Transaction, jobs: Sequence[NewJob]) -> list[Inserted]:
    """Insert all, in order; those whose unique key another job has are that one.

    Raises:
        UniqueConflictError: the rule of one of them refuses it.
    """
    if not any(job.options is not None and may_have_rule(job.options) for job in jobs):
        return _insert_rows(tx, jobs)
    plan = unique.plan(tx, jobs)
    ids = [inserted.id for inserted in _insert_rows(tx, plan.rows)]
    plan.record(tx, ids)
    return [Inserted(place.job_id if place.row is None else ids[place.row], place.created) for place in plan.places]


def _insert_rows(tx: Transaction, jobs: Sequence[NewJob]) -> list[Inserted]:
    """Insert all, in order. Runs of jobs that differ only in their payload, as most are, go in together."""
    if sum(job.idempotency_key is not None for job in jobs) > 1:
        return _insert_keyed(tx, jobs)
    inserted: list[Inserted] = []
    for shared, group in groupby(jobs, key=_all_but_payload):
        alike = list(group)
        if len(alike) == 1:
            inserted.append(_insert_one(tx, alike[0], None))
            continue
        for at in range(0, len(alike), CHUNK):
            ids = tx.insert_alike("insert_alike", shared, [job.payload for job in alike[at : at + CHUNK]])
            inserted += [Inserted(job_id, True) for job_id in ids]
    return inserted


def _all_but_payload(job: NewJob) -> tuple[object, ...]:
    return job[:PAYLOAD] + job[PAYLOAD + 1 :]


def _insert_keyed(tx: Transaction, jobs: Sequence[NewJob]) -> list[Inserted]:
    """Insert jobs of which several have idempotency keys."""
    ids = tx.insert_keyed(jobs)
    refused = [job.idempotency_key for job, job_id in zip(jobs, ids, strict=True) if job_id is None]
    earlier: dict[str, int] = dict(tx.all("job_ids_by_keys", (json.dumps(refused),))) if refused else {}
    inserted: dict[int, Inserted] = {}
    for number in sorted(range(len(jobs)), key=lambda number: jobs[number].idempotency_key or ""):
        job, job_id = jobs[number], ids[number]
        if job_id is not None:
            inserted[number] = Inserted(job_id, True)
        elif job.idempotency_key in earlier:
            inserted[number] = Inserted(earlier[job.idempotency_key], False)
        else:
            # The job that had the key has just been pruned, or came after what the transaction sees.
            inserted[number] = _insert_one(tx, job, None)
    return [inserted[number] for number in range(len(jobs))]


def insert_continuation(tx: Transaction, job: NewJob, *, retention: Retention) -> Inserted:
    """Insert a job whose `parent_id` and `trigger` are set; it starts at once if the parent has ended that way.

    Raises:
        JobNotFoundError: the parent is not there (any more).
    """
    return insert_all(tx, [job], retention=retention)[0]


def insert_all(tx: Transaction, jobs: Sequence[NewJob], *, retention: Retention) -> list[Inserted]:
    """Insert all, in order, continuations among them: these start at once if their parent has ended that way.

    Raises:
        JobNotFoundError: a parent is not there (any more).
    """
    parents = lock(tx, {job.parent_id for job in jobs if job.parent_id is not None})
    for job in jobs:
        if job.parent_id is not None and job.parent_id not in parents:
            raise JobNotFoundError(
                f"job {job.parent_id} is not there (any more), so nothing can continue it; "
                "ended jobs are kept for their retention time"
            )
    inserted = insert_many(tx, jobs)
    # These only: of others that wait for the same parent, some may not have been settled yet.
    children = [
        ChildJob(new.id, job.state, job.trigger, job.run_at, job.parent_id, job.options, None)
        for job, new in zip(jobs, inserted, strict=True)
        if job.parent_id is not None and new.created and parents[job.parent_id] in ENDED
    ]
    if children:
        continuations.decide(tx, children, parents, now=jobs[0].created_at, retention=retention)
    return inserted


def lock(tx: Transaction, job_ids: Collection[int]) -> dict[int, JobState]:
    """Lock jobs, in the order of their ids as everywhere; the states of those that are there."""
    if not job_ids:
        return {}
    found = tx.all("jobs_to_change", (json_ids(sorted(job_ids)),))
    return {job_id: member(JobState, state) for job_id, state, _ in found}


def locked_state(tx: Transaction, job_id: int) -> JobState:
    """Lock one job; return its state. JobNotFoundError if it is not there."""
    return member(JobState, _state(tx, job_id)[0])


def cancel(tx: Transaction, job_id: int, *, now: int, retention: Retention, reason: str = "cancelled") -> JobState:
    """Cancel a waiting job, or request the process that runs it to stop it; return its state now.

    An ended job stays as it is.
    Raises:
        JobNotFoundError: there is no such job.
    """
    state = locked_state(tx, job_id)
    if state in ENDED:
        return state
    changed = cancel_many(tx, [job_id], now=now, retention=retention, reason=reason)
    return JobState.CANCELLED if changed and state is not JobState.RUNNING else state


def cancel_many(
    tx: Transaction, job_ids: Sequence[int], *, now: int, retention: Retention, reason: str = "cancelled"
) -> int:
    """Cancel those of these jobs that are there and have not ended; return how many."""
    running: list[int] = []
    waiting: defaultdict[int | None, list[int]] = defaultdict(list)
    for job_id, state, options in tx.all("jobs_to_change", (json_ids(job_ids),)):
        if state == JobState.RUNNING:
            running.append(job_id)
        elif state in WAITING:
            waiting[retention.for_job(options).delete_at(JobState.CANCELLED, now)].append(job_id)
    if running:
        tx.run("request_cancels", (now, json_ids(running)))
    for delete_at, some in waiting.items():
        tx.run("cancel_jobs", (now, delete_at, reason, json_ids(some)))
    cancelled = [job_id for some in waiting.values() for job_id in some]
    continuations.advance(tx, dict.fromkeys(cancelled, JobState.CANCELLED), now=now, retention=retention)
    return len(running) + len(cancelled)


def retry(tx: Transaction, job_id: int, *, now: int) -> None:
    """Make a job run now, with a fresh count of attempts; its history is kept.

    Children that were cancelled because it died wait for it again.
    Raises:
        JobNotFoundError: there is no such job.
        JobStateError: it is running, ready, waits for its parent, or succeeded.
    """
    row = _state(tx, job_id)
    if may_have_rule(row[3]) and row[0] in RETRIED:
        refused = unique.retake(tx, {job_id: row[3]}, now=now)
        if refused:
            raise JobStateError(
                f"job {job_id} cannot be retried: job {refused[job_id]}, which has not ended, has the same unique key"
            )
    if not tx.run("retry_jobs", (now, json_ids([job_id]))):
        why = {
            "succeeded": "it succeeded; enqueue a new job if it must run again",
            "awaiting": "it waits for its parent",
            "ready": "it already waits for a worker",
            "running": "it is running",
        }.get(row[0], f"its row is damaged: there is no state {brief(row[0])}")
        raise JobStateError(f"job {job_id} cannot be retried: {why}")
    continuations.revive(tx, [job_id], now=now)


def retry_many(tx: Transaction, job_ids: Sequence[int], *, now: int) -> int:
    """Retry those of these jobs that can be; return how many. One whose unique key another job has cannot."""
    found = tx.all("jobs_to_change", (json_ids(job_ids),))
    retried = [job_id for job_id, state, _ in found if state in RETRIED]
    keyed = {job_id: options for job_id, state, options in found if state in RETRIED and may_have_rule(options)}
    if keyed:
        refused = unique.retake(tx, keyed, now=now)
        retried = [job_id for job_id in retried if job_id not in refused]
    if retried:
        tx.run("retry_jobs", (now, json_ids(retried)))
        continuations.revive(tx, retried, now=now)
    return len(retried)


def add_logs(tx: Transaction, lines: Sequence[tuple[int, int, int, str]]) -> None:
    """Store lines that jobs wrote: (job id, instant, attempt, message)."""
    if lines:
        tx.insert_rows("insert_logs", lines)


def save_progress(tx: Transaction, reports: Sequence[tuple[float, str | None, int, int]]) -> None:
    """Store the latest progress of running jobs: (fraction, note, job id, claim)."""
    for report in reports:
        tx.run("save_progress", report)


def save_options(tx: Transaction, changed: Sequence[tuple[str, int, int]]) -> None:
    """Replace the stored options of running jobs: (text, job id, claim)."""
    for one in changed:
        tx.run("save_options", one)


def _state(tx: Transaction, job_id: int) -> tuple[str, str, str, str | None]:
    row = tx.one("job_state", (job_id,)) if abs(job_id) < 1 << 63 else None
    if row is None:
        raise JobNotFoundError(f"no job {brief(job_id)}; it may have been pruned after its retention time")
    return row[0], row[1], row[2], row[3]

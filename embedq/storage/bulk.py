"""The changes that an action makes to one batch of jobs, within the caller's transaction.

Each function takes ids, skips jobs whose state does not allow the change, and returns how many it changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from embedq.config import Retention
from embedq.job import JobState
from embedq.storage import jobs, unique
from embedq.storage.base import Transaction
from embedq.storage.damage import member
from embedq.storage.rows import json_ids


class Changed(NamedTuple):
    """How many jobs were changed, and why the last of the others was not; None if there is no reason to give."""

    number: int
    reason: str | None = None


def run_now(tx: Transaction, job_ids: Sequence[int], *, now: int) -> Changed:
    """Let scheduled and retrying jobs be due now."""
    return Changed(tx.run("run_jobs_now", (now, json_ids(job_ids))), "it is neither scheduled nor retrying")


def move(tx: Transaction, job_ids: Sequence[int], *, queue: str | None, priority: int | None) -> Changed:
    """Give waiting jobs another queue or priority; None keeps what each has."""
    return Changed(tx.run("move_jobs", (queue, priority, json_ids(job_ids))), "it waits no longer")


def delete(
    tx: Transaction, job_ids: Sequence[int], *, cancel_children: bool, now: int, retention: Retention
) -> Changed:
    """Remove ended and waiting jobs with their attempts and logs.

    A job stays while a child of it has not ended, which may want its result. `cancel_children` cancels those that wait.
    """
    there = {job_id: member(JobState, state) for job_id, state in tx.all("jobs_to_delete", (json_ids(job_ids),))}
    reason = "it is not there any more" if len(there) < len(job_ids) else None
    row = tx.one("newest_job")
    newest = row[0] if row is not None else None
    left: set[int] = set()
    for job_id, state in there.items():
        if state is JobState.RUNNING:
            left.add(job_id)
            reason = f"job {job_id} is running; cancel it first"
        elif job_id == newest:
            # SQLite would give its number to the next job.
            left.add(job_id)
            reason = (
                f"job {job_id} is the newest, and its number must not be given again; delete it once there are others"
            )
    going = set(there) - left
    deleted = 0
    while going:
        held: dict[int, int] = {}
        cancelled: defaultdict[int, list[int]] = defaultdict(list)
        for child, parent, state in tx.all("unended_children", (json_ids(sorted(going)),)):
            if cancel_children and state != JobState.RUNNING:
                cancelled[parent].append(child)
            else:
                held[parent] = child
        for parent, children in cancelled.items():
            reason_of_children = f"its parent {parent} was deleted"
            jobs.cancel_many(tx, children, now=now, retention=retention, reason=reason_of_children)
        free = sorted(going - held.keys())
        if not free:
            reason = f"job {min(held)} has a child, {held[min(held)]}, that has not ended"
            break
        for statement in ("delete_jobs", "delete_attempts", "delete_logs"):
            tx.run(statement, (json_ids(free),))
        unique.forget(tx, free)
        deleted += len(free)
        # What was a child is gone now, and its parent may follow.
        going &= held.keys()
    return Changed(deleted, reason)

"""Which job has which unique key; see flow/unique.py.

A row states which job took a key last, and until when its period lasts. It counts while that job is in the state that
the rule requires, which is looked up when it matters: at an enqueue, and when a job is to run again. So a claim and an
end write nothing of it. A row is removed once its job has ended and its period is over.

On servers an enqueue locks the jobs that have its keys, by their ids, and then the keys, in their order. While it has
not been committed, no process claims those jobs: a job that stands for a call in the application's own transaction
starts after that, and sees what the transaction wrote. (Only where another transaction takes a key in between, is a job
locked after a key; a deadlock that follows is resolved by the database, and the transaction runs again.)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.errors import StorageBusyError, UniqueConflictError
from embedq.flow.unique import UNFINISHED, Admission, Holder, Rule, may_have_rule, rule_of
from embedq.storage.base import Transaction
from embedq.storage.rows import NewJob, json_ids

# How often a key is looked for that the leader removes at this moment.
TRIES = 10
# A row that was written a moment ago is not removed: its transaction may not be committed.
SETTLED = 60_000_000


class Place(NamedTuple):
    """Where a call went: its job's number among the rows to insert, or the id of an earlier job; whether it is new."""

    row: int | None
    job_id: int
    created: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be inserted for calls of which some have a key.

    Attributes:
        rows: to insert, in order.
        places: by the number of each call.
        taken: the keys that these rows take, with the ends of their periods.
    """

    rows: list[NewJob]
    places: list[Place]
    taken: dict[str, tuple[int, int]]

    def record(self, tx: Transaction, ids: Sequence[int]) -> None:
        """Record which of the inserted jobs took which key."""
        for key in sorted(self.taken):
            row, until = self.taken[key]
            tx.run("take_unique_key", (ids[row], until, key))


def plan(tx: Transaction, jobs: Sequence[NewJob]) -> Plan:
    """Lock the keys of jobs that are to be inserted, and decide about each; replace what is to be replaced.

    Raises:
        UniqueConflictError: a rule refuses one of them.
    """
    # A continuation stands for its own parent: what another one starts, or does not start, is no substitute.
    rules = [rule_of(job.options) if may_have_rule(job.options) and job.parent_id is None else None for job in jobs]
    holders = _lock(tx, {rule.key for rule in rules if rule is not None})
    rows: list[NewJob] = []
    places: list[Place] = []
    taken: dict[str, tuple[int, int]] = {}
    for job, rule in zip(jobs, rules, strict=True):
        if rule is None:
            places.append(Place(len(rows), 0, True))
            rows.append(job)
        elif rule.key in taken:
            row, _ = taken[rule.key]
            if rule.on_conflict == "raise":
                raise UniqueConflictError(f"{job.name}: two of these calls have the unique key {rule.key}; none was")
            if rule.on_conflict == "replace":
                rows[row] = rows[row]._replace(payload=job.payload, code=job.code, expires_at=job.expires_at)
            places.append(Place(row, 0, False))
        else:
            holder = holders[rule.key]
            verdict = rule.decide(holder, job.created_at)
            if verdict is Admission.INSERT:
                run_at = max(job.run_at, rule.run_at(holder, job.created_at))
                taken[rule.key] = len(rows), rule.until(run_at)
                places.append(Place(len(rows), 0, True))
                rows.append(_due(job, run_at))
                continue
            _settle(tx, job, rule, holder, verdict)
            places.append(Place(None, holder.job_id, False))
    return Plan(rows, places, taken)


def _due(job: NewJob, run_at: int) -> NewJob:
    if run_at == job.run_at:
        return job
    expires_at = None if job.expires_at is None else job.expires_at + run_at - job.run_at
    return job._replace(run_at=run_at, state="scheduled" if job.state == "ready" else job.state, expires_at=expires_at)


def _settle(tx: Transaction, job: NewJob, rule: Rule, holder: Holder, verdict: Admission) -> None:
    """Apply a verdict about a call for which no job is inserted."""
    if verdict is Admission.REFUSE:
        raise UniqueConflictError(
            f"{job.name} cannot be enqueued: job {holder.job_id}, which is {holder.state}, has the same unique key, "
            f"{rule.key}; nothing was enqueued",
            job_id=holder.job_id,
        )
    if verdict is Admission.REPLACE:
        run_at = rule.replaced_run_at(holder, job.created_at)
        tx.run("replace_job", (job.payload, job.code, job.expires_at, run_at, holder.job_id))


def _lock(tx: Transaction, keys: Collection[str]) -> dict[str, Holder]:
    """Lock the jobs that have these keys, and the keys."""
    known: dict[str, int] = dict(tx.all("unique_holders", (json.dumps(sorted(keys)),)))
    jobs = _locked_jobs(tx, known.values())
    holders: dict[str, Holder] = {}
    for key in sorted(keys):
        job_id, until = _reserve(tx, key)
        if job_id and job_id not in jobs:
            jobs |= _locked_jobs(tx, [job_id])
        state, created_at = jobs.get(job_id, (None, 0))
        holders[key] = Holder(job_id, until, state, created_at)
    return holders


def _locked_jobs(tx: Transaction, job_ids: Collection[int]) -> dict[int, tuple[str, int]]:
    found = tx.all("unique_jobs", (json_ids(sorted(job_ids)),)) if job_ids else []
    return {job_id: (state, created_at) for job_id, state, created_at in found}


def _reserve(tx: Transaction, key: str) -> tuple[int, int]:
    """Lock a key; the job that has it (0 for none), and the end of its period."""
    for _ in range(TRIES):
        tx.run("reserve_unique_key", (key,))
        row = tx.one("unique_key", (key,))
        if row is not None:
            return row[0], row[1]
    raise StorageBusyError(f"this transaction cannot see the unique key {key!r}; roll back and try again")


def retake(tx: Transaction, returning: Mapping[int, str | None], *, now: int) -> dict[int, int]:
    """Take the keys of jobs that are to run again; of those that may not, which job has the key.

    That is one that has not ended. Of two of these jobs with one key the one that has it keeps it, or else the first
    takes it.

    Args:
        returning: the stored options of jobs, which are locked, by their ids.
    """
    wanted: list[tuple[str, int]] = []
    for job_id, options in returning.items():
        rule = rule_of(options) if may_have_rule(options) else None
        if rule is not None and rule.returns:
            wanted.append((rule.key, job_id))
    taken: dict[str, int] = {}
    refused: dict[int, int] = {}
    for key, job_id in sorted(wanted):
        if taken.get(key, job_id) != job_id:
            refused[job_id] = taken[key]
            continue
        holder, until = _reserve(tx, key)
        if holder not in (0, job_id):
            row = tx.one("state_of_job", (holder,))
            if row is not None and row[0] in UNFINISHED:
                taken[key] = refused[job_id] = holder
                continue
        taken[key] = job_id
        tx.run("take_unique_key", (job_id, max(now, until), key))
    return refused


def forget(tx: Transaction, job_ids: Sequence[int]) -> None:
    """Free the keys of jobs that are deleted by hand, also those of a period."""
    tx.run("forget_unique_keys", (json_ids(job_ids),))


def prune(tx: Transaction, *, now: int, limit: int) -> int:
    """Remove keys whose period is over and whose jobs have ended; return how many."""
    before = now - SETTLED
    keys = [key for (key,) in tx.all("idle_unique_keys", (before, limit))]
    return tx.run("delete_unique_keys", (json.dumps(sorted(keys)), before)) if keys else 0

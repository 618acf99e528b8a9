"""Claiming jobs and recording how they ended. These two carry the engine; each is one transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embedq.clock import SECOND
from embedq.config import Retention
from embedq.errors import StorageUnavailableError
from embedq.job import Ending, JobState
from embedq.storage import continuations
from embedq.storage.base import Transaction
from embedq.storage.rows import ClaimedJob, Outcome, json_ids

# How many due jobs one transaction moves to ready: enough for every claim, short enough to let others write.
PROMOTE_LIMIT = 1000
MINUTE = 60 * SECOND
# Where a job may run; each has its own capacity, and its own part of the index of ready jobs.
EXECUTORS = ("thread", "async", "process")
# Those where a job that kills its process takes nobody along, so that a suspect is like any other.
APART = frozenset({"process"})
# A job whose process died under it this often may be the cause. The schema's indexes say the same.
SUSPECT_AFTER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a process wants to claim.

    Attributes:
        server_id: who claims.
        limits: how many jobs for each executor.
        queues: in the order of their urgency, every job of one before any of the next; None for all, by priority.
        known_needs: what parked jobs wait for and this process has.
        suspect: claim one job whose process died under it twice, and no other. (Jobs with processes of their own are
            claimed with the others.)
    """

    server_id: int
    limits: dict[str, int]
    queues: tuple[str, ...] | None
    known_needs: tuple[str, ...] = ()
    suspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a process got.

    Attributes:
        jobs: to run, most urgent first.
        full: the executors for which more may be waiting: their limits were reached, or nothing was asked for them and
            jobs became due.
        next_due: when the next scheduled job is due, in microseconds; None if there is none.
        suspect_waits: a suspect is ready in these queues.
    """

    jobs: list[ClaimedJob]
    full: frozenset[str]
    next_due: int | None
    suspect_waits: bool


def claim(tx: Transaction, request: Request, *, now: int, retention: Retention) -> Claim:
    """Move due jobs to running, up to the limits, and return them.

    Raises:
        StorageUnavailableError: the server is not registered (any more).
    """
    seen, promoted = _survey(tx, request), 0
    if seen.next_due is not None and seen.next_due <= now:
        promoted = tx.run("promote_due", (now, PROMOTE_LIMIT))
        seen = _survey(tx, request)
    jobs: list[ClaimedJob] = []
    full = set(EXECUTORS) if promoted == PROMOTE_LIMIT else set()
    if promoted:
        full.update(executor for executor in EXECUTORS if request.suspect or request.limits.get(executor, 0) <= 0)
    for executor, limit in request.limits.items():
        if limit > 0:
            if request.suspect and jobs:
                break
            found = _candidates(tx, request, seen, executor, limit)
            jobs += found
            if len(found) >= limit:
                full.add(executor)
    expired = [job for job in jobs if _expired(job, now)]
    if expired:
        _expire(tx, expired, now, retention)
        jobs = [job for job in jobs if job not in expired]
    if jobs and not tx.run("claim_jobs", (request.server_id, now, json_ids([job.id for job in jobs]))):
        raise StorageUnavailableError("others have given this process up; it claims again once it is registered anew")
    if expired or request.suspect:
        # A continuation of what expired may be due some time, and the suspect may have been the last.
        seen = _survey(tx, request)
    return Claim(
        jobs=jobs,
        full=frozenset(full),
        next_due=seen.next_due,
        suspect_waits=bool(seen.suspects - APART),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What there is to claim, by executor: the queues that have a ready job, and whether there is a suspect.

    Attributes:
        next_due: when the next scheduled job is due, in microseconds; None if there is none.
    """

    queues: Mapping[str, list[str]]
    suspects: frozenset[str]
    next_due: int | None


def _survey(tx: Transaction, request: Request) -> _Seen:
    wanted = [executor for executor, limit in request.limits.items() if limit > 0]
    queues, suspects, next_due = defaultdict(list), set(), None
    for kind, executor, queue, due_at in tx.all("survey", (json.dumps(wanted), json_or_none(request.queues))):
        if kind == "ready":
            queues[executor].append(queue)
        elif kind == "suspect":
            suspects.add(executor)
        else:
            next_due = due_at
    return _Seen(queues=queues, suspects=frozenset(suspects), next_due=next_due)


def _candidates(tx: Transaction, request: Request, seen: _Seen, executor: str, limit: int) -> list[ClaimedJob]:
    queues = request.queues
    if request.suspect:
        return [] if executor not in seen.suspects else _batch(tx, "suspect_jobs", (executor, json_or_none(queues), 1))
    found: list[ClaimedJob] = []
    if executor in APART and executor in seen.suspects:
        found += _batch(tx, "suspect_jobs", (executor, json_or_none(queues), limit))
    if request.known_needs and len(found) < limit:
        needs = json.dumps(request.known_needs)
        found += _batch(tx, "parked_jobs", (needs, executor, json_or_none(queues), limit - len(found)))
    if len(found) >= limit:
        return found
    waiting = seen.queues.get(executor, [])
    if queues is not None:
        for queue in (queue for queue in queues if queue in waiting):
            if len(found) >= limit:
                break
            found += _batch(tx, "ready_jobs", (executor, queue, limit - len(found)))
        return found
    if len(waiting) == 1:
        return found + _batch(tx, "ready_jobs", (executor, waiting[0], limit - len(found)))
    across = [job for queue in waiting for job in _batch(tx, "ready_jobs", (executor, queue, limit - len(found)))]
    across.sort(key=lambda job: (-job.priority, job.id))
    return found + across[: limit - len(found)]


def _batch(tx: Transaction, statement: str, params: Sequence[object]) -> list[ClaimedJob]:
    return [ClaimedJob._make(row) for row in tx.batch(statement, params)]


def json_or_none(names: Sequence[str] | None) -> str | None:
    """Names as a JSON list, for the statements that take all when there is none."""
    return None if names is None else json.dumps(names)


def _expired(job: ClaimedJob, now: int) -> bool:
    """Whether its first start comes too late. A job that waits for a retry has had its first start."""
    return job.expires_at is not None and job.expires_at <= now and job.attempt == 1 and job.crashes == 0


def _expire(tx: Transaction, jobs: list[ClaimedJob], now: int, retention: Retention) -> None:
    by_delete_at = defaultdict(list)
    for job in jobs:
        by_delete_at[retention.for_job(job.options).delete_at(JobState.CANCELLED, now)].append(job.id)
    for delete_at, ids in by_delete_at.items():
        tx.run("expired_jobs", (now, delete_at, json_ids(ids)))
    continuations.advance(tx, dict.fromkeys((job.id for job in jobs), JobState.CANCELLED), now=now, retention=retention)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What became of a batch of outcomes.

    Attributes:
        refused: outcomes of claims that are no longer this process's: the job was given to another in the meantime.
        ended: the jobs that are over.
        woken: a continuation became ready.
    """

    refused: list[Outcome]
    ended: list[int]
    woken: bool


def finish(tx: Transaction, outcomes: Sequence[Outcome], *, now: int, retention: Retention) -> Finished:
    """Record how claims ended, and in the same transaction wake continuations and count.

    The claim number is the fence: an outcome whose job has been claimed again since changes nothing.
    """
    succeeded = [outcome for outcome in outcomes if outcome.state is JobState.SUCCEEDED]
    refused = _succeed(tx, succeeded) if succeeded else []
    if len(succeeded) < len(outcomes):
        for outcome in outcomes:
            if outcome.state is not JobState.SUCCEEDED and not _end(tx, outcome, retention):
                refused.append(outcome)
    accepted = outcomes if not refused else [outcome for outcome in outcomes if outcome not in refused]
    _count(tx, accepted)
    ended = {outcome.job_id: outcome.state for outcome in accepted if outcome.state.ended}
    woken = continuations.advance(tx, ended, now=now, retention=retention) if ended else False
    return Finished(refused=refused, ended=list(ended), woken=woken)


def _succeed(tx: Transaction, outcomes: list[Outcome]) -> list[Outcome]:
    rows = [
        (out.job_id, out.claim, out.started_at, out.finished_at, out.delete_at, out.result, out.error)
        for out in outcomes
    ]
    if tx.run("succeed_jobs", (json.dumps(rows, separators=(",", ":")),)) == len(outcomes):
        return []
    accepted = set(tx.all("succeeded_claims", (json_ids([out.job_id for out in outcomes]),)))
    return [out for out in outcomes if (out.job_id, out.claim) not in accepted]


def _end(tx: Transaction, outcome: Outcome, retention: Retention) -> bool:
    cancelled = None if outcome.state.ended else tx.one("cancel_requested", (outcome.job_id, outcome.claim))
    if cancelled is not None:
        # Cancelled while it ran: what would have run again does not.
        outcome.state = JobState.CANCELLED
        outcome.delete_at = retention.for_job(cancelled[0]).delete_at(JobState.CANCELLED, outcome.finished_at)
        outcome.needs = None
    ended = outcome.state.ended
    changed = tx.run(
        "end_job",
        (
            outcome.state,
            outcome.gives_back,
            outcome.crashed,
            outcome.retry_at,
            outcome.started_at,
            outcome.finished_at if ended else None,
            outcome.delete_at if ended else None,
            outcome.error,
            outcome.needs,
            outcome.job_id,
            outcome.claim,
        ),
    )
    if not changed:
        return False
    if outcome.ending is not Ending.RELEASED:
        record_attempt(tx, outcome)
    return True


def record_attempt(tx: Transaction, outcome: Outcome) -> None:
    """Keep an attempt that did not succeed in the job's history."""
    tx.run(
        "insert_attempt",
        (
            outcome.job_id,
            outcome.claim,
            outcome.attempt,
            outcome.ending,
            outcome.started_at,
            outcome.finished_at,
            outcome.server_id,
            outcome.error,
            outcome.traceback,
        ),
    )


def mark_overdue(tx: Transaction, runs: Sequence[tuple[int, int, int]]) -> None:
    """Mark running jobs that do not yield: (instant, job id, claim)."""
    for run in runs:
        tx.run("mark_overdue", run)


def _count(tx: Transaction, outcomes: Iterable[Outcome]) -> None:
    totals: dict[tuple[int, str, str, str], list[int]] = {}
    for out in outcomes:
        # Not `.value`, which is a property: this is done for every job.
        key = (out.finished_at // MINUTE, out.name, out.queue, out.ending._value_)
        total = totals.get(key)
        if total is None:
            total = totals[key] = [0, 0, 0, 0]
        total[0] += 1
        total[1] += out.finished_at - out.started_at
        total[2] += out.started_at - out.run_at
        total[3] += out.cpu_us
    for key, total in totals.items():
        tx.run("count_minute", (*key, *total))

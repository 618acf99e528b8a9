"""Recording how claims ended, in one transaction with the continuations and the counters."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from embedq.clock import SECOND
from embedq.config import Retention
from embedq.job import Ending, JobState
from embedq.storage import continuations, permits, snoozes, unique
from embedq.storage.base import Transaction
from embedq.storage.batching import batched
from embedq.storage.claims import Request, claim
from embedq.storage.rows import Outcome, json_ids

MINUTE = 60 * SECOND
# The most that a counter may be given at once, so that no sum leaves 64 bits; a damaged row may show a job that waited
# without end.
MOST_COUNTED = 1 << 61


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The result of recording a batch of outcomes.

    Attributes:
        refused: outcomes of claims that this process has lost: another process has claimed the job meanwhile.
        ended: the jobs that are over.
        woken: a continuation became ready.
        unsettled: there are more continuations than one transaction takes; see `continuations.settle`.
    """

    refused: list[Outcome]
    ended: list[int]
    woken: bool
    unsettled: bool = False


def set_aside(tx: Transaction, request: Request, *, reason: str, now: int, retention: Retention) -> list[Outcome]:
    """Claim the requested jobs without reading them, and end them as dead; return their outcomes."""
    claimed = claim(tx, replace(request, blank=True), now=now, retention=retention).jobs
    outcomes = [
        Outcome.of(
            job,
            JobState.DEAD,
            Ending.FAILED,
            started_at=now,
            finished_at=now,
            server_id=request.server_id,
            retention=retention,
            error=reason,
        )
        for job in claimed
    ]
    finish(tx, outcomes, now=now, retention=retention)
    return outcomes


def lock(tx: Transaction, outcomes: Sequence[Outcome], noted: Collection[int] = ()) -> bool:
    """Lock the jobs that ended and those that said something, where that is not done in their order by itself.

    It is by the statement that writes all successes. Others are written by a statement each, after it, and a cancel of
    the same jobs would wait for this transaction as this one for it.

    Returns:
        Whether they were locked.
    """
    ids = {outcome.job_id for outcome in outcomes}.union(noted)
    alike = not noted and all(outcome.state is JobState.SUCCEEDED for outcome in outcomes)
    if len(ids) < 2 or alike:
        return False
    tx.all("lock_jobs", (json_ids(sorted(ids)),))
    return True


def finish(
    tx: Transaction, outcomes: Sequence[Outcome], *, now: int, retention: Retention, locked: bool = False
) -> Finished:
    """Record how claims ended, and in the same transaction wake continuations and count.

    The claim number is the fence: an outcome whose job has been claimed again since changes nothing.

    Args:
        locked: the jobs are locked already.
    """
    outcomes = sorted(outcomes, key=attrgetter("job_id"))
    if not locked:
        lock(tx, outcomes)
    succeeded = [outcome for outcome in outcomes if outcome.state is JobState.SUCCEEDED]
    refused = _succeed(tx, succeeded) if succeeded else []
    if len(succeeded) < len(outcomes):
        _supersede(tx, outcomes, now=now, retention=retention)
        for outcome in outcomes:
            if outcome.state is not JobState.SUCCEEDED and not _end(tx, outcome, retention):
                refused.append(outcome)
    accepted = outcomes if not refused else [outcome for outcome in outcomes if outcome not in refused]
    _count(tx, accepted)
    ended = {outcome.job_id: outcome.state for outcome in accepted if outcome.state.ended}
    woken, unsettled = continuations.advance(tx, ended, now=now, retention=retention)
    return Finished(refused=refused, ended=list(ended), woken=woken, unsettled=unsettled)


def _supersede(tx: Transaction, outcomes: Iterable[Outcome], *, now: int, retention: Retention) -> None:
    """End those that were to run again, and whose unique key a newer job has that has not ended."""
    returning = {out.job_id: out for out in outcomes if out.unique is not None and not out.state.ended}
    if not returning:
        return
    tx.all("lock_jobs", (json_ids(sorted(returning)),))
    refused = unique.retake(tx, {job_id: out.unique for job_id, out in returning.items()}, now=now)
    for job_id, holder in refused.items():
        out = returning[job_id]
        out.state = JobState.CANCELLED
        out.delete_at = retention.for_job(out.unique).delete_at(JobState.CANCELLED, out.finished_at)
        out.error = f"superseded by job {holder}, which has the same unique key" + (
            f"; {out.error}" if out.error else ""
        )
        out.retry_at = out.needs = None


def _succeed(tx: Transaction, outcomes: list[Outcome]) -> list[Outcome]:
    found, kept = 0, _kept(outcomes[0])
    # One statement for all, so that it locks them in the order of their ids.
    if all(out.result is None and out.error is None and _kept(out) == kept for out in outcomes):
        plain = [(out.job_id, out.claim, out.started_at, out.finished_at) for out in outcomes]
        found = tx.run("succeed_plain", (json.dumps(plain, separators=(",", ":")), kept))
    else:
        # Most return nothing, and need not be measured.
        for batch in batched(outcomes, _words) if [out for out in outcomes if out.result] else (outcomes,):
            rows = [
                (out.job_id, out.claim, out.started_at, out.finished_at, out.delete_at, out.result, out.error)
                for out in batch
            ]
            found += tx.run("succeed_jobs", (json.dumps(rows, separators=(",", ":")),))
    if found == len(outcomes):
        return []
    accepted = set(tx.all("succeeded_claims", (json_ids([out.job_id for out in outcomes]),)))
    return [out for out in outcomes if (out.job_id, out.claim) not in accepted]


def _kept(outcome: Outcome) -> int:
    assert outcome.delete_at is not None, "it has ended"
    return outcome.delete_at - outcome.finished_at


def _words(outcome: Outcome) -> int:
    return len(outcome.result or "")


def _end(tx: Transaction, outcome: Outcome, retention: Retention) -> bool:
    cancelled = None if outcome.state.ended else tx.one("cancel_requested", (outcome.job_id, outcome.claim))
    if cancelled is not None:
        # Cancelled while it ran: what would have run again does not.
        outcome.state = JobState.CANCELLED
        outcome.delete_at = retention.for_job(cancelled[0]).delete_at(JobState.CANCELLED, outcome.finished_at)
        outcome.needs = None
    elif outcome.ending is Ending.SNOOZED:
        snoozes.put_off(tx, outcome, retention)
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
            outcome.crashed_alone,
        ),
    )
    if not changed:
        return False
    if outcome.closes is not None:
        _close(tx, outcome)
    if outcome.ending is not Ending.RELEASED:
        record_attempt(tx, outcome)
    return True


def _close(tx: Transaction, outcome: Outcome) -> None:
    """Let nothing start until then under the limit that the job named, or its first one."""
    limit = outcome.closes
    if not limit:
        rows = tx.all("limits_of_jobs", (json_ids([outcome.job_id]),))
        limit = rows[0][1] if rows else None
    if limit and outcome.closed_until is not None:
        permits.close(tx, limit, until=outcome.closed_until, now=outcome.finished_at)


def record_attempt(tx: Transaction, outcome: Outcome) -> None:
    """Store an attempt that did not succeed in the job's history."""
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


def lived_through(tx: Transaction, trials: Sequence[tuple[int, int]]) -> None:
    """Mark suspects that run on after their trial: (job id, claim)."""
    for trial in trials:
        tx.run("lived_through", trial)


def countable(number: int) -> int:
    """Return the number, or the nearest that a counter accepts."""
    return max(-MOST_COUNTED, min(MOST_COUNTED, number))


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
    rows = [(*key, *map(countable, total)) for key, total in totals.items()]
    text = json.dumps(rows, separators=(",", ":")) if len(rows) > 1 else ""
    # A string of JSON ends at a NUL character in SQLite, which may have one in the name of a queue.
    if text and "\\u0000" not in text:
        tx.run("count_minutes", (text,))
    else:
        for row in rows:
            tx.run("count_minute", row)

"""The queue at a glance: capped counts by state, waiting ages, the last hour's endings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from embedq.job import ENDED, Ending, JobState
from embedq.storage.base import Transaction
from embedq.storage.damage import member

COUNT_CAP = 10_000
# Scheduled and retrying jobs are counted among so many of the next.
DUE_SCAN_LIMIT = 5_000
DUE = (JobState.SCHEDULED, JobState.RETRYING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many, as far as was counted.

    Attributes:
        capped: there are at least this many; counting stopped.
    """

    number: int
    capped: bool

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.capped else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The queue at a glance.

    Attributes:
        counts: jobs by state; a count stops at `COUNT_CAP`.
        oldest_ready_seconds: how long the oldest ready job of each queue has been due.
        last_hour: attempts by ending, from the counters.
    """

    counts: dict[JobState, int]
    oldest_ready_seconds: dict[str, float]
    last_hour: dict[Ending, int]


def stats(tx: Transaction, *, now: int) -> Stats:
    """Return counts by state, waiting ages by queue and the last hour's endings."""
    return Stats(
        counts={state: found.number for state, found in counts(tx).items()},
        oldest_ready_seconds={
            queue: max(0.0, (now - run_at) / 1e6) for queue, run_at in tx.all("oldest_ready", (COUNT_CAP,))
        },
        last_hour={member(Ending, row[0]): int(row[1]) for row in tx.all("totals", (now // 60_000_000 - 60,))},
    )


def count(tx: Transaction, state: JobState, cap: int = COUNT_CAP) -> int:
    """Count the jobs in a state, up to `cap`; of scheduled and retrying ones, among the next `DUE_SCAN_LIMIT`."""

    def capped(statement: str, *params: object) -> int:
        row = tx.one(statement, (*params, cap))
        assert row is not None, "a count always has a row"
        return int(row[0])

    if state in ENDED:
        return capped("count_ended", state)
    if state in (JobState.SCHEDULED, JobState.RETRYING):
        return min(cap, due(tx)[0].get(state, Counter()).total())
    if state is JobState.READY:
        return min(cap, capped("count_ready") + capped("count_suspect"))
    return capped(f"count_{state}")


def capped_count(tx: Transaction, state: JobState, cap: int = COUNT_CAP) -> Count:
    """Count the jobs in a state, and note whether counting stopped at `cap`."""
    number = count(tx, state, cap + 1)
    return Count(number=min(number, cap), capped=number > cap)


def due(tx: Transaction) -> tuple[dict[JobState, Counter[str]], bool]:
    """The next `DUE_SCAN_LIMIT` scheduled and retrying jobs by state and queue, and whether there are more."""
    found: dict[JobState, Counter[str]] = {}
    for state, queue, number in tx.all("due_by_queue", (DUE_SCAN_LIMIT,)):
        found.setdefault(member(JobState, state), Counter())[queue] = number
    return found, sum(some.total() for some in found.values()) >= DUE_SCAN_LIMIT


def counts(tx: Transaction, cap: int = COUNT_CAP) -> dict[JobState, Count]:
    """Count the jobs in each state."""
    waiting, capped = due(tx)
    found = {state: capped_count(tx, state, cap) for state in JobState if state not in DUE}
    for state in DUE:
        found[state] = Count(number=waiting.get(state, Counter()).total(), capped=capped)
    return {state: found[state] for state in JobState}

"""Each function: how often it runs and fails, and how long its jobs take and wait."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from embedq.clock import SECOND
from embedq.job import JobState
from embedq.storage.base import Row, Transaction
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.history import Totals, totals, totals_by_task
from embedq.storage.inspect.orderings import ordering_for

# Successes that are taken for a sample, and that are looked at for those of one function.
SAMPLE, SCAN_LIMIT = 5_000, 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long something took in seconds, over a sample: half of it no longer than `p50`, and so on."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """A function as its jobs show it.

    Attributes:
        totals: exact, over the requested span.
        failure_rate: failures per run, 0.0 to 1.0; None when it did not run.
        duration, waiting: of the newest of its jobs that succeeded; None when none is in the sample.
        sampled: how many those are.
        cpu_share: processor time per running time; None when it is not known, as for `async def` jobs.
    """

    name: str
    totals: Totals
    failure_rate: float | None
    duration: Spread | None
    waiting: Spread | None
    sampled: int
    cpu_share: float | None


def task_types(tx: Transaction, *, now: int, span: str = "day") -> list[TaskType]:
    """Every function that ran in the span, by name. The sample is the newest `SAMPLE` successes of all together."""
    rows = tx.select(f"SELECT {_TIMES} FROM {{ended_jobs}} ORDER BY finished_at DESC LIMIT ?", ("succeeded", SAMPLE))
    sample: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sample[row[0]].append(row)
    return [_task_type(name, totals, sample[name]) for name, totals in totals_by_task(tx, span, now=now).items()]


def task_type(tx: Transaction, name: str, *, now: int, span: str = "day") -> TaskType:
    """One function, with a sample of its own."""
    ordering = ordering_for(Search(states=(JobState.SUCCEEDED,)))
    oldest = ordering.bound(tx, behind=None, backwards=False, candidates=SCAN_LIMIT)
    rows = tx.select(
        f"SELECT {_TIMES} FROM {{ended_jobs}} AND finished_at >= ? AND name = ? ORDER BY finished_at DESC LIMIT ?",
        ("succeeded", oldest or 0, name, SAMPLE),
    )
    return _task_type(name, totals(tx, span, now=now, name=name), rows)


_TIMES = "name, run_at, started_at, finished_at"


def _task_type(name: str, totals: Totals, sample: Sequence[Row]) -> TaskType:
    # Only of a damaged row it is not known when it began.
    sample = [row for row in sample if row[2] is not None]
    return TaskType(
        name=name,
        totals=totals,
        failure_rate=totals.failures / totals.runs if totals.runs else None,
        duration=spread([finished_at - started_at for _, _, started_at, finished_at in sample]),
        waiting=spread([max(0, started_at - run_at) for _, run_at, started_at, _ in sample]),
        sampled=len(sample),
        cpu_share=totals.cpu_seconds / totals.ran_seconds if totals.cpu_seconds and totals.ran_seconds else None,
    )


def spread(micros: Sequence[int]) -> Spread | None:
    """The percentiles of some durations, each one of them (nearest rank); None of none."""
    if not micros:
        return None
    ordered = sorted(micros)
    p50, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] / SECOND for share in (0.5, 0.95, 0.99))
    return Spread(p50=p50, p95=p95, p99=p99)

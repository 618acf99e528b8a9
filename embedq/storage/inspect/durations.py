"""Each function: how often it runs and fails, how long it takes and waits."""

from __future__ import annotations

from dataclasses import dataclass

from embedq.storage.base import Transaction
from embedq.storage.inspect.history import Totals


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
        totals: exact, over the span that was asked for.
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
    raise NotImplementedError


def task_type(tx: Transaction, name: str, *, now: int, span: str = "day") -> TaskType:
    """One function, with a sample of its own."""
    raise NotImplementedError

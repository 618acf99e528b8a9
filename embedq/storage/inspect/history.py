"""What has ended, by time, from the counters: bars of a graph, never rows of jobs.

Counters are per minute for two hours, per quarter of an hour for two days, and per three hours then (`compacting`); so
each span's bars are whole rows, and reading a week costs a bounded number of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from embedq.job import Ending
from embedq.storage.base import Transaction

# How many bars a span has, and how many minutes each covers.
SPANS = {"hour": (60, 1), "day": (96, 15), "week": (56, 180)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Attempts that ended, and their time.

    Attributes:
        ran_seconds, waited_seconds: the sum over all of them; waiting is from due to started.
        cpu_seconds: the same, of those whose processor time is known (not of `async def` jobs); 0.0 for none.
    """

    endings: dict[Ending, int]
    ran_seconds: float
    waited_seconds: float
    cpu_seconds: float

    @property
    def runs(self) -> int:
        """How many attempts were made: neither released before they began nor parked."""
        return sum(count for ending, count in self.endings.items() if ending not in (Ending.RELEASED, Ending.PARKED))

    @property
    def failures(self) -> int:
        """How many failed, timed out or crashed."""
        return sum(self.endings.get(ending, 0) for ending in FAILURES)


FAILURES = (Ending.FAILED, Ending.TIMED_OUT, Ending.CRASHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a graph, from `at` on."""

    at: datetime
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The bars of a span, oldest first, empty ones too; the last is not over yet.

    Attributes:
        bar_seconds: how long each is.
        totals: of all of them.
    """

    span: str
    bar_seconds: int
    bars: list[Bar]
    totals: Totals


def history(tx: Transaction, span: str, *, now: int, name: str | None = None, queue: str | None = None) -> History:
    """What ended in the last "hour", "day" or "week", of one function or queue or of all.

    Raises:
        ConfigurationError: another span.
    """
    raise NotImplementedError


def totals_by_task(tx: Transaction, span: str, *, now: int) -> dict[str, Totals]:
    """The totals of a span by the function's name."""
    raise NotImplementedError


def totals_by_queue(tx: Transaction, span: str, *, now: int) -> dict[str, Totals]:
    """The totals of a span by queue."""
    raise NotImplementedError

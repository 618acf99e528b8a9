"""What has ended, by time, from the counters: bars of a graph, never rows of jobs.

Counters are per minute for two hours, per quarter of an hour for two days, and per three hours then (`compacting`); so
each span's bars are whole rows, and reading a week costs a bounded number of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from embedq.clock import SECOND, to_datetime
from embedq.errors import ConfigurationError
from embedq.job import Ending
from embedq.storage.base import Row, Transaction
from embedq.storage.damage import member
from embedq.storage.finishing import MINUTE

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
        """How many attempts were made: runs that count, and those that crashed."""
        return sum(count for ending, count in self.endings.items() if ending not in UNCOUNTED)

    @property
    def failures(self) -> int:
        """How many failed, timed out or crashed."""
        return sum(self.endings.get(ending, 0) for ending in FAILURES)


UNCOUNTED = (Ending.RELEASED, Ending.PARKED, Ending.SNOOZED)
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
    count, minutes = _span(span)
    last = now // MINUTE // minutes
    first = (last - count + 1) * minutes
    where, params = _only(name, queue)
    rows: dict[int, list[Row]] = {}
    for row in tx.select(
        f"SELECT {{minute_bar}} AS bar, {{ended_sums}} {where} GROUP BY bar, ending", (minutes, first, *params)
    ):
        rows.setdefault(int(row[0]), []).append(row[1:])
    bars = [
        Bar(at=to_datetime(bar * minutes * MINUTE), totals=_totals(rows.get(bar, ())))
        for bar in range(last - count + 1, last + 1)
    ]
    everything = _totals([row for some in rows.values() for row in some])
    return History(span=span, bar_seconds=minutes * 60, bars=bars, totals=everything)


def totals_by_task(tx: Transaction, span: str, *, now: int) -> dict[str, Totals]:
    """The totals of a span by the function's name."""
    return _by(tx, "name", span, now)


def totals_by_queue(tx: Transaction, span: str, *, now: int) -> dict[str, Totals]:
    """The totals of a span by queue."""
    return _by(tx, "queue", span, now)


def totals(tx: Transaction, span: str, *, now: int, name: str | None = None) -> Totals:
    """The totals of a span, of one function or of all."""
    where, params = _only(name, None)
    return _totals(tx.select(f"SELECT {{ended_sums}} {where} GROUP BY ending", (_first(span, now), *params)))


def latest_totals(tx: Transaction, *, now: int) -> tuple[Totals, Totals]:
    """The totals of the last hour and of the last day, in one go."""
    hour: list[Row] = []
    day: list[Row] = []
    recent = "CASE WHEN minute >= ? THEN 1 ELSE 0 END AS recent"
    for row in tx.select(
        f"SELECT {recent}, {{ended_sums}} GROUP BY recent, ending", (_first("hour", now), _first("day", now))
    ):
        day.append(row[1:])
        if row[0]:
            hour.append(row[1:])
    return _totals(hour), _totals(day)


def _by(tx: Transaction, column: str, span: str, now: int) -> dict[str, Totals]:
    rows: dict[str, list[Row]] = {}
    for row in tx.select(f"SELECT {column}, {{ended_sums}} GROUP BY {column}, ending", (_first(span, now),)):
        rows.setdefault(str(row[0]), []).append(row[1:])
    return {key: _totals(some) for key, some in sorted(rows.items())}


def _span(span: str) -> tuple[int, int]:
    try:
        return SPANS[span]
    except KeyError:
        raise ConfigurationError(f"span={span!r} must be one of: {', '.join(SPANS)}") from None


def _first(span: str, now: int) -> int:
    """The first minute of a span: at the beginning of a bar, as counters are compacted."""
    count, minutes = _span(span)
    return (now // MINUTE // minutes - count + 1) * minutes


def _only(name: str | None, queue: str | None) -> tuple[str, list[str]]:
    given = {"name": name, "queue": queue}
    wanted = {column: value for column, value in given.items() if value is not None}
    return "".join(f" AND {column} = ?" for column in wanted), list(wanted.values())


def _totals(rows: Iterable[Row]) -> Totals:
    """From rows of (ending, jobs, ran_us, waited_us, cpu_us)."""
    endings: Counter[Ending] = Counter()
    times = [0, 0, 0]
    for ending, jobs, *micros in rows:
        endings[member(Ending, ending)] += int(jobs)
        times = [total + more for total, more in zip(times, micros, strict=True)]
    ran, waited, cpu = (total / SECOND for total in times)
    return Totals(endings=dict(endings), ran_seconds=ran, waited_seconds=waited, cpu_seconds=cpu)

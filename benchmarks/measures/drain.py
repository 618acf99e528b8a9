"""Waiting no-op jobs, and ten workers that get through them.

The jobs are there before the clock starts. It runs from the call of `start()` until the last outcome is durable, so the
time in which the threads are started is in it. A drained job costs two of the limit's three row writes; the issue's
mark is against all three, and the ratio to the two is told besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.jobs import TALLY, noop, unregistered
from benchmarks.limits import Crew, Writes
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Recorded, take_turns

NAME = "drain"
WORKERS = 10


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    count = scale.drain_jobs
    for durability in scale.durabilities:
        alone: list[Writes] = []
        behind: list[Writes] = []

        def plain(durability: str = durability, writes: list[Writes] = alone) -> float:
            with site.fresh().plain(durability) as table:
                writes.append(table.three_writes(count))
            return writes[-1].three_per_second

        def crewed(durability: str = durability, writes: list[Writes] = behind) -> float:
            crew = Crew()
            with site.fresh().plain(durability) as table:
                writes.append(table.three_writes(count, crew))
            crew.close()
            return writes[-1].three_per_second

        def registered(durability: str = durability) -> float:
            return drain(site.fresh(), durability, count, noop)

        def signed(durability: str = durability) -> float:
            return drain(site.fresh(), durability, count, unregistered)

        limit, with_threads, own, own_signed = take_turns(scale.rounds, plain, crewed, registered, signed)
        title = f"drain {count:,} waiting jobs, 10 workers, {durability}"
        yield Figure(
            measure=NAME, title=title, unit="jobs/s", values=own, limits=limit,
            limit_title="batched three writes", mark=site.marks.get(NAME),
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  beside the two writes that draining does", unit="jobs/s", values=own,
            limits=[writes.two_per_second for writes in alone], limit_title="batched claim and finish",
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  beside the limit with ten threads behind it", unit="jobs/s", values=own,
            limits=with_threads, limit_title="batched three writes with ten threads behind them",
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  the same with a function that is not registered", unit="jobs/s", values=own_signed,
            limits=limit, limit_title="batched three writes",
        )  # fmt: skip


def drain(place: Place, durability: str, count: int, function: Callable[[], None]) -> float:
    """Jobs a second, from the call of `start()` until every outcome is durable."""
    app = place.app(durability, workers=WORKERS).connect()
    app.enqueue_many(app.call(function) for _ in range(count))
    recorded = Recorded(place)
    TALLY.expect(count)
    began = time.perf_counter()
    with app:
        recorded.wait_for(count)
        seconds = time.perf_counter() - began
    return count / seconds

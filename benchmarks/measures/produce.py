"""Producing and working at once in one process: one thread enqueues while ten workers run what is there.

The clock runs from the first enqueue until the last outcome is durable. The producer enqueues a hundred at a time; that
it enqueues one by one is told besides, and is bound by the one-transaction-each limit rather than the batched one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import embedq
from benchmarks.jobs import TALLY, noop
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Recorded, take_turns

NAME = "produce"
WORKERS = 10
BATCH = 100


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    count = scale.produce_jobs
    single = max(1, count // 5)
    for durability in scale.durabilities:

        def plain(durability: str = durability) -> float:
            with site.fresh().plain(durability) as table:
                return table.three_writes(count).three_per_second

        def batches(durability: str = durability) -> float:
            return produce_and_work(site.fresh(), durability, count, by_batches)

        def one_by_one(durability: str = durability) -> float:
            return produce_and_work(site.fresh(), durability, single, singly)

        limit, own, own_singly = take_turns(scale.rounds, plain, batches, one_by_one)
        yield Figure(
            measure=NAME, title=f"produce (by {BATCH}) and work {count:,} jobs at once, {durability}", unit="jobs/s",
            values=own, limits=limit, limit_title="batched three writes", mark=site.marks.get(NAME),
        )  # fmt: skip
        yield Figure(
            measure=NAME, title=f"  the same, enqueued one by one ({single:,})", unit="jobs/s", values=own_singly,
            limits=limit, limit_title="batched three writes",
        )  # fmt: skip


def produce_and_work(place: Place, durability: str, count: int, produce: Callable[[embedq.EmbedQ, int], None]) -> float:
    """Jobs a second, from the first enqueue until every outcome is durable."""
    with place.app(durability, workers=WORKERS) as app:
        recorded = Recorded(place)
        TALLY.expect(count)
        began = time.perf_counter()
        produce(app, count)
        recorded.wait_for(count)
        seconds = time.perf_counter() - began
    return count / seconds


def by_batches(app: embedq.EmbedQ, count: int) -> None:
    """Enqueue with `enqueue_many`."""
    for at in range(0, count, BATCH):
        app.enqueue_many([app.call(noop) for _ in range(min(BATCH, count - at))])


def singly(app: embedq.EmbedQ, count: int) -> None:
    """Enqueue one by one."""
    for _ in range(count):
        app.enqueue(noop)

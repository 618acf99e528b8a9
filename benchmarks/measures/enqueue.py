"""Enqueueing one by one: one thread, and eight that share the disk's flushes. The process only enqueues.

The time of a flush varies by the second, so limit and measure take many short turns on files that stay open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import embedq
from benchmarks.jobs import noop, unregistered
from benchmarks.limits import PlainTable
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import connected, per_second, take_turns

NAME = "enqueue"
NAME_THREADS = "enqueue-threads"
THREADS = 8


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    for durability in scale.durabilities:
        # Where no flush is waited for, a turn may have more jobs.
        count = scale.enqueue_slice * (1 if durability == "full" else 5)
        place = site.fresh()
        with connected(place.app(durability)) as app, place.plain(durability) as table:
            enqueue(app, noop, 10)
            enqueue(app, unregistered, 10)
            limit, explicit, own, own_signed = take_turns(scale.enqueue_rounds, *turns(app, table, count))
        yield Figure(
            measure=NAME, title=f"one thread enqueues one by one, {durability}", unit="jobs/s", values=own,
            limits=limit, limit_title="one insert a transaction", mark=site.marks.get(NAME),
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  beside BEGIN, INSERT, COMMIT", unit="jobs/s", values=own,
            limits=explicit, limit_title="one insert in an explicit transaction",
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  the same with a function that is not registered", unit="jobs/s", values=own_signed,
            limits=limit, limit_title="one insert a transaction",
        )  # fmt: skip


def turns(app: embedq.EmbedQ, table: PlainTable, count: int) -> list[Callable[[], float]]:
    """Jobs a second of: the limit, the limit in an explicit transaction, embedq, embedq unregistered."""
    return [
        lambda: per_second(count, lambda: table.insert_each(count)),
        lambda: per_second(count, lambda: table.insert_each(count, begin=True)),
        lambda: per_second(count, lambda: enqueue(app, noop, count)),
        lambda: per_second(count, lambda: enqueue(app, unregistered, count)),
    ]


def measure_threads(scale: Scale, site: Site) -> Iterator[Figure]:
    # Turns of a length at which starting eight threads is a small part.
    count = scale.enqueue_slice * 4
    with connected(site.fresh().app("full")) as app:
        enqueue(app, noop, 10)
        one, eight = take_turns(
            max(1, scale.enqueue_rounds // 2),
            lambda: per_second(count, lambda: enqueue(app, noop, count)),
            lambda: per_second(count, lambda: on_threads(THREADS, lambda: enqueue(app, noop, count // THREADS))),
        )
    yield Figure(
        measure=NAME_THREADS, title="8 threads enqueue one by one, full", unit="jobs/s", values=eight,
        limits=one, limit_title="one thread of embedq", mark=site.marks.get(NAME_THREADS),
    )  # fmt: skip


def enqueue(app: embedq.EmbedQ, function: Callable[[], None], count: int) -> None:
    """One by one."""
    for _ in range(count):
        app.enqueue(function)


def on_threads(number: int, run: Callable[[], None]) -> None:
    """Run it on so many threads at once."""
    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

"""Enqueueing one by one: one thread, and eight that share the disk's flushes. The process only enqueues.

The time of a flush varies by the second, so limit and measure take many short turns on files that stay open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import embedq
from benchmarks.jobs import noop, unregistered
from benchmarks.limits import PlainTable
from benchmarks.report import Figure, ratio_at_least
from benchmarks.scale import Scale
from benchmarks.tools import connected, fresh, new_app, per_second, take_turns

NAME = "enqueue"
NAME_THREADS = "enqueue-threads"
THREADS = 8


def measure(scale: Scale, folder: Path) -> Iterator[Figure]:
    count = scale.enqueue_slice
    for durability in scale.durabilities:
        own_folder = fresh(folder)
        with (
            connected(new_app(own_folder, durability)) as app,
            PlainTable(own_folder / "plain.db", durability) as table,
        ):
            enqueue(app, noop, 10)
            enqueue(app, unregistered, 10)
            limit, explicit, own, own_signed = take_turns(
                scale.enqueue_rounds,
                lambda table=table: per_second(count, lambda: table.insert_each(count)),  # type: ignore[misc]
                lambda table=table: per_second(count, lambda: table.insert_each(count, begin=True)),  # type: ignore[misc]
                lambda app=app: per_second(count, lambda: enqueue(app, noop, count)),  # type: ignore[misc]
                lambda app=app: per_second(count, lambda: enqueue(app, unregistered, count)),  # type: ignore[misc]
            )
        yield Figure(
            measure=NAME, title=f"one thread enqueues one by one, {durability}", unit="jobs/s", values=own,
            limits=limit, limit_title="one insert a transaction", mark=ratio_at_least(0.5),
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  beside BEGIN IMMEDIATE, INSERT, COMMIT", unit="jobs/s", values=own,
            limits=explicit, limit_title="one insert in an explicit transaction",
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  the same with a function that is not registered", unit="jobs/s", values=own_signed,
            limits=limit, limit_title="one insert a transaction",
        )  # fmt: skip


def measure_threads(scale: Scale, folder: Path) -> Iterator[Figure]:
    # Turns of a length at which starting eight threads is a small part.
    count = scale.enqueue_slice * 4
    with connected(new_app(fresh(folder), "full")) as app:
        enqueue(app, noop, 10)
        one, eight = take_turns(
            max(1, scale.enqueue_rounds // 2),
            lambda: per_second(count, lambda: enqueue(app, noop, count)),
            lambda: per_second(count, lambda: on_threads(THREADS, lambda: enqueue(app, noop, count // THREADS))),
        )
    yield Figure(
        measure=NAME_THREADS, title="8 threads enqueue one by one, full", unit="jobs/s", values=eight,
        limits=one, limit_title="one thread of embedq", mark=ratio_at_least(1.5),
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

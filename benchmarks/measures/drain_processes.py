"""Waiting no-op jobs, and several processes of ten workers each that get through them together.

The processes have connected before the clock starts; it runs from the word to start until the last outcome is durable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.jobs import noop
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Child, Recorded, connected, take_turns

NAME = "drain-processes"
WORKERS = 10
# Looking takes time from those who work.
LOOK_SECONDS = 0.005


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    count = scale.drain_jobs
    one, *others = take_turns(
        scale.rounds, *(lambda many=many: together(site.fresh(), many, count) for many in scale.drain_processes)
    )
    yield Figure(
        measure=NAME,
        title=f"drain {count:,} waiting jobs, {scale.drain_processes[0]} process",
        unit="jobs/s",
        values=one,
    )
    for many, values in zip(scale.drain_processes[1:], others, strict=True):
        yield Figure(
            measure=NAME, title=f"drain {count:,} waiting jobs, {many} processes", unit="jobs/s", values=values,
            limits=one, limit_title="one process of embedq",
            mark=site.marks.get(NAME) if many == scale.drain_processes[-1] else None,
        )  # fmt: skip


def together(place: Place, processes: int, count: int) -> float:
    """Jobs a second that so many processes drain."""
    with connected(place.app("full")) as app, ExitStack() as stack:
        app.enqueue_many(app.call(noop) for _ in range(count))
        children = [stack.enter_context(Child("drain", place.url, WORKERS)) for _ in range(processes)]
        for child in children:
            child.wait_until_ready()
        began = time.perf_counter()
        for child in children:
            child.go()
        Recorded(place).wait_for_others(count, look_seconds=LOOK_SECONDS)
        seconds = time.perf_counter() - began
        for child in children:
            child.go()
            child.result()
    return count / seconds

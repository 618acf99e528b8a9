"""One file a measure. A measure is a function of the sizes and of where fresh databases are made; it yields figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.measures import (
    backlog,
    connections,
    dashboard,
    delayed,
    drain,
    drain_processes,
    enqueue,
    enqueue_many,
    enqueue_processes,
    growth,
    host,
    idle,
    latency,
    latency_other_process,
    limited,
    memory,
    produce,
    startup,
)
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale

Measure = Callable[[Scale, Site], Iterator[Figure]]

MEASURES: Mapping[str, Measure] = {
    drain.NAME: drain.measure,
    drain_processes.NAME: drain_processes.measure,
    enqueue.NAME: enqueue.measure,
    enqueue.NAME_THREADS: enqueue.measure_threads,
    enqueue_many.NAME: enqueue_many.measure,
    produce.NAME: produce.measure,
    latency.NAME: latency.measure,
    latency_other_process.NAME: latency_other_process.measure,
    enqueue_processes.NAME: enqueue_processes.measure,
    delayed.NAME: delayed.measure,
    idle.NAME: idle.measure,
    idle.NAME_WAKE: idle.measure_wake,
    connections.NAME: connections.measure,
    memory.NAME: memory.measure,
    backlog.NAME: backlog.measure,
    limited.NAME: limited.measure,
    startup.NAME: startup.measure,
    growth.NAME: growth.measure,
    dashboard.NAME: dashboard.measure,
    host.NAME: host.measure,
}

# What a server has and a file has not, and the other way round.
_ONLY_SERVERS = {connections.NAME}
_ONLY_FILES = {growth.NAME, host.NAME}
# What says more of embedq than of the database is measured on SQLite, unless it is asked for.
_UNASKED = {produce.NAME, enqueue_processes.NAME, delayed.NAME, idle.NAME_WAKE, memory.NAME, startup.NAME}
# It takes as long as all others together.
_ASKED = {host.NAME}


def possible(kind: str) -> list[str]:
    """The measures that there are for a kind of database."""
    without = _ONLY_SERVERS if kind == "sqlite" else _ONLY_FILES
    return [name for name in MEASURES if name not in without]


def usual(kind: str) -> list[str]:
    """Those that are taken when none is named."""
    left_out = _ASKED if kind == "sqlite" else _UNASKED
    return [name for name in possible(kind) if name not in left_out]

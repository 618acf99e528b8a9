"""One file a measure. A measure is a function of the sizes and an empty folder, and yields its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.measures import (
    backlog,
    delayed,
    drain,
    enqueue,
    enqueue_many,
    enqueue_processes,
    growth,
    idle,
    latency,
    latency_other_process,
    produce,
    startup,
)
from benchmarks.report import Figure
from benchmarks.scale import Scale

Measure = Callable[[Scale, Path], Iterator[Figure]]

MEASURES: Mapping[str, Measure] = {
    drain.NAME: drain.measure,
    enqueue.NAME: enqueue.measure,
    enqueue.NAME_THREADS: enqueue.measure_threads,
    enqueue_many.NAME: enqueue_many.measure,
    produce.NAME: produce.measure,
    latency.NAME: latency.measure,
    latency_other_process.NAME: latency_other_process.measure,
    enqueue_processes.NAME: enqueue_processes.measure,
    delayed.NAME: delayed.measure,
    idle.NAME: idle.measure,
    backlog.NAME: backlog.measure,
    startup.NAME: startup.measure,
    growth.NAME: growth.measure,
}

"""Latency across processes: enqueued here, run there.

Once with pauses of some milliseconds, longer than the working process's rests between two looks, so that a job comes at
any moment of one; and once with pauses so long that the working process has fallen idle.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from benchmarks.jobs import stamp
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Child, connected, median_and_p99

NAME = "latency-other-process"
PAUSE = (0.005, 0.05)
LONG_PAUSE = (0.6, 0.8)


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    for durability in scale.durabilities:
        for samples, pause, what in (
            (scale.other_samples, PAUSE, "from another process"),
            (scale.other_lone_samples, LONG_PAUSE, "from another process, idle"),
        ):
            median, p99 = median_and_p99(across(site.fresh(), durability, samples, pause))
            title = f"enqueue to first line, {what}"
            yield Figure(measure=NAME, title=f"{title}, p50, {durability}", unit="ms", values=[median])
            yield Figure(
                measure=NAME, title=f"{title}, p99, {durability}", unit="ms", values=[p99],
                mark=site.marks.get(f"{NAME} p99"),
            )  # fmt: skip


def across(place: Place, durability: str, samples: int, pause: tuple[float, float]) -> list[float]:
    """Latencies in seconds, of jobs that are enqueued here one at a time."""
    pauses = random.Random(samples)
    with connected(place.app(durability)) as app, Child("work", place.url, durability, samples) as worker:
        worker.wait_until_ready()
        for _ in range(samples):
            time.sleep(pauses.uniform(*pause))
            app.enqueue(stamp, time.monotonic_ns())
        worker.go()
        latencies: list[float] = worker.result()
    return latencies

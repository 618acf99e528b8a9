"""Latency across processes: enqueued here, run there. The working process is idle in between."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.jobs import stamp
from benchmarks.report import Figure, at_most
from benchmarks.scale import Scale
from benchmarks.tools import Child, connected, fresh, median_and_p99, new_app

NAME = "latency-other-process"
# Longer than the pauses between the worker's looks, so that a job comes at any moment of one.
PAUSE = (0.005, 0.05)


def measure(scale: Scale, folder: Path) -> Iterator[Figure]:
    for durability in scale.durabilities:
        own_folder = fresh(folder)
        pauses = random.Random(1)
        with (
            connected(new_app(own_folder, durability)) as app,
            Child("work", own_folder, durability, scale.other_samples) as worker,
        ):
            worker.wait_until_ready()
            for _ in range(scale.other_samples):
                time.sleep(pauses.uniform(*PAUSE))
                app.enqueue(stamp, time.monotonic_ns())
            worker.go()
            median, p99 = median_and_p99(worker.result())
        title = "enqueue to first line, from another process"
        yield Figure(measure=NAME, title=f"{title}, p50, {durability}", unit="ms", values=[median])
        yield Figure(measure=NAME, title=f"{title}, p99, {durability}", unit="ms", values=[p99], mark=at_most(30))

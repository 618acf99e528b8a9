"""Latency of an idle process: from the call of `enqueue` to the first line of the function, on a worker thread.

The bare hand-off takes turns with it, sample by sample, each a few milliseconds after the one before has been recorded,
so that no sample meets another's disk flush.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import embedq
from benchmarks.jobs import NOTED, stamp
from benchmarks.limits import Way
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import PATIENCE_SECONDS, median_and_p99

NAME = "latency"
PAUSE = (0.002, 0.006)


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    for durability in scale.durabilities:
        place = site.fresh()
        bare = place.hand_off(durability)
        own: list[tuple[float, float]] = []
        limit: list[tuple[float, float]] = []
        with place.app(durability) as app:
            interleaved(app, bare, 20)
            for _ in range(scale.rounds):
                ours, bares = interleaved(app, bare, scale.latency_samples)
                own.append(median_and_p99(ours))
                limit.append(median_and_p99(bares))
        bare.close()
        for which, name in enumerate(("p50", "p99")):
            yield Figure(
                measure=NAME, title=f"enqueue to first line, idle, {name}, {durability}", unit="ms",
                values=[pair[which] for pair in own], limits=[pair[which] for pair in limit],
                limit_title="bare hand-off", mark=site.marks.get(f"{NAME} {name}"),
            )  # fmt: skip


def interleaved(app: embedq.EmbedQ, bare: Way, samples: int) -> tuple[list[float], list[float]]:
    """Latencies in seconds: embedq's, and the bare hand-off's."""
    pauses = random.Random(samples)
    ours, bares = [], []
    for _ in range(samples):
        time.sleep(pauses.uniform(*PAUSE))
        ours.append(once(app))
        time.sleep(pauses.uniform(*PAUSE))
        bares.append(bare.once())
    return ours, bares


def once(app: embedq.EmbedQ) -> float:
    """Enqueue a job and wait until it is recorded; the seconds from the call to its first line."""
    job = app.enqueue(stamp, time.monotonic_ns())
    seconds = NOTED.get(timeout=PATIENCE_SECONDS)
    job.wait(PATIENCE_SECONDS)
    return seconds

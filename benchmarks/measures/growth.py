"""Whether the file levels off under a steady load when finished jobs are kept for a second.

Finished jobs are pruned every ten seconds, and their pages are used again; so the file grows until it holds what comes
in between two prunings, and then no more. Looked at every half second: the largest size (with its write-ahead log) in
the last quarter of the time, beside the largest in the second quarter.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import embedq
from benchmarks.jobs import noop
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from embedq.config import sqlite_path

NAME = "growth"
KEPT = timedelta(seconds=1)
STEP_SECONDS = 0.1
LOOK_EVERY = 5
MEGABYTE = 1_000_000


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    place = site.fresh()
    retention = embedq.Retention(succeeded=KEPT)
    with place.app("full", retention=retention) as app:
        sizes = under_load(app, sqlite_path(place.url).parent, scale.growth_seconds, scale.growth_per_second)
    quarter = len(sizes) // 4
    yield Figure(
        measure=NAME,
        title=f"file after {scale.growth_seconds:g} s of {scale.growth_per_second:,} jobs/s, kept 1 s",
        unit="MB",
        values=[max(sizes[-quarter:])],
        limits=[max(sizes[quarter : 2 * quarter])],
        limit_title="the same file in the second quarter of that time",
        mark=site.marks.get(NAME),
        series=[round(size, 3) for size in sizes],
    )


def under_load(app: embedq.EmbedQ, folder: Path, seconds: float, rate: int) -> list[float]:
    """Enqueue at a steady rate; the size of the database's files, in megabytes, as time goes."""
    sizes = []
    batch = max(1, int(rate * STEP_SECONDS))
    began = time.monotonic()
    for step in range(int(seconds / STEP_SECONDS)):
        app.enqueue_many([app.call(noop) for _ in range(batch)])
        if step % LOOK_EVERY == 0:
            sizes.append(sum(path.stat().st_size for path in folder.glob("jobs.db*") if path.is_file()) / MEGABYTE)
        time.sleep(max(0.0, began + (step + 1) * STEP_SECONDS - time.monotonic()))
    return sizes

"""Delayed jobs: by how much later than their time they start."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import embedq
from benchmarks.jobs import NOTED, due
from benchmarks.limits import Timer
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import PATIENCE_SECONDS, median_and_p99

NAME = "delayed"


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    for durability in scale.durabilities:
        limit, own = [], []
        for number in range(scale.rounds):
            # The same moments for both, in seconds from now.
            chance = random.Random(number)
            ahead = sorted(chance.uniform(scale.delayed_from, scale.delayed_until) for _ in range(scale.delayed_jobs))
            timer = Timer(site.fresh().plain(durability))
            start = time.time()
            limit.append(median_and_p99(timer.run([start + seconds for seconds in ahead])))
            with site.fresh().app(durability) as app:
                own.append(median_and_p99(lateness(app, ahead)))
        for which, name in enumerate(("p50", "p99")):
            yield Figure(
                measure=NAME, title=f"lateness of {scale.delayed_jobs} delayed jobs, {name}, {durability}", unit="ms",
                values=[pair[which] for pair in own], limits=[pair[which] for pair in limit],
                limit_title="bare timer", mark=site.marks.get(f"{NAME} {name}"),
            )  # fmt: skip


def lateness(app: embedq.EmbedQ, ahead: list[float]) -> list[float]:
    """Enqueue jobs for these moments, in seconds from now; by how many seconds each was late."""
    now = time.time_ns()
    # Whole microseconds, which is what is stored.
    moments = [(now + int(seconds * 1e9)) // 1000 * 1000 for seconds in ahead]
    for moment in moments:
        app.enqueue_at(at_nanoseconds(moment), due, moment)
    return [NOTED.get(timeout=PATIENCE_SECONDS) for _ in moments]


def at_nanoseconds(moment: int) -> datetime:
    """The datetime of nanoseconds since the epoch, exact to the microsecond."""
    seconds, rest = divmod(moment // 1000, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)

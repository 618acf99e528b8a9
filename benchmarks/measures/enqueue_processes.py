"""Four processes enqueue into one database as fast as they can, at full durability: how long one enqueue may take.

Beside it four plain loops, each an INSERT a transaction (with SQLite's own busy handler, `timeout=30`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Child, connected, percentile

NAME = "enqueue-processes"
PROCESSES = 4


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    plain, own = [], []
    for _ in range(scale.rounds):
        plain.append(together("enqueue-plain", site.fresh(), scale.process_jobs))
        own.append(together("enqueue", site.fresh(), scale.process_jobs))
    title, limit_title = "4 processes enqueue, full", "four plain loops"
    yield Figure(
        measure=NAME, title=f"{title}, p50", unit="ms", limit_title=limit_title,
        values=[percentile(times, 50) for times in own], limits=[percentile(times, 50) for times in plain],
    )  # fmt: skip
    yield Figure(
        measure=NAME, title=f"{title}, p99", unit="ms", limit_title=limit_title, mark=site.marks.get(f"{NAME} p99"),
        values=[percentile(times, 99) for times in own], limits=[percentile(times, 99) for times in plain],
    )  # fmt: skip
    yield Figure(
        measure=NAME, title=f"{title}, worst of all", unit="ms", limit_title=limit_title,
        values=[max(max(times) for times in own)], limits=[max(max(times) for times in plain)],
        mark=site.marks.get(f"{NAME} worst"),
    )  # fmt: skip


def together(how: str, place: Place, count: int) -> list[float]:
    """Let the processes enqueue at once; every enqueue's milliseconds."""
    # Both tables are made first: a first start of four at once is another matter.
    place.plain("full").close()
    with connected(place.app("full")), ExitStack() as stack:
        children = [stack.enter_context(Child(how, place.url, "full", count)) for _ in range(PROCESSES)]
        for child in children:
            child.wait_until_ready()
        for child in children:
            child.go()
        return [seconds * 1000 for child in children for seconds in child.result()]

"""How many connections a process has while ten workers run, eight threads enqueue, and eight look at jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from benchmarks.jobs import noop
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale

NAME = "connections"
THREADS = 8
LOOK_SECONDS = 0.02


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    place = site.fresh()
    counted = []
    over = threading.Event()
    with place.app("full") as app:

        def enqueue() -> None:
            while not over.is_set():
                app.enqueue(noop)

        def look() -> None:
            job = app.enqueue(noop)
            while not over.is_set():
                job.snapshot()

        threads = [threading.Thread(target=what) for what in (enqueue, look) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + scale.load_seconds
        while time.monotonic() < until:
            counted.append(place.connections())
            time.sleep(LOOK_SECONDS)
        over.set()
        for thread in threads:
            thread.join()
    yield Figure(
        measure=NAME, title="connections of a busy process, at most", unit="", values=[max(counted)],
        mark=site.marks.get(NAME),
    )  # fmt: skip

"""What embedq costs while there is nothing to do: CPU, connections, and how fast it wakes.

- CPU: user and system time of a process of its own in which embedq is started with its defaults (10 workers) and the
  main thread sleeps, as a share of one core.
- Connections, where a server counts them: the most that this process had in that time.
- Wake: latency of one job after so long without any, as in `latency`, by turns with the bare hand-off after the same
  rest. "As fast as ever" is the mark of the p50 there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Child

NAME = "idle"
NAME_WAKE = "wake"


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    place = site.fresh()
    connections: list[int] = []
    with Child("idle", place.url, scale.idle_seconds) as child:
        child.wait_until_ready()
        child.go()
        until = time.monotonic() + scale.idle_seconds
        while site.kind != "sqlite" and time.monotonic() < until:
            connections.append(place.connections())
            time.sleep(min(0.5, scale.idle_seconds / 4))
        spent = child.result(after=scale.idle_seconds)
    yield Figure(
        measure=NAME, title=f"idle CPU over {scale.idle_seconds:g} s, of one core", unit="%",
        values=[100 * spent["cpu"] / spent["elapsed"]], mark=site.marks.get(NAME),
    )  # fmt: skip
    if connections:
        yield Figure(
            measure=NAME, title="connections of an idle process", unit="", values=[max(connections)],
            mark=site.marks.get("connections"),
        )  # fmt: skip


def measure_wake(scale: Scale, site: Site) -> Iterator[Figure]:
    with Child("wake", site.fresh().url, scale.wake_seconds, scale.wakes) as child:
        child.wait_until_ready()
        child.go()
        wakes = child.result(after=2 * scale.wakes * scale.wake_seconds)
    yield Figure(
        measure=NAME_WAKE, title=f"wake after {scale.wake_seconds:g} s of idling", unit="ms",
        limit_title="bare hand-off", values=[seconds * 1000 for seconds in wakes["own"]],
        limits=[seconds * 1000 for seconds in wakes["bare"]], mark=site.marks.get(NAME_WAKE),
    )  # fmt: skip

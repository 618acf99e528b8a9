"""What embedq costs while there is nothing to do: CPU, memory, and how fast it wakes.

- CPU: user and system time of a process of its own in which embedq is started with its defaults (10 workers) and the
  main thread sleeps, as a share of one core.
- Memory: a process that has imported embedq, started it with its defaults on a file and run one job, against a process
  of the same Python that has imported nothing (what the interpreter loads by itself is in both). Compared is the
  resident set (Rss of /proc/self/smaps_rollup), shared pages of libraries included; besides, what is its alone (Uss,
  the private pages). Linux only.
- Wake: latency of one job after so long without any, as in `latency`, by turns with the bare hand-off after the same
  rest. "As fast as ever" is the mark of the p50 there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import Figure, at_most, ratio_at_most
from benchmarks.scale import Scale
from benchmarks.tools import Child, fresh, run_script

NAME = "idle"

BARE = "print(open('/proc/self/smaps_rollup').read())"
STARTED = """
import sys, embedq
@embedq.job(name="benchmarks.once")
def once(): pass
app = embedq.EmbedQ(sys.argv[1]).start()
app.enqueue(once).wait(30)
print(open('/proc/self/smaps_rollup').read())
"""
MEGABYTE = 1_000_000


def measure(scale: Scale, folder: Path) -> Iterator[Figure]:
    with Child("idle", fresh(folder), scale.idle_seconds) as child:
        child.wait_until_ready()
        child.go()
        spent = child.result(after=scale.idle_seconds)
    yield Figure(
        measure=NAME, title=f"idle CPU over {scale.idle_seconds:g} s, of one core", unit="%",
        values=[100 * spent["cpu"] / spent["elapsed"]], mark=at_most(0.3),
    )  # fmt: skip
    if sys.platform == "linux":
        yield from memory(scale, folder)
    with Child("wake", fresh(folder), scale.wake_seconds, scale.wakes) as child:
        child.wait_until_ready()
        child.go()
        wakes = child.result(after=2 * scale.wakes * scale.wake_seconds)
    yield Figure(
        measure=NAME, title=f"wake after {scale.wake_seconds:g} s of idling", unit="ms", limit_title="bare hand-off",
        values=[seconds * 1000 for seconds in wakes["own"]], limits=[seconds * 1000 for seconds in wakes["bare"]],
        mark=ratio_at_most(2),
    )  # fmt: skip


def memory(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Megabytes that embedq adds to a bare Python process."""
    resident, own = [], []
    for _ in range(scale.rounds):
        bare = smaps(run_script(BARE))
        started = smaps(run_script(STARTED, f"sqlite:///{fresh(folder) / 'jobs.db'}"))
        resident.append((started["Rss"] - bare["Rss"]) / MEGABYTE)
        own.append((private(started) - private(bare)) / MEGABYTE)
    yield Figure(
        measure=NAME, title="memory added to a bare process, resident", unit="MB", values=resident, mark=at_most(25)
    )
    yield Figure(measure=NAME, title="  of that its own (private pages)", unit="MB", values=own)


def smaps(text: str) -> dict[str, int]:
    """The fields of /proc/self/smaps_rollup, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def private(fields: dict[str, int]) -> int:
    """The unique set size."""
    return fields["Private_Clean"] + fields["Private_Dirty"]

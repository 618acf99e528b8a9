"""What embedq adds to a process: memory. Linux only.

A process that has imported embedq, started it with its defaults and run one job, against a process of the same Python
that has imported nothing (what the interpreter loads by itself is in both). Compared is the resident set (Rss of
/proc/self/smaps_rollup), shared pages of libraries included; besides, what is its alone (Uss, the private pages).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import run_script

NAME = "memory"

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


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    if sys.platform != "linux":
        return
    resident, own = [], []
    for _ in range(scale.rounds):
        bare = smaps(run_script(BARE))
        started = smaps(run_script(STARTED, site.fresh().url))
        resident.append((started["Rss"] - bare["Rss"]) / MEGABYTE)
        own.append((private(started) - private(bare)) / MEGABYTE)
    yield Figure(
        measure=NAME, title="memory added to a bare process, resident", unit="MB", values=resident,
        mark=site.marks.get(NAME),
    )  # fmt: skip
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

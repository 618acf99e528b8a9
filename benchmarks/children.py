"""The processes that some measures need beside their own: `python -m benchmarks.children <what> <arguments>`.

Each prints "ready" when it has started up, waits for a line, does its work, and prints its result as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.jobs import NOTED, noop
from benchmarks.limits import HandOff, PlainTable
from benchmarks.measures.latency import once
from benchmarks.tools import PATIENCE_SECONDS, connected, new_app

# After its start a process still has a few things to do: leadership, the first pruning.
LONGEST_SETTLE_SECONDS = 1.5


def work(folder: str, durability: str, expected: str) -> list[float]:
    """Run the jobs that another process enqueues; their latencies, in seconds."""
    with new_app(Path(folder), durability):
        ready()
        return [NOTED.get(timeout=PATIENCE_SECONDS) for _ in range(int(expected))]


def enqueue(folder: str, durability: str, count: str) -> list[float]:
    """Enqueue one by one; how long each took, in seconds."""
    with connected(new_app(Path(folder), durability)) as app:
        app.enqueue(noop)
        ready()
        return [_seconds(lambda: app.enqueue(noop)) for _ in range(int(count))]


def enqueue_plain(folder: str, durability: str, count: str) -> list[float]:
    """The same with a plain loop."""
    with PlainTable(Path(folder) / "plain.db", durability, busy_timeout=30) as table:
        table.insert_one()
        ready()
        return [_seconds(table.insert_one) for _ in range(int(count))]


def idle(folder: str, seconds: str) -> dict[str, float]:
    """Do nothing; the CPU time that took."""
    with new_app(Path(folder), "full") as app:
        app.enqueue(noop).wait(PATIENCE_SECONDS)
        time.sleep(min(LONGEST_SETTLE_SECONDS, float(seconds)))
        ready()
        cpu, began = time.process_time(), time.monotonic()
        time.sleep(float(seconds))
        return {"cpu": time.process_time() - cpu, "elapsed": time.monotonic() - began}


def wake(folder: str, seconds: str, times: str) -> dict[str, list[float]]:
    """Rest, then send one job; by turns through embedq and through the bare hand-off."""
    own, bares = [], []
    bare = HandOff(Path(folder) / "plain.db", "full")
    with new_app(Path(folder), "full") as app:
        for _ in range(20):
            once(app)
            bare.once()
        ready()
        for _ in range(int(times)):
            time.sleep(float(seconds))
            own.append(once(app))
            time.sleep(float(seconds))
            bares.append(bare.once())
    bare.close()
    return {"own": own, "bare": bares}


def ready() -> None:
    """Tell the parent, and wait for its word."""
    print("ready", flush=True)
    sys.stdin.readline()


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


CHILDREN: dict[str, Callable[..., Any]] = {
    "work": work,
    "enqueue": enqueue,
    "enqueue-plain": enqueue_plain,
    "idle": idle,
    "wake": wake,
}

if __name__ == "__main__":
    print(json.dumps(CHILDREN[sys.argv[1]](*sys.argv[2:])))

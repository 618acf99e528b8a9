"""The processes that some measures need beside their own: `python -m benchmarks.children <what> <arguments>`.

Each prints "ready" when it has started up, waits for a line, does its work, and prints its result as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.jobs import NOTED, noop
from benchmarks.measures.latency import once
from benchmarks.places import open_place
from benchmarks.tools import PATIENCE_SECONDS, connected

# After its start a process still has a few things to do: leadership, the first pruning, a look at what may be wrong.
LONGEST_SETTLE_SECONDS = 8.0


def work(url: str, durability: str, expected: str) -> list[float]:
    """Run the jobs that another process enqueues; their latencies, in seconds."""
    with open_place(url).app(durability):
        ready()
        return [NOTED.get(timeout=PATIENCE_SECONDS) for _ in range(int(expected))]


def enqueue(url: str, durability: str, count: str) -> list[float]:
    """Enqueue one by one; how long each took, in seconds."""
    with connected(open_place(url).app(durability)) as app:
        app.enqueue(noop)
        ready()
        return [_seconds(lambda: app.enqueue(noop)) for _ in range(int(count))]


def enqueue_plain(url: str, durability: str, count: str) -> list[float]:
    """The same with a plain loop."""
    with open_place(url).plain(durability) as table:
        table.insert_one()
        ready()
        return [_seconds(table.insert_one) for _ in range(int(count))]


def drain(url: str, workers: str) -> None:
    """Help to get through what waits, until told to end."""
    app = open_place(url).app("full", workers=int(workers)).connect()
    ready()
    app.start()
    sys.stdin.readline()
    app.stop()


def idle(url: str, seconds: str) -> dict[str, float]:
    """Do nothing; the CPU time that took."""
    with open_place(url).app("full") as app:
        app.enqueue(noop).wait(PATIENCE_SECONDS)
        time.sleep(min(LONGEST_SETTLE_SECONDS, float(seconds)))
        ready()
        cpu, began = time.process_time(), time.monotonic()
        time.sleep(float(seconds))
        return {"cpu": time.process_time() - cpu, "elapsed": time.monotonic() - began}


def wake(url: str, seconds: str, times: str) -> dict[str, list[float]]:
    """Rest, then send one job; by turns through embedq and through the bare hand-off."""
    own, bares = [], []
    bare = open_place(url).hand_off("full")
    with open_place(url).app("full") as app:
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
    "drain": drain,
    "idle": idle,
    "wake": wake,
}

if __name__ == "__main__":
    print(json.dumps(CHILDREN[sys.argv[1]](*sys.argv[2:])))

"""What the measures share: taking turns with a limit, percentiles, child processes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import embedq
from benchmarks.jobs import TALLY
from benchmarks.places import Place

ROOT = Path(__file__).parent.parent
# No job of these takes a second; one that takes this long will not come.
PATIENCE_SECONDS = 60.0


@contextmanager
def connected(app: embedq.EmbedQ) -> Iterator[embedq.EmbedQ]:
    """Connect, and close the database at the end."""
    app.connect()
    try:
        yield app
    finally:
        app.database.close()


def take_turns(rounds: int, *runs: Callable[[], float]) -> list[list[float]]:
    """Run each of `runs` once a round, in an order that turns, and return each one's results.

    What the machine does meanwhile then meets all of them alike, and no run always comes after the same one.
    """
    results: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        # No round pays for what the round before left behind.
        gc.collect()
        order = list(range(len(runs)))
        for which in order if number % 2 == 0 else reversed(order):
            results[which].append(runs[which]())
    return results


def timed(run: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def per_second(count: int, run: Callable[[], object]) -> float:
    """`count` by the seconds that `run` takes."""
    return count / timed(run)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The sample that so many percent are not above."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median_and_p99(samples: Sequence[float]) -> tuple[float, float]:
    """Of samples in seconds, in milliseconds."""
    return percentile(samples, 50) * 1000, percentile(samples, 99) * 1000


class Recorded:
    """How many jobs' outcomes are durable: the engine adds them up in the transaction that records them."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def count(self) -> int:
        [(count,)] = self._place.ask("SELECT coalesce(sum(jobs), 0) FROM embedq_counters")
        return int(count)

    def wait_for(self, count: int) -> None:
        """Wait until the jobs that `TALLY` expects have run, and then until `count` outcomes are recorded."""
        TALLY.wait(PATIENCE_SECONDS)
        self.wait_for_others(count, look_seconds=0.001)

    def wait_for_others(self, count: int, *, look_seconds: float) -> None:
        """Wait until `count` outcomes are recorded, by whatever process."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.count() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count():,} of {count:,} outcomes were recorded in {PATIENCE_SECONDS:g} s")
            time.sleep(look_seconds)


class Child:
    """A process of `benchmarks.children`. It prints "ready", waits for a line, does its work, and prints JSON."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.children", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> Literal[False]:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        return False

    def wait_until_ready(self) -> None:
        """Returns when it has started up."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line != "ready\n":
            raise RuntimeError(f"the child process did not start: {line!r}")

    def go(self) -> None:
        """Let it do its work, or end it."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self, *, after: float = 0.0) -> Any:
        """What it printed at its end, which is to be expected after so many seconds."""
        output, _ = self._process.communicate(timeout=after + PATIENCE_SECONDS)
        if self._process.returncode != 0:
            raise RuntimeError(f"the child process ended with {self._process.returncode}")
        return json.loads(output)


def run_script(script: str, *arguments: object, compiled: Path | None = None) -> str:
    """What a fresh Python process prints that runs `script` and nothing else.

    Args:
        compiled: a folder for what it compiles, whatever the environment says of that; the next one finds it there.
    """
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = dict(os.environ)
    if compiled is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(compiled)
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout

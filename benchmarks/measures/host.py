"""What requests pay for the jobs in their server's process: a small page, asked for by another process.

Beside the same app without embedq: latency at a hundred requests a second, and how many requests a second there can be.
The jobs that were done meanwhile are told besides, and the memory and the threads that embedq adds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.host.cases import CASES
from benchmarks.host.client import PATIENCE_SECONDS
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import ROOT, Recorded, median_and_p99, take_turns

NAME = "host"
PER_SECOND = 100.0
# Longer than the load: the jobs should not come to an end before it does.
SPARE_SECONDS = 1.5
TITLES = {"flask": "Flask on waitress", "fastapi": "FastAPI on uvicorn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run of a server showed.

    Attributes:
        p50, p99: of the requests' latency, in milliseconds.
        requests: how many a second there can be.
        jobs: how many were done, a second, while requests came steadily.
        resident: the process's memory, in megabytes, after the start.
        threads: how many it has then.
    """

    p50: float
    p99: float
    requests: float
    jobs: float
    resident: float
    threads: int


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    for framework in scale.host_servers:
        seen: dict[str, list[Seen]] = {name: [] for name in scale.host_cases or CASES}

        def once(name: str, framework: str = framework, seen: dict[str, list[Seen]] = seen) -> float:
            found = run(framework, name, site.fresh(), scale)
            seen[name].append(found)
            return found.p99

        take_turns(scale.host_rounds, *(partial(once, name) for name in seen))
        yield from figures(framework, seen)


def figures(framework: str, seen: dict[str, list[Seen]]) -> Iterator[Figure]:
    """The rows of one server."""
    server, bare = TITLES[framework], seen["bare"]
    for name, runs in seen.items():
        case = CASES[name]
        for title, unit, field in (
            (f"{server}, {case.title}: request p50", "ms", "p50"),
            ("  p99", "ms", "p99"),
            ("  requests at most", "requests/s", "requests"),
            ("  jobs meanwhile", "jobs/s", "jobs"),
        ):
            if field == "jobs" and case.job is None:
                continue
            limits = [] if name == "bare" or field == "jobs" else [getattr(run, field) for run in bare]
            yield Figure(
                measure=NAME, title=title, unit=unit, values=[getattr(run, field) for run in runs], limits=limits,
                limit_title="the app without embedq", series=(server, name, field),
            )  # fmt: skip
    for title, unit, field in (("memory added", "MB", "resident"), ("threads added", "threads", "threads")):
        added = [getattr(idle, field) - getattr(none, field) for idle, none in zip(seen["idle"], bare, strict=True)]
        yield Figure(
            measure=NAME, title=f"{server}, embedq idle: {title}", unit=unit, values=added,
            series=(server, "added", field),
        )  # fmt: skip


def run(framework: str, name: str, place: Place, scale: Scale) -> Seen:
    """Serve one case, and load it."""
    lasts = scale.host_warm_seconds + scale.host_steady_seconds + scale.host_flat_seconds + SPARE_SECONDS
    with served(framework, name, place, lasts) as (pid, port):
        ask(port, scale.host_warm_seconds, PER_SECOND)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        before, began = done(place, name), time.monotonic()
        steady = ask(port, scale.host_steady_seconds, PER_SECOND)
        # A server that is behind is asked for longer than it should be.
        jobs = (done(place, name) - before) / (time.monotonic() - began)
        flat = ask(port, scale.host_flat_seconds, 0)
    p50, p99 = median_and_p99(steady)
    return Seen(
        p50=p50, p99=p99, requests=len(flat) / scale.host_flat_seconds, jobs=jobs,
        resident=int(status["VmRSS"].split()[0]) / 1000, threads=int(status["Threads"]),
    )  # fmt: skip


def done(place: Place, name: str) -> int:
    """How many jobs have ended."""
    return Recorded(place).count() if CASES[name].embedq else 0


@contextmanager
def served(framework: str, name: str, place: Place, seconds: float) -> Iterator[tuple[int, int]]:
    """A server's process; its number, and the port it listens on."""
    command = [sys.executable, "-m", "benchmarks.host.server", framework, name, place.url, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        # What its jobs had still to do is thrown away with the database.
        process.kill()
        process.communicate()


def ask(port: int, seconds: float, per_second: float) -> Any:
    """Load the server from a client's process; how long each answer took, in seconds."""
    command = [sys.executable, "-m", "benchmarks.host.client", str(port), str(seconds), str(per_second)]
    told = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, timeout=seconds + PATIENCE_SECONDS
    )
    return json.loads(told.stdout)

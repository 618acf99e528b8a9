"""What may go on in a server's process while it is asked for pages. Importing this module registers the jobs."""

from __future__ import annotations

from dataclasses import dataclass
from time import sleep
from typing import Any

import embedq
from benchmarks.jobs import noop

JOB_SECONDS = 0.02
# Additions in a loop: about 20 ms of computing.
STEPS = 400_000


@embedq.job(name="benchmarks.wait")
def wait() -> None:
    """Wait, as for a network."""
    sleep(JOB_SECONDS)


@embedq.job(name="benchmarks.compute")
def compute() -> int:
    """Compute, in Python."""
    total = 0
    for step in range(STEPS):
        total += step
    return total


@embedq.job(name="benchmarks.compute_apart", executor="process")
def compute_apart() -> int:
    """The same, in a process of its own."""
    return compute.function()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What goes on in the server's process.

    Attributes:
        title: for the table.
        job: what runs flat out; None where nothing does.
        per_second: the most of these that a second may use up; so many seconds' worth lie waiting.
        embedq: whether it is there at all.
        guard: whether there is a guard.
    """

    title: str
    job: Any = None
    per_second: int = 0
    embedq: bool = True
    guard: bool = False


CASES = {
    "bare": Case(title="without embedq", embedq=False),
    "idle": Case(title="embedq idle"),
    "noop": Case(title="no-op jobs flat out", job=noop, per_second=50_000),
    "noop-guard": Case(title="no-op jobs flat out, with a guard", job=noop, per_second=50_000, guard=True),
    "wait": Case(title="waiting jobs flat out", job=wait, per_second=1_000),
    "wait-guard": Case(title="waiting jobs flat out, with a guard", job=wait, per_second=1_000, guard=True),
    "compute": Case(title="computing jobs flat out", job=compute, per_second=400),
    "compute-guard": Case(title="computing jobs flat out, with a guard", job=compute, per_second=400, guard=True),
    "process": Case(title='computing jobs flat out, executor="process"', job=compute_apart, per_second=400),
}

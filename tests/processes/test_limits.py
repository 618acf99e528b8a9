"""Limits and rates while processes are killed: never more than allowed, and afterwards no less."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import embedq
from tests.processes.fleet import KILLS, Fleet, all_ended
from tests.processes.jobs import EACH, RATE, TOTAL, run_limited, run_rated
from tests.processes.journal import Span, most_at_once
from tests.support import eventually

KEYS = ("a", "b", "c", "d")
# A suspect is tried for a short while; see programs.py.
SETTINGS: dict[str, Any] = {"workers": 5, "max_crashes": 1000, "trial": 0.2}


def most_within(starts: Sequence[float], seconds: float) -> int:
    """Return how many of these moments a half-open window holds, at most."""
    starts = sorted(starts)
    return max(sum(start <= at < start + seconds for at in starts) for start in starts)


def check_limit(fleet: Fleet, keys: dict[int, str]) -> None:
    """At no moment did more run than the limit allows."""
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for job_id, runs in fleet.runs().items():
        if job_id in keys:
            spans[keys[job_id]] += runs
    assert {key: most_at_once(runs) for key, runs in spans.items() if most_at_once(runs) > EACH} == {}
    assert most_at_once([run for runs in spans.values() for run in runs]) <= TOTAL


def test_limits_and_rates_hold_while_processes_are_killed(
    fleet: Fleet, queue: embedq.EmbedQ, dice: random.Random
) -> None:
    keys: dict[int, str] = {}
    rated: list[int] = []

    def enqueue(count: int) -> None:
        for _ in range(count):
            key = dice.choice(KEYS)
            keys[queue.enqueue(run_limited, key, dice.uniform(0.05, 0.25)).id] = key
            rated.append(queue.enqueue(run_rated, fleet.url).id)

    enqueue(30)
    programs = fleet.workers(3, **SETTINGS)
    for _ in range(KILLS):
        enqueue(8)
        programs.remove(fleet.kill_busy(programs, dice))
        programs.append(fleet.start("work", **SETTINGS))
    eventually(lambda: all_ended(queue), seconds=90)

    runs = fleet.runs()
    assert all(any(span.complete for span in runs[job_id]) for job_id in [*keys, *rated])
    assert [span for job_id in keys for span in runs[job_id] if not span.complete], "nobody was killed in a run"
    check_limit(fleet, keys)
    claims = [line["moment"] for line in fleet.events("claimed")]
    assert most_within(claims, RATE.per) <= RATE.count + RATE.burst - 1
    assert {use.name: use.running for use in queue.limits()} == {"tests:limited": 0, "tests:rated": 0}

    # No permit was lost: all can be used again at once.
    last = {queue.enqueue(run_limited, key, None).id: key for key in KEYS for _ in range(2 * EACH)}
    eventually(lambda: len(fleet.runs().keys() & last.keys()) == TOTAL, seconds=30)
    (fleet.journal / "told").touch()
    eventually(lambda: all_ended(queue), seconds=60)
    check_limit(fleet, keys | last)
    for program in programs:
        assert program.end() == 0, program.errors

"""kill -9, again and again: what was acknowledged is done, and never twice at once (promises G1, G2, G3, G5)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

import embedq
from embedq import Job, JobState
from tests.processes.fleet import Fleet, Program, all_ended
from tests.processes.journal import overlaps
from tests.support import eventually

SECONDS = float(os.environ.get("EMBEDQ_TEST_CHAOS_SECONDS", "12"))


@pytest.fixture
def after_kills(fleet: Fleet, queue: embedq.EmbedQ, dice: random.Random) -> list[Program]:
    """What is left after processes of every kind were killed and replaced for `SECONDS`, with all work done."""
    settings: dict[str, Any] = {"workers": 4, "max_crashes": 1000}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("work", {**settings, "tick": True}),
        ("work", {**settings, "tick": True}),
        ("work", settings),
        ("work_and_produce", {**settings, "pause": 0.01}),
        ("produce", {"pause": 0.01, "seconds": 0.1}),
        ("produce", {"pause": 0.02}),
    ]
    programs = [fleet.start(name, **arguments) for name, arguments in kinds]
    for program in programs:
        assert program.read_line() == "ready"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(dice.uniform(0.1, 0.7))
        killed = dice.randrange(len(kinds))
        assert programs[killed].alive, f"it died by itself\n{programs[killed].errors}"
        fleet.kill(programs[killed])
        name, arguments = kinds[killed]
        programs[killed] = fleet.start(name, **arguments)
    print(f"{len(fleet.killed)} processes were killed")
    for program in programs[3:]:
        assert program.end() == 0, program.errors
    eventually(lambda: all_ended(queue), seconds=60)
    # Whichever ends last would fire it once more, and leave that job to the next start.
    queue.pause_recurring("tick")
    eventually(lambda: all_ended(queue), seconds=60)
    for program in programs[:3]:
        assert program.end() == 0, program.errors
    return programs


def test_acknowledged_work_survives_the_death_of_any_process_at_any_time(
    fleet: Fleet, queue: embedq.EmbedQ, after_kills: list[Program]
) -> None:
    acknowledged = {line["job"] for line in fleet.events("acknowledged")}
    runs = fleet.runs()
    jobs = {job.id: job for job in every_job(queue)}

    assert len(acknowledged) > 100
    assert len(fleet.killed) > 20
    # Every acknowledged job ran to its end, and so did those whose acknowledgement the kill cut short.
    assert {jobs[job_id].state for job_id in acknowledged} == {JobState.SUCCEEDED}
    assert [job for job in jobs.values() if job.state is not JobState.SUCCEEDED] == []
    assert {job.attempt for job in jobs.values()} == {1}
    assert all(any(span.complete for span in runs[job_id]) for job_id in jobs)

    # Never twice at the same time.
    again = [spans for spans in runs.values() if len(spans) > 1]
    print(f"{len(jobs)} jobs, {len(again)} of them begun more than once")
    assert again, "nobody was killed in the middle of a job; nothing was shown"
    assert [pair for spans in again for pair in overlaps(spans)] == []
    # What ended was not begun again, unless its process died before it could say so.
    for spans in again:
        assert all(span.pid in fleet.killed for span in spans[:-1])

    # Each occurrence once: the ledger has every second, and each of its lines one job.
    ledger = queue.occurrences("tick", limit=1000)
    assert {line.outcome for line in ledger} == {"enqueued"}
    ticks = sorted(line.fire_at for line in ledger)
    assert len(ticks) >= SECONDS
    assert {late - early for early, late in pairwise(ticks)} == {timedelta(seconds=1)}
    assert sorted(line.job_id or 0 for line in ledger) == sorted(job.id for job in jobs.values() if job.schedule)


def every_job(queue: embedq.EmbedQ) -> Iterator[Job]:
    before = None
    while page := queue.jobs(before=before, limit=1000):
        yield from page
        before = page[-1].id


def test_a_job_is_there_when_its_process_is_killed_as_soon_as_enqueue_returns(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    acknowledged = []
    for _ in range(10):
        programs = [fleet.start("enqueue_one") for _ in range(3)]
        for program in programs:
            assert program.read_line() == "ready"
        for program in programs:
            program.write_line("go")
        for program in programs:
            job_id = int(program.read_line())
            os.kill(program.pid, 9)
            assert program.wait() == -9
            acknowledged.append(job_id)

    assert len(set(acknowledged)) == 30
    assert all(queue.job(job_id).state is JobState.READY for job_id in acknowledged)
    fleet.worker()
    eventually(lambda: queue.count_jobs(state=JobState.SUCCEEDED) == 30)

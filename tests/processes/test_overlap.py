"""Runs of a recurring job never overlap, and it goes on, though processes are killed in the middle of its runs."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

import embedq
from embedq import JobState
from embedq.scheduling.overlap import Overlap
from tests.processes.fleet import Fleet
from tests.processes.jobs import run
from tests.support import eventually


@pytest.mark.parametrize("overlap", ["skip", "buffer_all"])
def test_no_two_runs_at_once_whatever_is_killed(fleet: Fleet, queue: embedq.EmbedQ, overlap: Overlap) -> None:
    # Each run takes three times as long as its interval.
    queue.recurring("long", embedq.every(seconds=0.2), run, 0.6, overlap=overlap)
    programs = fleet.workers(3)

    def more_runs(count: int) -> None:
        before = len(fleet.runs())
        eventually(lambda: len(fleet.runs()) >= before + count, seconds=60)

    for _ in range(2):
        more_runs(2)
        busy = {span.pid for spans in fleet.runs().values() for span in spans if math.isinf(span.ended_at)}
        for program in [program for program in programs if program.pid in busy]:
            fleet.kill(program)
            programs.remove(program)
            programs.append(fleet.worker())
    more_runs(3)
    queue.remove_recurring("long")
    for job in queue.jobs(schedule="long", limit=1000):
        if job.state is JobState.AWAITING:
            queue.job(job.id).cancel()
    eventually(lambda: all(job.state.ended for job in queue.jobs(schedule="long", limit=1000)), seconds=60)

    spans = sorted((span for spans in fleet.runs().values() for span in spans), key=lambda span: span.started_at)
    assert len(spans) > 5
    assert all(early.ended_at <= late.started_at for early, late in pairwise(spans))
    # Every occurrence has its line, and every line's job its end.
    ledger = queue.occurrences("long", limit=1000)
    assert {line.outcome for line in ledger} <= {"enqueued", "passed"}
    skipped = [line for line in ledger if "(overlap: " in (line.reason or "") and line.job_id is None]
    assert bool(skipped) is (overlap != "buffer_all")
    assert {line.job_state for line in ledger if line.job_id is not None} <= {JobState.SUCCEEDED, JobState.CANCELLED}

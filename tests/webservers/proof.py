"""What must be so in the end, by the journal that the jobs themselves have written outside of the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import embedq
from embedq import JobState
from tests.processes.fleet import Fleet
from tests.processes.journal import overlaps
from tests.support import eventually


def everything_has_run(fleet: Fleet, queue: embedq.EmbedQ, acknowledged: Sequence[int]) -> None:
    """Each acknowledged job ran to its end, once but for processes that were killed, and never twice at once."""
    unfinished = (JobState.READY, JobState.RUNNING)
    # The recurring job goes on for as long as there is a process.
    eventually(lambda: not any(_unfinished(queue, state) for state in unfinished), seconds=60)
    runs = fleet.runs()
    lost = [job for job in acknowledged if not any(span.complete for span in runs.get(job, []))]
    assert not lost, f"{len(lost)} of {len(acknowledged)} jobs were lost: {lost[:10]}"
    assert len(set(acknowledged)) == len(acknowledged)
    together = [pair for spans in runs.values() for pair in overlaps(spans)]
    assert not together
    again = [
        spans
        for spans in runs.values()
        if len([span for span in spans if span.complete and span.pid not in fleet.killed]) > 1
    ]
    assert not again, f"{len(again)} jobs ran twice: {again[:5]}"


def _unfinished(queue: embedq.EmbedQ, state: JobState) -> bool:
    return any(job.schedule != "tick" for job in queue.jobs(state=state, limit=20))


def each_occurrence_was_enqueued_once(queue: embedq.EmbedQ) -> None:
    """Every second is in the ledger once, with a job of its own."""
    ledger = queue.occurrences("tick", limit=1000)
    assert ledger
    assert {line.outcome for line in ledger} == {"enqueued"}
    fired_at = sorted(line.fire_at for line in ledger)
    assert {late - early for early, late in pairwise(fired_at)} <= {timedelta(seconds=1)}
    jobs = [job.id for job in queue.jobs(schedule="tick", limit=1000)]
    assert sorted(line.job_id or 0 for line in ledger) == sorted(jobs)

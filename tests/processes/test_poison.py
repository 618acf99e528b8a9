"""A job that kills its process is set aside after a few deaths, and takes nobody along (promise G7)."""

from __future__ import annotations

import time

import embedq
from embedq import Ending, JobHandle, JobState
from tests.processes.fleet import Fleet, all_ended
from tests.processes.jobs import kill_own_process, run


def supervise(fleet: Fleet, queue: embedq.EmbedQ, processes: int, seconds: float = 90) -> int:
    """Keep workers running, as a process manager would, until every job has ended; return how many died."""
    # Not waited for: one that comes late may die of the first job that it gets.
    programs = [fleet.start("work", workers=4) for _ in range(processes)]
    deaths = 0
    deadline = time.monotonic() + seconds
    while not all_ended(queue):
        assert time.monotonic() < deadline, queue.stats().counts
        for number, program in enumerate(programs):
            if not program.alive:
                deaths += 1
                programs[number] = fleet.start("work", workers=4)
        time.sleep(0.02)
    return deaths


def check(poison: JobHandle) -> None:
    job = poison.snapshot()
    assert (job.state, job.crashes) == (JobState.DEAD, 3)
    assert "set aside" in str(job.error)
    assert [attempt.ending for attempt in poison.attempts()] == [Ending.CRASHED] * 3


def test_a_job_that_kills_its_process_is_dead_after_three_and_all_others_finish(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    innocents = queue.enqueue_many(queue.call(run, 0.2) for _ in range(40))
    poison = queue.enqueue(kill_own_process)
    innocents += queue.enqueue_many(queue.call(run, 0.2) for _ in range(40))

    assert supervise(fleet, queue, processes=3) == 3
    check(poison)
    assert {job.state for job in innocents} == {JobState.SUCCEEDED}


def test_several_such_jobs_kill_none_of_the_innocents_beside_them(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    innocents, poisons = [], []
    for _ in range(4):
        innocents += queue.enqueue_many(queue.call(run, 0.2) for _ in range(15))
        poisons.append(queue.enqueue(kill_own_process))

    deaths = supervise(fleet, queue, processes=2)
    assert 3 <= deaths <= 12
    for poison in poisons:
        check(poison)
    # Whoever was beside two of them runs apart the third time, and proves itself.
    assert {job.state for job in innocents} == {JobState.SUCCEEDED}

"""A job that kills its process is set aside after a few deaths, and takes nobody along (promise G7).

How many deaths it takes, and of what, is played through in tests/process/test_suspicion.py. Trials are short here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import embedq
from embedq import Ending, JobHandle, JobState
from embedq.process.poison import SUSPECT_AFTER
from tests.processes.fleet import Fleet, Program, all_ended
from tests.processes.jobs import kill_own_process, run
from tests.support import eventually

TRIAL = 0.4


def supervise(
    fleet: Fleet, processes: int, until: Callable[[], bool], *, workers: int = 4, seconds: float = 120
) -> int:
    """Keep workers running, as a process manager would; return how many died."""

    def start() -> Program:
        # Not waited for: one that comes late may die of the first job that it gets.
        return fleet.start("work", workers=workers, trial=TRIAL)

    programs = [start() for _ in range(processes)]
    deaths = 0
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, (deaths, fleet.errors())
        for number, program in enumerate(programs):
            if not program.alive:
                deaths += 1
                programs[number] = start()
        time.sleep(0.02)
    return deaths


def check(poison: JobHandle, *, at_most: int) -> None:
    job = poison.snapshot()
    assert job.state is JobState.DEAD
    assert 3 <= job.crashes <= at_most
    assert "while no other job ran there; set aside" in str(job.error)
    assert [attempt.ending for attempt in poison.attempts()] == [Ending.CRASHED] * job.crashes


def test_a_job_that_kills_its_process_is_dead_after_a_few_deaths_and_all_others_finish(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    harmless = queue.enqueue_many(queue.call(run, 0.2) for _ in range(40))
    poison = queue.enqueue(kill_own_process)
    harmless += queue.enqueue_many(queue.call(run, 0.2) for _ in range(40))

    assert supervise(fleet, 3, lambda: all_ended(queue)) <= 12
    check(poison, at_most=12)
    assert {job.state for job in harmless} == {JobState.SUCCEEDED}


def test_several_poison_jobs_beside_harmless_ones_are_the_only_ones_to_be_dead(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    harmless, poisons = [], []
    for _ in range(2):
        harmless += queue.enqueue_many(queue.call(run, 0.2) for _ in range(15))
        poisons.append(queue.enqueue(kill_own_process))

    assert supervise(fleet, 2, lambda: all_ended(queue)) <= 24
    for poison in poisons:
        check(poison, at_most=24)
    assert {job.state for job in harmless} == {JobState.SUCCEEDED}


def test_a_poison_job_that_kills_late_beside_long_jobs_is_dead_after_a_few_crashes(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    long = [queue.enqueue(run, 600.0)]
    # It lives through its first trial.
    poison = queue.enqueue(kill_own_process, TRIAL * 1.5)
    long.append(queue.enqueue(run, 600.0))

    assert supervise(fleet, 1, lambda: poison.state.ended) <= 12
    check(poison, at_most=12)
    assert {job.state for job in long} <= {JobState.RUNNING, JobState.READY}


def running_in(fleet: Fleet, pid: int) -> int:
    """How many jobs have begun in this process."""
    return sum(span.pid == pid for spans in fleet.runs().values() for span in spans)


def test_ten_kills_of_a_busy_process_leave_no_bystander_dead(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    bystanders = queue.enqueue_many(queue.call(run, 600.0) for _ in range(3))
    for number in range(10):
        # Trials are longer than it lives: every suspect is met while it is alone.
        program = fleet.worker(workers=4, trial=30.0)
        together = 1 if number >= SUSPECT_AFTER else len(bystanders)
        eventually(lambda pid=program.pid, count=together: running_in(fleet, pid) == count, seconds=60)
        fleet.kill(program)
    fleet.worker(workers=4, trial=TRIAL)
    while {job.state for job in bystanders} != {JobState.RUNNING}:
        assert JobState.DEAD not in {job.state for job in bystanders}
        time.sleep(0.05)
    assert sum(job.snapshot().crashes for job in bystanders) >= 10

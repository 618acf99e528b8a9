"""Each occurrence of a recurring job is enqueued once, whoever leads and however that changes hands (promise G5)."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from itertools import pairwise

import embedq
from embedq import JobState
from tests.processes.fleet import Fleet, Program
from tests.processes.jobs import work_on
from tests.support import eventually


def check_ledger(queue: embedq.EmbedQ) -> int:
    """Every second is in the ledger once, with a job of its own; returns how many."""
    ledger = queue.occurrences("tick", limit=1000)
    assert {line.outcome for line in ledger} == {"enqueued"}
    fired_at = sorted(line.fire_at for line in ledger)
    assert {late - early for early, late in pairwise(fired_at)} <= {timedelta(seconds=1)}
    jobs = queue.jobs(schedule="tick", limit=1000)
    assert sorted(line.job_id or 0 for line in ledger) == sorted(job.id for job in jobs)
    assert {job.run_at for job in jobs} == set(fired_at)
    return len(ledger)


def leading(queue: embedq.EmbedQ, programs: list[Program]) -> Program:
    """The program that leads now."""
    eventually(lambda: [server for server in queue.servers() if server.leader])
    [pid] = [server.pid for server in queue.servers() if server.leader]
    return next(program for program in programs if program.pid == pid)


def test_processes_that_all_declare_a_schedule_enqueue_each_occurrence_once(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    fleet.workers(4, tick=True)
    eventually(lambda: len(queue.occurrences("tick")) >= 4, seconds=30)
    assert check_ledger(queue) >= 4
    assert [schedule.name for schedule in queue.schedules()] == ["tick"]
    eventually(lambda: all(job.state is JobState.SUCCEEDED for job in queue.jobs(schedule="tick")[1:]))


def test_when_the_leader_is_killed_another_process_fires_the_recurring_jobs(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    programs = fleet.workers(3, tick=True)
    gaps = []
    for _ in range(2):
        died_at = fleet.kill(leading(queue, programs))

        def since(moment: float = died_at) -> list[float]:
            return [tick["at"] - moment for tick in fleet.events("start") if tick["at"] > moment]

        eventually(since, seconds=30)
        gaps.append(since()[0])
    print("seconds from the leader's death to the next occurrence:", ", ".join(f"{gap:.2f}" for gap in gaps))
    # The next occurrence itself may be a second away.
    # Not by the lease, which is 30 seconds.
    assert max(gaps) < 15
    eventually(lambda: len(queue.occurrences("tick")) >= 5)
    check_ledger(queue)


def test_a_leader_that_stops_hands_over_at_once_even_while_its_jobs_still_drain(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    programs = [fleet.worker(tick=True, queues=["default", f"own of {number}"]) for number in range(3)]
    leader = leading(queue, programs)
    job = queue.options(queue=f"own of {programs.index(leader)}").enqueue(work_on, 5.0)
    eventually(lambda: fleet.runs_of(job.id))
    stopped_at = time.monotonic()
    leader.send(signal.SIGTERM)

    def since() -> list[float]:
        """When the others ran an occurrence, in seconds from the signal."""
        ticks = [tick for tick in fleet.events("start") if tick["at"] > stopped_at and tick["pid"] != leader.pid]
        return [tick["at"] - stopped_at for tick in ticks]

    eventually(lambda: len(since()) >= 2, seconds=30)
    print(f"seconds from the stop to the second occurrence after it: {since()[1]:.2f}")
    assert leader.alive
    assert leader.wait() == 128 + signal.SIGTERM
    assert job.state is JobState.SUCCEEDED
    check_ledger(queue)


def test_a_leader_that_hangs_is_replaced_after_its_lease_and_fires_nothing_twice_when_it_wakes(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    programs = fleet.workers(2, tick=True, lease=1.0)
    leader = leading(queue, programs)
    leader.hang(fleet.url)
    stopped_at = len(queue.occurrences("tick"))
    eventually(lambda: len(queue.occurrences("tick")) >= stopped_at + 3, seconds=30)
    assert leading(queue, programs) is not leader
    leader.send(signal.SIGCONT)
    seen = len(queue.occurrences("tick"))
    eventually(lambda: len(queue.occurrences("tick")) >= seen + 3, seconds=30)
    check_ledger(queue)


def test_what_was_missed_while_no_process_ran_is_caught_up(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    first = fleet.worker(tick=True)
    eventually(lambda: queue.occurrences("tick"))
    fleet.kill(first)
    seen = len(queue.occurrences("tick"))
    time.sleep(3)
    fleet.worker(tick=True)
    eventually(lambda: len(queue.occurrences("tick")) >= seen + 4, seconds=30)
    check_ledger(queue)

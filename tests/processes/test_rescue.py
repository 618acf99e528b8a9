"""A dead process's jobs run again soon; a live one's are left alone, and a late result is refused (G2, G3, G4)."""

from __future__ import annotations

import shutil
import signal
import time

import embedq
from embedq import Ending, JobState
from tests.processes.fleet import Fleet, Program
from tests.processes.jobs import hang_once, run, run_async, work_once
from tests.support import eventually


def runner(fleet: Fleet, job_id: int, programs: list[Program]) -> Program:
    """The program that runs the job now."""
    eventually(lambda: fleet.runs_of(job_id), seconds=30)
    pid = fleet.runs_of(job_id)[-1].pid
    return next(program for program in programs if program.pid == pid)


def test_a_job_whose_process_is_killed_runs_again_within_a_second_or_so(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    programs = fleet.workers(2)
    delays = []
    for _ in range(4):
        job = queue.enqueue(hang_once)
        killed = runner(fleet, job.id, programs)
        died_at = fleet.kill(killed)
        assert job.result(timeout=30) in {program.pid for program in programs if program is not killed}

        _, second = fleet.runs_of(job.id)
        delays.append(second.started_at - died_at)
        assert [attempt.ending for attempt in job.attempts()] == [Ending.CRASHED, Ending.SUCCEEDED]
        snapshot = job.snapshot()
        assert (snapshot.attempt, snapshot.crashes) == (1, 1)
        assert f"process {killed.pid} " in str(job.attempts()[0].error)
        programs.remove(killed)
        programs.append(fleet.worker())
    print("seconds from the death to the new run:", ", ".join(f"{delay:.2f}" for delay in delays))
    # A second as a rule, and on a machine that is busy with other things not by the lease, which is 30 seconds.
    assert max(delays) < 10


def test_a_process_that_was_stopped_for_longer_than_the_lease_keeps_its_jobs(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    programs = fleet.workers(2, lease=2.0)
    job = queue.enqueue(run, 1.0)
    owner = runner(fleet, job.id, programs)
    owner.hang(fleet.url)
    [before] = [server.heartbeat_at for server in queue.servers() if server.pid == owner.pid]
    time.sleep(4)
    [server] = [server for server in queue.servers() if server.pid == owner.pid]
    assert server.heartbeat_at == before, "it was not stopped"
    assert job.state is JobState.RUNNING
    owner.send(signal.SIGCONT)

    assert job.result(timeout=30) == owner.pid
    assert len(fleet.runs_of(job.id)) == 1
    assert job.snapshot().crashes == 0


def test_a_job_longer_than_every_timeout_runs_once_while_others_watch(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    fleet.workers(
        3, lease=3.0, timeout=None, interrupt_grace=0.1, cancel_grace=0.1, busy_timeout=1.0, stop_timeout=0.1, workers=2
    )
    jobs = [
        queue.enqueue(run, 5.0),
        queue.options(timeout=0).enqueue(run, 5.0),
        queue.options(timeout=0).enqueue(run_async, 5.0),
    ]
    for job in jobs:
        assert isinstance(job.result(timeout=60), int)
        [span] = fleet.runs_of(job.id)
        assert span.ended_at - span.started_at >= 5
        assert (job.snapshot().attempt, job.snapshot().crashes, job.snapshot().overdue) == (1, 0, False)


def test_without_their_lock_files_live_processes_keep_their_jobs_by_their_heartbeats(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    fleet.workers(2, lease=3.0)
    jobs = [queue.enqueue(run, 5.0) for _ in range(4)]
    eventually(lambda: len(fleet.runs()) == 4)
    shutil.rmtree(fleet.locks)

    for job in jobs:
        job.result(timeout=30)
        assert len(fleet.runs_of(job.id)) == 1


def test_a_run_that_was_taken_from_a_process_is_interrupted_and_its_late_outcome_refused(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    # As on another host: the lock cannot be seen, so heartbeats decide.
    slow = fleet.worker(lease=1.0, queues=["default"])
    job = queue.enqueue(work_once, 60.0)
    eventually(lambda: fleet.runs_of(job.id))
    shutil.rmtree(fleet.locks)
    slow.hang(fleet.url)
    other = fleet.worker(lease=1.0)
    assert job.result(timeout=30) == other.pid
    assert slow.pid not in {server.pid for server in queue.servers()}
    slow.send(signal.SIGCONT)

    eventually(lambda: "1 jobs were taken from this process" in slow.errors, seconds=30)
    eventually(lambda: "a late outcome (released) was refused" in slow.errors, seconds=30)
    assert job.result() == other.pid
    # It had not crashed, as it can say now.
    eventually(lambda: [attempt.ending for attempt in job.attempts()] == [Ending.RELEASED, Ending.SUCCEEDED])
    assert job.snapshot().crashes == 0
    assert "had not died" in str(job.attempts()[0].error)
    # It goes on, under a new number.
    eventually(lambda: slow.pid in {server.pid for server in queue.servers()}, seconds=30)
    assert other.end() == 0
    assert queue.enqueue(run).result(timeout=30) == slow.pid
    assert slow.end() == 0


def test_a_process_that_was_given_up_on_and_lives_keeps_what_it_claims_from_then_on(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    # The others believe a heart that beats this slowly for much shorter than it pauses.
    slow = fleet.worker(lease=600.0, queues=["slow"])
    shutil.rmtree(fleet.locks)
    impatient = fleet.worker(lease=1.0, queues=["other"])
    eventually(lambda: "is gone" in impatient.errors, seconds=30)
    assert impatient.end() == 0

    job = queue.options(queue="slow").enqueue(run, 3.0)
    eventually(lambda: fleet.runs_of(job.id), seconds=30, message="it claims nothing any more")
    fleet.worker(lease=600.0, queues=["slow"])
    assert job.result(timeout=30) == slow.pid
    assert len(fleet.runs_of(job.id)) == 1
    assert slow.pid in {server.pid for server in queue.servers()}

"""Stopping drains: running jobs get their time, and what is left goes back to the queue (promise G8)."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest

import embedq
from embedq import JobState
from tests.processes.fleet import Fleet
from tests.processes.jobs import run, work_on, work_once
from tests.support import eventually

BY_SIGTERM = 128 + signal.SIGTERM


def test_on_sigterm_jobs_that_end_in_time_succeed_and_the_others_run_elsewhere(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    worker = fleet.worker(stop_timeout=2.0, interrupt_grace=2.0)
    short = [queue.enqueue(work_on, 1.0) for _ in range(3)]
    long = [queue.enqueue(work_once, 60.0) for _ in range(2)]
    eventually(lambda: len(fleet.runs()) == 5)
    worker.send(signal.SIGTERM)
    assert worker.wait(seconds=20) == BY_SIGTERM

    assert [job.state for job in short] == [JobState.SUCCEEDED] * 3
    assert [job.result() for job in short] == [worker.pid] * 3
    assert [job.state for job in long] == [JobState.READY] * 2
    assert queue.servers() == []
    successor = fleet.worker()
    assert [job.result(timeout=30) for job in long] == [successor.pid] * 2
    # The attempt that was broken off is not counted, and no crash either.
    assert [(job.snapshot().attempt, job.snapshot().crashes) for job in long] == [(1, 0)] * 2


def test_a_process_that_stops_claims_nothing_more(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    worker = fleet.worker(workers=1)
    running = queue.enqueue(work_on, 2.0)
    eventually(lambda: fleet.runs_of(running.id))
    waiting = [queue.enqueue(run) for _ in range(20)]
    worker.send(signal.SIGTERM)
    eventually(lambda: [server for server in queue.servers() if server.stopping])
    waiting += [queue.enqueue(run) for _ in range(20)]
    assert worker.wait() == BY_SIGTERM
    assert running.state is JobState.SUCCEEDED
    assert {job.state for job in waiting} == {JobState.READY}
    assert fleet.runs().keys() == {running.id}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sigterm_handler_of_the_host_is_left_alone_and_the_exit_still_drains(
    fleet: Fleet, queue: embedq.EmbedQ, when: str
) -> None:
    worker = fleet.start("work_with_own_handler", when=when)
    assert worker.read_line() == "ready"
    job = queue.enqueue(work_on, 1.0)
    eventually(lambda: fleet.runs_of(job.id))
    worker.send(signal.SIGTERM)
    assert worker.read_line() == "the host's own handler"
    assert worker.wait() == 0
    assert job.state is JobState.SUCCEEDED
    assert queue.servers() == []


def test_a_host_that_ignores_sigterm_continues(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    worker = fleet.start("work_with_own_handler", when="ignored")
    assert worker.read_line() == "ready"
    worker.send(signal.SIGTERM)
    assert queue.enqueue(run).result(timeout=30) == worker.pid
    assert worker.end() == 0


def test_another_sigterm_does_not_hurry_a_process_that_drains(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    worker = fleet.worker()
    job = queue.enqueue(work_on, 1.0)
    eventually(lambda: fleet.runs_of(job.id))
    worker.send(signal.SIGTERM)
    eventually(lambda: [server for server in queue.servers() if server.stopping])
    worker.send(signal.SIGTERM)
    assert worker.wait() == BY_SIGTERM
    assert job.state is JobState.SUCCEEDED


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_that_was_started_drains_at_its_end(
    fleet: Fleet, queue: embedq.EmbedQ, method: str
) -> None:
    program = fleet.start("work_in_a_child_of_multiprocessing", method=method)
    job = queue.job(int(program.read_line()))
    assert program.end() == 0
    assert job.state is JobState.SUCCEEDED
    assert queue.servers() == []


@pytest.mark.parametrize("how", ["sys.exit", "end of the script", "an error"])
def test_however_the_main_thread_ends_running_jobs_are_waited_for(fleet: Fleet, queue: embedq.EmbedQ, how: str) -> None:
    worker = fleet.start("end_with_running_jobs", how=how)
    begun = json.loads(worker.read_line())
    eventually(lambda: len(fleet.runs()) == 4)
    worker.write_line("go")
    assert worker.wait() == {"sys.exit": 7, "end of the script": 0, "an error": 1}[how]
    assert [queue.job(job_id).state for job_id in begun] == [JobState.SUCCEEDED] * 4
    assert queue.servers() == []


def test_a_job_stuck_in_c_at_the_exit_is_rescued_once_the_process_is_gone_and_that_is_no_crash(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    worker = fleet.worker(stop_timeout=0.2, interrupt_grace=0.2)
    # One sleep of ten minutes is one call into C: nothing can be raised in it.
    stuck = queue.options(tags=["stuck"]).enqueue(run, 600.0)
    eventually(lambda: fleet.runs_of(stuck.id))
    watcher = fleet.worker(queues=["other"])
    worker.send(signal.SIGTERM)
    assert worker.wait(seconds=20) == BY_SIGTERM

    eventually(lambda: stuck.state is JobState.READY)
    assert watcher.alive
    assert (stuck.snapshot().attempt, stuck.snapshot().crashes, stuck.snapshot().error) == (0, 0, None)
    assert stuck.attempts() == []


def test_sigterm_finds_a_way_out_of_a_main_thread_that_is_busy_enqueueing(
    fleet: Fleet, queue: embedq.EmbedQ, dice: random.Random
) -> None:
    programs = [fleet.start("enqueue_from_everywhere") for _ in range(4)]
    for program in programs:
        assert program.read_line() == "ready"
    for program in programs:
        time.sleep(dice.uniform(0.1, 0.6))
        program.send(signal.SIGTERM)
        # Nobody waits for a group of writes whose leader the signal took away.
        assert program.wait(seconds=30) == BY_SIGTERM
    acknowledged = {line["job"] for line in fleet.events("acknowledged")}
    assert len(acknowledged) > 100
    assert queue.servers() == []
    fleet.worker()
    eventually(lambda: queue.count_jobs(state=JobState.READY) == 0, seconds=60)
    eventually(lambda: queue.count_jobs(state=JobState.RUNNING) == 0, seconds=60)
    runs = fleet.runs()
    assert acknowledged <= runs.keys()
    assert all(len([span for span in spans if span.complete]) == 1 for spans in runs.values())


def test_a_hundred_starts_and_stops_leave_nothing_behind(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    program = fleet.start("start_and_stop", times=100)
    before, after = json.loads(program.read_line(seconds=120))
    assert after["threads"] == before["threads"] == ["MainThread"]
    assert after["descriptors"] == before["descriptors"]
    assert program.end() == 0
    assert os.listdir(fleet.locks) == []
    assert queue.servers() == []
    assert queue.count_jobs(state=JobState.SUCCEEDED) == 101

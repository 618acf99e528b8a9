"""A job whose function a process does not know is kept for one that does (promise G6): the middle of a deploy."""

from __future__ import annotations

import pytest

import embedq
from embedq import JobState
from tests.processes.fleet import Fleet
from tests.processes.jobs import run
from tests.support import eventually


def report(year: int) -> int:
    """Stands in the new version of the app only; `work(knows=…)` gives it to a process."""
    raise AssertionError("the test's own process runs no jobs")


def test_during_a_deploy_the_old_process_parks_what_it_does_not_know_and_the_new_one_runs_it(
    fleet: Fleet, queue: embedq.EmbedQ
) -> None:
    old = fleet.worker()
    new_task = queue.job(name="reports:yearly")(report)
    jobs = [queue.enqueue(new_task, year) for year in (2024, 2025, 2026)]
    eventually(lambda: [job.state for job in jobs] == [JobState.PARKED] * 3)
    for job in jobs:
        snapshot = job.snapshot()
        assert (snapshot.attempt, snapshot.crashes) == (0, 0)
        assert "reports:yearly" in str(snapshot.error)
    # It does not wait for the missing function.
    assert queue.enqueue(run).result(timeout=30) == old.pid

    new = fleet.worker(knows={"reports:yearly": []})
    assert [job.result(timeout=30) for job in jobs] == [2024, 2025, 2026]
    assert {line["pid"] for line in fleet.events("reported")} == {new.pid}
    assert [(job.snapshot().attempt, job.snapshot().crashes) for job in jobs] == [(1, 0)] * 3
    assert old.end() == new.end() == 0


def test_with_both_versions_running_every_job_of_either_runs(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    fleet.worker()
    fleet.worker(knows={"reports:yearly": []})
    new_task = queue.job(name="reports:yearly")(report)
    jobs = [handle for number in range(40) for handle in (queue.enqueue(new_task, 2000 + number), queue.enqueue(run))]
    for job in jobs:
        job.wait(timeout=60)
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert {job.snapshot().attempt for job in jobs} == {1}
    assert len(fleet.events("reported")) == 40


def test_a_job_stored_under_a_former_name_is_taken_by_its_alias(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    fleet.worker()
    old_task = queue.job(name="reports:annual")(report)
    job = queue.enqueue(old_task, 2026)
    eventually(lambda: job.state is JobState.PARKED)
    fleet.worker(knows={"reports:yearly": ["reports:annual"]})
    assert job.result(timeout=30) == 2026
    assert job.snapshot().attempt == 1


@pytest.mark.parametrize("late", [False, True])
def test_a_process_that_learns_of_the_function_later_takes_the_job_it_parked_itself(
    fleet: Fleet, queue: embedq.EmbedQ, late: bool
) -> None:
    task = queue.job(name="reports:yearly")(report)
    worker = fleet.worker(knows={"reports:yearly": []}, learns_when_told=True)
    job = queue.enqueue(task, 2026)
    if late:
        eventually(lambda: job.state is JobState.PARKED)
    worker.write_line("learn")
    assert job.result(timeout=30) == 2026
    assert job.snapshot().attempt == 1

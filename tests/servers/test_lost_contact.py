"""Four processes on two hosts, and the database out of reach of all or of one host for twice the lease (G3, G7, G9).

An outage interrupts nothing. Who may be cut off ends its runs before others take them, and that is no crash of theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import embedq
from embedq import Ending, JobState
from tests.processes.fleet import Fleet, Program
from tests.processes.jobs import run, work_once
from tests.processes.journal import overlaps
from tests.servers.conftest import Cluster
from tests.servers.stalling_proxy import StallingProxy
from tests.support import eventually

LEASE = 4.0
PORTS = {"postgresql": 5432, "mysql": 3306}


class Hosts:
    """Two hosts, each with two processes, lock files of its own, and a URL of its own for the server."""

    def __init__(self, fleet: Fleet, folder: Path, urls: list[str]) -> None:
        self.programs: list[list[Program]] = []
        for number, url in enumerate(urls):
            temporary = folder / f"host-{number}"
            temporary.mkdir()
            self.programs.append([
                fleet.start(
                    "work", environment={"TMPDIR": str(temporary)}, url=url, lease=LEASE, workers=4, processes=1,
                    process_nice=0, interrupt_grace=0.5, busy_timeout=2.0,
                )
                for _ in range(2)
            ])  # fmt: skip
        for program in self.all:
            assert program.read_line() == "ready"

    @property
    def all(self) -> list[Program]:
        return [program for programs in self.programs for program in programs]

    def errors(self) -> str:
        return "\n".join(program.errors for program in self.all)


@pytest.fixture
def ways(fleet: Fleet) -> Iterator[list[StallingProxy]]:
    """A way to the server for each host."""
    port = PORTS[fleet.url.partition(":")[0]]
    with ExitStack() as stack:
        yield [stack.enter_context(StallingProxy(fleet.url, port)) for _ in range(2)]


@pytest.fixture
def hosts(fleet: Fleet, tmp_path: Path, ways: list[StallingProxy]) -> Iterator[Hosts]:
    yield Hosts(fleet, tmp_path, [way.url for way in ways])
    # Before their ways are closed.
    fleet.close()


def everywhere(fleet: Fleet, jobs: list[embedq.JobHandle]) -> bool:
    """Whether all of these run."""
    return all(fleet.runs_of(job.id) for job in jobs)


def assert_alone(fleet: Fleet) -> None:
    """No job was run by two processes at once."""
    together = [pair for spans in fleet.runs().values() for pair in overlaps(spans)]
    assert together == []


def crashes(jobs: list[embedq.JobHandle]) -> int:
    return sum(job.snapshot().crashes for job in jobs)


def assert_an_outage_interrupts_nothing(
    fleet: Fleet, queue: embedq.EmbedQ, hosts: Hosts, begin: Callable[[], object], end: Callable[[], object]
) -> None:
    """Whatever runs then goes on, and what ends in it is recorded after it."""
    short = [queue.enqueue(run, 2.0) for _ in range(4)]
    long = [queue.enqueue(run, 4 * LEASE) for _ in range(8)]
    long.append(queue.options(executor="process").enqueue(run, 4 * LEASE))
    eventually(lambda: everywhere(fleet, [*short, *long]), seconds=30)
    begin()
    time.sleep(2 * LEASE)
    end()

    for job in [*short, *long]:
        job.result(timeout=60)
        [span] = fleet.runs_of(job.id)
        assert span.complete
        assert [attempt.ending for attempt in job.attempts()] == [Ending.SUCCEEDED]
    assert crashes([*short, *long]) == 0
    for program in hosts.all:
        told = [line for line in program.errors.splitlines() if " the database " in line]
        assert len(told) == 2, "\n".join(told)
        assert "running jobs continue" in told[0]
        assert "none was interrupted" in told[1]


class ServersHome:
    """Where the one database of a server is that a test has for itself."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def missing(self, folder: Path, name: str) -> str:
        return self._cluster.url


def test_a_server_that_is_stopped_for_twice_the_lease_interrupts_nothing(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, ServersHome(cluster))  # type: ignore[arg-type]
    queue = embedq.EmbedQ(cluster.url, busy_timeout=60).connect()
    try:
        hosts = Hosts(fleet, tmp_path, [cluster.url, cluster.url])
        assert_an_outage_interrupts_nothing(fleet, queue, hosts, lambda: cluster.stop("fast"), cluster.start)
    finally:
        fleet.close()
        queue.close()


def held_up(fleet: Fleet, queue: embedq.EmbedQ) -> list[embedq.JobHandle]:
    """Jobs that run everywhere, the first time for longer than any test, and yield when they are interrupted."""
    jobs = [queue.enqueue(work_once, 600.0) for _ in range(12)]
    jobs += [queue.options(executor="process").enqueue(work_once, 600.0) for _ in range(2)]
    eventually(lambda: everywhere(fleet, jobs), seconds=30)
    return jobs


def test_processes_that_are_all_cut_off_release_their_runs_and_no_process_takes_them(
    fleet: Fleet, queue: embedq.EmbedQ, hosts: Hosts, ways: list[StallingProxy]
) -> None:
    jobs = held_up(fleet, queue)
    for way in ways:
        way.stall()
    time.sleep(2 * LEASE)
    ran = fleet.runs()
    assert all(ran[job.id][0].ended_at < float("inf") and not ran[job.id][0].complete for job in jobs)
    for way in ways:
        way.flow()

    for job in jobs:
        job.result(timeout=60)
        assert [attempt.ending for attempt in job.attempts()] == [Ending.SUCCEEDED]
    assert crashes(jobs) == 0
    assert_alone(fleet)
    assert "is gone" not in hosts.errors()


def test_a_host_that_is_cut_off_ends_its_runs_before_others_take_its_jobs(
    fleet: Fleet, queue: embedq.EmbedQ, hosts: Hosts, ways: list[StallingProxy]
) -> None:
    jobs = held_up(fleet, queue)
    cut_off = {program.pid for program in hosts.programs[0]}
    theirs = [job for job in jobs if fleet.runs_of(job.id)[0].pid in cut_off]
    assert theirs
    # The jobs of the other host may fill all its threads, and they do not end: it needs one to take others' jobs.
    spare = next(job for job in jobs if job not in theirs and job.snapshot().executor == "thread")
    spare.cancel()
    assert spare.wait(30) is JobState.CANCELLED
    until = time.monotonic() + 2 * LEASE
    ways[0].stall()
    for job in theirs:
        assert job.result(timeout=60) not in cut_off
    time.sleep(max(0.0, until - time.monotonic()))
    assert_alone(fleet)
    assert all(not fleet.runs_of(job.id)[0].complete for job in theirs)
    ways[0].flow()

    # They come back, and say that they had not died.
    eventually(lambda: crashes(jobs) == 0, seconds=30)
    eventually(lambda: cut_off <= {server.pid for server in queue.servers()}, seconds=30)
    assert_alone(fleet)


def test_a_job_that_would_rather_continue_is_not_interrupted(url: str) -> None:
    let_go, interrupted = threading.Event(), threading.Event()
    with StallingProxy(url, PORTS[url.partition(":")[0]]) as proxy:
        app = embedq.EmbedQ(proxy.url, workers=2, lease=LEASE, interrupt_grace=0.5, busy_timeout=2.0, sigterm=False)

        @app.job(name="lost_contact:yield_once")
        def yield_once() -> int:
            try:
                while not interrupted.is_set():
                    time.sleep(0.01)
            except embedq.JobStopped:
                interrupted.set()
                raise
            return embedq.current_job().claim

        @app.job(name="lost_contact:go_on", on_lost_contact="keep")
        def go_on() -> int:
            while not let_go.is_set():
                time.sleep(0.01)
            return embedq.current_job().claim

        @app.job(name="lost_contact:hand_out")
        def hand_out() -> int:
            return embedq.current_job().claim

        with app:
            keeps = [go_on.enqueue()]
            eventually(lambda: keeps[0].state is JobState.RUNNING)
            yields = yield_once.enqueue()
            eventually(lambda: yields.state is JobState.RUNNING)
            with proxy.stalled():
                assert interrupted.wait(30)
                time.sleep(LEASE / 2)
            let_go.set()
            assert keeps[0].result(timeout=30) == 1
            assert yields.result(timeout=30) == 2
            assert [attempt.ending for attempt in keeps[0].attempts()] == [Ending.SUCCEEDED]
            assert yields.snapshot().attempt == 1
            assert hand_out.enqueue().result(timeout=30) == 1
        app.close()

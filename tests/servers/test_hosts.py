"""Processes that share no file system, and whose clocks are minutes apart: they agree on the time, one leads, and who
dies is rescued after the lease (promises G2, G5)."""

from __future__ import annotations

import time
from pathlib import Path

import embedq
from embedq import Ending
from tests.processes.fleet import Fleet, Program
from tests.processes.jobs import hang_once, run
from tests.processes.skew import SKEW_VARIABLE
from tests.support import eventually

# By how many seconds the clock of each host is ahead.
HOSTS = {"one": 0.0, "two": 420.0, "three": -420.0}


def on_a_host_of_its_own(fleet: Fleet, folder: Path, name: str, **settings: object) -> Program:
    """A worker whose lock files the others do not see, and who does not see that its clock is wrong."""
    (folder / name).mkdir()
    environment = {"TMPDIR": str(folder / name), SKEW_VARIABLE: str(HOSTS[name])}
    program = fleet.start("work", environment=environment, **settings)
    assert program.read_line() == "ready"
    return program


def test_a_job_of_a_dead_host_runs_elsewhere_after_the_lease(
    fleet: Fleet, queue: embedq.EmbedQ, tmp_path: Path
) -> None:
    hosts = [on_a_host_of_its_own(fleet, tmp_path, name, lease=2.0, tick=True) for name in HOSTS]
    eventually(lambda: sum(server.leader for server in queue.servers()) == 1)
    delayed = [queue.enqueue_in(1.0, run) for _ in range(10)]
    asked_at = time.monotonic()
    assert {job.result(timeout=20) for job in delayed} <= {host.pid for host in hosts}
    started = [fleet.runs_of(job.id)[0].started_at - asked_at for job in delayed]
    assert min(started) > 0.5
    assert max(started) < 10
    job = queue.enqueue(hang_once)
    eventually(lambda: fleet.runs_of(job.id))
    [broken_off] = fleet.runs_of(job.id)
    killed = next(host for host in hosts if host.pid == broken_off.pid)
    died_at = fleet.kill(killed)

    assert job.result(timeout=30) in {host.pid for host in hosts if host is not killed}
    again = fleet.runs_of(job.id)[1]
    # The heart may have beaten just before, and is believed for the lease.
    assert 1.0 < again.started_at - died_at < 10
    assert [attempt.ending for attempt in job.attempts()] == [Ending.CRASHED, Ending.SUCCEEDED]
    eventually(lambda: [server.pid for server in queue.servers() if server.leader] != [killed.pid], seconds=10)
    eventually(lambda: sum(server.leader for server in queue.servers()) == 1)
    ledger = [line.fire_at for line in queue.occurrences("tick")]
    assert len(ledger) == len(set(ledger))

"""Processes that share no file system: one leads, and who dies is rescued after the lease (promises G2, G5)."""

from __future__ import annotations

from pathlib import Path

import embedq
from embedq import Ending
from tests.processes.fleet import Fleet, Program
from tests.processes.jobs import hang_once
from tests.support import eventually


def on_a_host_of_its_own(fleet: Fleet, folder: Path, name: str, **settings: object) -> Program:
    """A worker whose lock files the others do not see."""
    (folder / name).mkdir()
    program = fleet.start("work", environment={"TMPDIR": str(folder / name)}, **settings)
    assert program.hear() == "ready"
    return program


def test_a_job_of_a_dead_host_runs_elsewhere_after_the_lease(
    fleet: Fleet, queue: embedq.EmbedQ, tmp_path: Path
) -> None:
    hosts = [on_a_host_of_its_own(fleet, tmp_path, name, lease=2.0, tick=True) for name in ("one", "two", "three")]
    eventually(lambda: sum(server.leader for server in queue.servers()) == 1)
    job = queue.enqueue(hang_once)
    eventually(lambda: fleet.runs_of(job.id))
    [run] = fleet.runs_of(job.id)
    victim = next(host for host in hosts if host.pid == run.pid)
    died_at = fleet.kill(victim)

    assert job.result(timeout=30) in {host.pid for host in hosts if host is not victim}
    again = fleet.runs_of(job.id)[1]
    # The heart may have beaten just before, and is believed for the lease.
    assert 1.0 < again.started_at - died_at < 10
    assert [attempt.ending for attempt in job.attempts()] == [Ending.CRASHED, Ending.SUCCEEDED]
    eventually(lambda: [server.pid for server in queue.servers() if server.leader] != [victim.pid], seconds=10)
    eventually(lambda: sum(server.leader for server in queue.servers()) == 1)
    ledger = [line.fire_at for line in queue.occurrences("tick")]
    assert len(ledger) == len(set(ledger))

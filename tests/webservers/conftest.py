"""A site: a database, the journal of its jobs' runs, and one web server after another that works on it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import embedq
from tests.databases import Home
from tests.processes.fleet import Fleet
from tests.support import eventually
from tests.webservers.proof import each_occurrence_was_enqueued_once, everything_has_run
from tests.webservers.server import BROKEN, Load, Server

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]

# For all workers of a server, one after another, on a machine that is busy.
START_SECONDS = 60


class Site:
    """What the tests do to a server, and see of it.

    Attributes:
        queue: its database, to look; it runs nothing here.
    """

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder = folder
        self.fleet = Fleet(folder, home)
        self.queue = embedq.EmbedQ(self.fleet.url)
        self.acknowledged: list[int] = []
        self._servers: list[Server] = []

    def serve(self, *command: str, **environment: str) -> Server:
        """Start a server."""
        server = Server(
            command, folder=self.folder, url=self.fleet.url, journal=self.fleet.journal, environment=environment
        )
        self._servers.append(server)
        return server

    def running(self, count: int) -> set[int]:
        """Wait until jobs run in `count` processes at once; their pids."""
        found: set[int] = set()

        def there() -> bool:
            nonlocal found
            found = self._pids()
            return len(found) == count

        try:
            eventually(there, seconds=START_SECONDS)
        except AssertionError:
            raise AssertionError(f"jobs run in {len(found)} of {count} processes\n{self.log}") from None
        return found

    def replaced(self, first: set[int], count: int) -> None:
        """Wait until no process of `first` runs jobs, and `count` others do, or did before they were recycled."""
        found, others = first, set[int]()

        def done() -> bool:
            nonlocal found
            found = self._pids()
            others.update(found - first)
            return not found & first and len(others) >= count

        try:
            eventually(done, seconds=START_SECONDS)
        except AssertionError:
            left = len(found & first)
            raise AssertionError(f"{left} of {count} remain, {len(others)} are new\n{self.log}") from None

    def _pids(self) -> set[int]:
        self.queue.connect()
        return {one.pid for one in self.queue.servers() if not one.stopping}

    def answering(self, server: Server, seconds: float = 30) -> None:
        """Wait until it serves requests."""

        def answers() -> bool:
            try:
                self.acknowledged.append(int(server.post("/run/0.0")))
            except BROKEN:
                return False
            return True

        eventually(answers, seconds=seconds, message="it does not answer")

    def load(self, server: Server) -> Load:
        """Clients that enqueue; what is answered for must have run in the end."""
        load = Load(server)
        load.acknowledged = self.acknowledged
        return load

    def enqueue(self, server: Server, task: str, seconds: float) -> embedq.JobHandle:
        """Enqueue a job by a request, and wait until it runs.

        A worker that is recycled may end with the request in its hands, or in its backlog: it is made again then.
        """
        answers: list[str] = []

        def answered() -> bool:
            try:
                answers.append(server.post(f"/{task}/{seconds}"))
            except BROKEN:
                return False
            return True

        eventually(answered, seconds=30, message=f"it does not answer\n{server.log}")
        job = self.queue.connect().job(int(answers[0]))
        eventually(lambda: self.fleet.runs_of(job.id), seconds=30, message=f"it does not run\n{server.log}")
        return job

    def kill_the_process_of(self, job: embedq.JobHandle) -> None:
        """kill -9 of the process that runs it."""
        os.kill(self.is_killed(job), signal.SIGKILL)

    def is_killed(self, job: embedq.JobHandle) -> int:
        """Know that the process that runs it is killed now; its pid."""
        pid = self.fleet.runs_of(job.id)[-1].pid
        self.fleet.killed[pid] = time.monotonic()
        return pid

    @property
    def log(self) -> str:
        """What the servers have written."""
        return "\n".join(server.log for server in self._servers)

    def check(self) -> None:
        """After the last server: whatever is left is run by another process, and nothing was lost or done twice."""
        # Whoever was killed last has nobody who noticed.
        assert {one.pid for one in self.queue.servers()} <= self.fleet.killed.keys(), self.log
        self.fleet.worker()
        everything_has_run(self.fleet, self.queue, self.acknowledged)
        each_occurrence_was_enqueued_once(self.queue)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self.fleet.close()
        if self.queue.engine.connected:
            self.queue.close()


@pytest.fixture
def site(tmp_path: Path, home_of: Callable[[str], Home]) -> Iterator[Site]:
    """On SQLite: how servers start, fork and end is the same whatever the database."""
    home = home_of("sqlite")
    site = Site(tmp_path, home)
    try:
        yield site
    finally:
        site.close()
    home.check(site.fleet.url)

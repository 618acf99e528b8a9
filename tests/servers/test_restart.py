"""A server that stops, crashes and starts again under load: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from embedq import JobState
from tests.databases import KINDS
from tests.support import eventually


class Cluster:
    """A PostgreSQL server of this test's own."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        [*_, newest] = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        self._programs = newest
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-U", "postgres", "-A", "trust", "-D", str(self._data))

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "-D", str(self._data), "-w", "-o", options, "-l", f"{self._data}.log", "start")

    def stop(self, how: str) -> None:
        """`how`: fast closes connections, immediate is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", how, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        # It refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
        subprocess.run([*user, str(self._programs / program), *arguments], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(params=[kind for kind in KINDS if kind == "postgresql"])
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    cluster = Cluster(folder)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder)


def test_a_server_that_restarts_and_crashes_under_load_loses_nothing(cluster: Cluster) -> None:
    app = embedq.EmbedQ(cluster.url, workers=4, sigterm=False)
    runs: Counter[int] = Counter()
    running: set[int] = set()
    lock = threading.Lock()
    twice_at_once: list[int] = []

    @app.job(name="restart:count")
    def count() -> None:
        job = embedq.current_job().id
        with lock:
            if job in running:
                twice_at_once.append(job)
            running.add(job)
            runs[job] += 1
        time.sleep(0.002)
        with lock:
            running.discard(job)

    acknowledged: list[int] = []
    ended = threading.Event()

    def produce() -> None:
        while not ended.is_set():
            acknowledged.append(count.enqueue().id)

    with app:
        producers = [threading.Thread(target=produce) for _ in range(3)]
        for producer in producers:
            producer.start()
        for how in ("fast", "immediate", "fast", "immediate"):
            time.sleep(0.7)
            cluster.stop(how)
            time.sleep(0.5)
            cluster.start()
        time.sleep(0.7)
        ended.set()
        for producer in producers:
            producer.join()
        eventually(lambda: app.count_jobs(state=JobState.SUCCEEDED, cap=10**6) == len(acknowledged), seconds=60)
        total = app.count_jobs(cap=10**6)
    print(f"{len(acknowledged)} jobs over 4 restarts")
    assert total == len(acknowledged) == len(set(acknowledged))
    assert runs == Counter(acknowledged)
    assert twice_at_once == []

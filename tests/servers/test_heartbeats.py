"""The heart beats past whatever is locked or slow, and where it cannot, no process is given up for that (G3, G7)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

import embedq
from embedq import Ending, JobState
from embedq.storage.base import Transaction
from tests.servers.conftest import Cluster
from tests.servers.mysql_cluster import MySQLCluster
from tests.servers.postgresql_cluster import PostgreSQLCluster
from tests.support import eventually

LEASE = 2.0
begun: set[int] = set()
runs: Counter[int] = Counter()


@embedq.job(name="heartbeats:work")
def work(seconds: float = 0.0) -> None:
    """It yields, and notes that it began, and that it came to its end."""
    begun.add(embedq.current_job().id)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
    runs[embedq.current_job().id] += 1


@contextmanager
def locked(cluster: Cluster, *statements: str) -> Iterator[None]:
    """A transaction of somebody else's that has run these statements."""
    if isinstance(cluster, MySQLCluster):
        import pymysql

        connection: Any = pymysql.connect(host="127.0.0.1", port=cluster.port, user="root", database="jobs")
    else:
        connection = cluster.connect()
    try:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        yield
    finally:
        connection.close()


def lock_the_jobs(cluster: Cluster) -> list[str]:
    if isinstance(cluster, PostgreSQLCluster):
        return ["BEGIN", "LOCK TABLE embedq_jobs IN ACCESS EXCLUSIVE MODE"]
    return ["LOCK TABLES embedq_jobs WRITE"]


def two_processes(cluster: Cluster) -> tuple[embedq.EmbedQ, embedq.EmbedQ]:
    """Of which neither sees the other's lock: both have their own folder for those."""
    apps = []
    for number in range(2):
        app = embedq.EmbedQ(cluster.url, workers=4, lease=LEASE, interrupt_grace=0.2, sigterm=False).connect()
        folder = cluster.folder / f"host-{number}"
        folder.mkdir(exist_ok=True)
        app.database._folder = folder  # type: ignore[attr-defined]
        apps.append(app)
    return apps[0], apps[1]


@pytest.fixture
def apps(cluster: Cluster) -> Iterator[tuple[embedq.EmbedQ, embedq.EmbedQ]]:
    begun.clear()
    runs.clear()
    one, two = two_processes(cluster)
    yield one, two
    for app in (one, two):
        app.stop(timeout=1)
        app.close()


def numbers(app: embedq.EmbedQ) -> list[int]:
    return sorted(server.id for server in app.servers())


def test_a_lock_on_the_jobs_or_a_long_write_delays_no_heartbeat(
    cluster: Cluster,
    apps: tuple[embedq.EmbedQ, embedq.EmbedQ],
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = apps[0]
    for app in apps:
        app.start()
    before = numbers(one)
    jobs = [one.enqueue(work, 3 * LEASE) for _ in range(4)]
    eventually(lambda: all(job.state is JobState.RUNNING for job in jobs))

    with locked(cluster, *lock_the_jobs(cluster)):
        # Behind it stand the writes of both, also those that this process makes all the time.
        writer = threading.Thread(target=lambda: one.enqueue(work))
        writer.start()
        time.sleep(2 * LEASE)
    writer.join()

    def long_write(tx: Transaction) -> None:
        time.sleep(2 * LEASE)

    one.database.write(long_write)
    for job in jobs:
        assert job.wait(30) is JobState.SUCCEEDED
        assert (runs[job.id], job.snapshot().crashes) == (1, 0)
        assert [attempt.ending for attempt in job.attempts()] == [Ending.SUCCEEDED]
    assert numbers(one) == before
    assert "is gone" not in caplog.text
    assert "given up" not in caplog.text


def read_lock(cluster: Cluster) -> list[str]:
    """Nothing can be written by anybody, and reads are answered."""
    if isinstance(cluster, PostgreSQLCluster):
        return ["BEGIN", "LOCK TABLE embedq_jobs, embedq_servers IN SHARE MODE"]
    return ["FLUSH TABLES WITH READ LOCK"]


def all_begun(jobs: list[embedq.JobHandle]) -> bool:
    # A job that is claimed may still wait behind others, and go back to the queue.
    return all(job.id in begun and job.state is not JobState.READY for job in jobs)


def all_ran(jobs: list[embedq.JobHandle]) -> bool:
    return all(runs[job.id] for job in jobs)


def test_outages_of_writing_give_up_no_process_and_repeat_no_job_that_ended(
    cluster: Cluster,
    apps: tuple[embedq.EmbedQ, embedq.EmbedQ],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for app in apps:
        app.start()
    one = apps[0]
    before = numbers(one)
    long = [one.enqueue(work, 5 * LEASE) for _ in range(2)]
    ended = []
    for _ in range(3):
        short = [one.enqueue(work, 0.3) for _ in range(4)]
        eventually(partial(all_begun, [*long, *short]))
        with locked(cluster, *read_lock(cluster)):
            eventually(partial(all_ran, short))
            time.sleep(1.5 * LEASE)
        ended += short
        for job in short:
            assert job.wait(30) is JobState.SUCCEEDED
    for job in ended:
        assert runs[job.id] == 1, "what had ended when nothing could be written was run again"
        assert (job.snapshot().crashes, job.snapshot().attempt) == (0, 1)
    for job in long:
        # Let go of each time, since it cannot be known that others are in the same trouble; no crash, no attempt.
        assert job.wait(60) is JobState.SUCCEEDED
        assert (runs[job.id], job.snapshot().crashes, job.snapshot().attempt) == (1, 0, 1)
    assert numbers(one) == before
    assert "is gone" not in caplog.text

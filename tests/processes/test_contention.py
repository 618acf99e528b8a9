"""Eight writers, a reader that never lets go, a stranger who holds the lock: nobody sees "database is locked"."""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

import embedq
from embedq import JobState
from tests.databases import Home, SQLiteHome
from tests.processes.fleet import Fleet
from tests.support import eventually

PROCESSES = 8
SECONDS = 7.0
HOLD_SECONDS = 1.0


@pytest.fixture
def home() -> Home:
    """A file: what is measured here is SQLite's own."""
    return SQLiteHome()


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a thread until the block ends; what it raises is raised here."""
    ended, errors = threading.Event(), []

    def run() -> None:
        try:
            work(ended)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


def test_no_process_sees_a_locked_database(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    path = fleet.folder / "fleet.db"
    holds = 0

    def read_for_ever(ended: threading.Event) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN")
        [before] = connection.execute("SELECT count(*) FROM embedq_jobs").fetchone()
        ended.wait()
        [after] = connection.execute("SELECT count(*) FROM embedq_jobs").fetchone()
        connection.close()
        assert before == after, "it was no long transaction"

    def hold_the_lock(ended: threading.Event) -> None:
        nonlocal holds
        # SQLite's own way of waiting backs off to 100 ms, and hardly ever wins against eight eager writers.
        connection = sqlite3.connect(path, isolation_level=None, timeout=0)
        while not ended.wait(HOLD_SECONDS / 2):
            while not connection.in_transaction and not ended.wait(0.0005):
                with suppress(sqlite3.OperationalError):
                    connection.execute("BEGIN IMMEDIATE")
            ended.wait(HOLD_SECONDS)
            holds += connection.in_transaction
            connection.rollback()
        connection.close()

    programs = [fleet.start("work_and_produce", workers=2, pause=0.005, generations=1) for _ in range(PROCESSES)]
    for program in programs:
        assert program.read_line() == "ready"
    with beside(read_for_ever), beside(hold_the_lock):
        time.sleep(SECONDS)
    assert [program.end() for program in programs] == [0] * PROCESSES

    fleet.worker()
    eventually(lambda: queue.count_jobs(state=JobState.READY) == 0, seconds=60)
    eventually(lambda: queue.count_jobs(state=JobState.RUNNING) == 0, seconds=60)
    jobs = queue.jobs(limit=1_000_000)
    acknowledged = fleet.events("acknowledged")
    took = sorted(line["took"] for line in acknowledged)
    print(
        f"{len(took)} enqueues by {PROCESSES} processes, the lock held {holds} times for {HOLD_SECONDS} s: "
        f"median {statistics.median(took) * 1000:.1f} ms, p99 {took[-len(took) // 100] * 1000:.0f} ms, "
        f"worst {took[-1]:.2f} s"
    )
    assert len({line["pid"] for line in acknowledged}) == PROCESSES
    assert holds >= 2
    # Nobody starves: the one who had to wait the longest waited for the stranger, and little more.
    assert took[-1] < HOLD_SECONDS + 5
    assert {line["job"] for line in acknowledged} <= {job.id for job in jobs}
    assert {(job.state, job.attempt, job.error) for job in jobs} == {(JobState.SUCCEEDED, 1, None)}
    assert all(len(spans) == 1 for spans in fleet.runs().values())
    assert "lock" not in fleet.errors()

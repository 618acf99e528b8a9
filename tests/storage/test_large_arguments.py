"""SQLite: large arguments are written once, not at every change of their job's state."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import embedq
from embedq.storage import jobs
from embedq.storage.sqlite.database import SQLiteDatabase
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

LENGTH = 1_000_000
NUMBER = 20
TEXT = f'[["{"x" * LENGTH}"],{{}}]'


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    database = SQLiteDatabase(tmp_path / "q.db", durability="normal")
    database.migrate()
    store = Store(database, clock)
    store.server()
    yield store
    database.close()


def written(action: Callable[[], object]) -> int:
    """How many bytes this process gives the system to write meanwhile."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

    before = so_far()
    action()
    return so_far() - before


def kept_apart(store: Store) -> int:
    [(number,)] = store.db.read(lambda tx: tx.select("SELECT count(*) FROM embedq_large"))
    return int(number)


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the system does not tell what a process writes")
@pytest.mark.parametrize("together", [False, True])
def test_arguments_are_written_when_they_come_and_not_when_their_job_changes(store: Store, together: bool) -> None:
    drafts = [store.draft(payload=TEXT) for _ in range(NUMBER)]

    def enqueue() -> None:
        if together:
            store.db.write(jobs.insert_all, drafts, retention=RETENTION)
        else:
            for draft in drafts:
                store.db.write(jobs.insert, draft)

    def work() -> None:
        # Fails, and is tried again.
        for _ in range(2):
            store.clock.advance(seconds=60)
            while claimed := store.claim():
                store.finish(
                    *(store.failed(job, wait=5) if job.attempt == 1 else store.succeeded(job) for job in claimed)
                )
        store.db.close()

    # Into the log, and from there into the file.
    assert NUMBER * LENGTH < written(enqueue) < 2.5 * NUMBER * LENGTH
    assert written(work) < 1.5 * NUMBER * LENGTH
    assert kept_apart(store) == NUMBER


def test_they_go_with_their_job(store: Store) -> None:
    ids = [store.insert(payload=TEXT), store.insert(), store.insert(payload=TEXT), store.insert()]
    assert kept_apart(store) == 2
    for job in store.claim():
        store.finish(store.succeeded(job))
    store.clock.advance(days=1)
    while store.prune():
        pass
    # The newest job is kept always.
    assert [store.exists(job_id) for job_id in ids] == [False, False, False, True]
    assert kept_apart(store) == 0


def test_those_of_rows_that_an_earlier_version_wrote_are_read_where_they_are(store: Store) -> None:
    job_id = store.insert()
    store.db.write(lambda tx: tx.select("UPDATE embedq_jobs SET payload = ? WHERE id = ?", (TEXT, job_id)))
    [job] = store.claim()
    assert (job.payload == TEXT, kept_apart(store)) == (True, 0)


def test_a_transaction_of_the_applications_own_moves_them_too_and_takes_them_back(store: Store, tmp_path: Path) -> None:
    app = embedq.EmbedQ(f"sqlite:///{tmp_path / 'q.db'}").connect()
    with closing(sqlite3.connect(tmp_path / "q.db")) as own:
        with app.transaction(own):
            app.enqueue(len, "x" * LENGTH)
        own.rollback()
        assert kept_apart(store) == 0
        with app.transaction(own):
            job = app.enqueue(len, "x" * LENGTH)
        own.commit()
    assert kept_apart(store) == 1
    assert "x" * LENGTH in job.snapshot().arguments
    app.close()

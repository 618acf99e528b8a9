"""Under steady load the rows, and the file, stop growing."""

from __future__ import annotations

import os
import sqlite3
import time

import pytest

import embedq
from tests.databases import Home, SQLiteHome
from tests.processes.fleet import Fleet


@pytest.fixture
def home() -> Home:
    """A file: what is measured here is SQLite's own."""
    return SQLiteHome()


def test_under_steady_load_rows_and_file_level_off(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    path = fleet.folder / "fleet.db"

    def measure() -> tuple[int, ...]:
        """Jobs, attempts, kilobytes of the database and of its write-ahead log."""
        connection = sqlite3.connect(path)
        counted = [
            connection.execute(query).fetchone()[0]
            for query in (
                "SELECT count(*) FROM embedq_jobs",
                "SELECT count(*) FROM embedq_attempts",
                "SELECT page_count * page_size / 1024 FROM pragma_page_count, pragma_page_size",
            )
        ]
        connection.close()
        return (*counted, os.path.getsize(f"{path}-wal") // 1024)

    kept = {"succeeded": 0.5, "dead": 0.5, "cancelled": 0.5}
    program = fleet.start("load", retention=kept, prune_seconds=0.5, workers=4, durability="normal")
    assert program.hear() == "ready"
    early: list[tuple[int, ...]] = []
    late: list[tuple[int, ...]] = []
    began_at = time.monotonic()
    while (elapsed := time.monotonic() - began_at) < 9:
        if elapsed > 1.5:
            (early if elapsed < 4 else late).append(measure())
        time.sleep(0.2)
    assert program.end() == 0

    done = len(fleet.events("end"))
    before = [max(column) for column in zip(*early, strict=True)]
    after = [max(column) for column in zip(*late, strict=True)]
    print(f"{done} jobs; jobs, attempts, KB, KB of log: at most {before} after 1.5 to 4 s, {after} after 4 to 9 s")
    assert done > 1000
    for name, most_before, most_after in zip(("jobs", "attempts", "KB"), before, after, strict=False):
        assert most_after <= 1.5 * most_before + 100, name
    # All of it would be many times as much.
    assert after[0] < done / 3
    # SQLite starts over in its log every 4,000 pages of 4 KB.
    assert after[3] < 3 * 16_000

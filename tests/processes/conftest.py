"""A fleet of processes on one database, and an app of this process to look at it with."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from tests.processes.fleet import Fleet

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """No process of it outlives the test, and none leaves a damaged file."""
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.close()
    if (tmp_path / "fleet.db").exists():
        connection = sqlite3.connect(tmp_path / "fleet.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


@pytest.fixture
def queue(fleet: Fleet) -> Iterator[embedq.EmbedQ]:
    """The fleet's database, to enqueue and to look; it runs nothing here."""
    app = embedq.EmbedQ(fleet.url).connect()
    yield app
    app.database.close()


@pytest.fixture
def dice() -> random.Random:
    """Chance that can be had again: EMBEDQ_TEST_SEED=… repeats a run."""
    seed = int(os.environ.get("EMBEDQ_TEST_SEED", "20260601"))
    print(f"EMBEDQ_TEST_SEED={seed}")
    return random.Random(seed)

"""A fleet of processes on one database, and an app of this process to look at it with."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from tests.databases import Home
from tests.processes.fleet import Fleet

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def fleet(tmp_path: Path, home: Home) -> Iterator[Fleet]:
    """No process of it outlives the test, and none leaves a damaged file."""
    fleet = Fleet(tmp_path, home)
    try:
        yield fleet
    finally:
        fleet.close()
    home.check(fleet.url)


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

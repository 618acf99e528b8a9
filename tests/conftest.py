"""Fixtures for every test: a fresh database, an app on it, and a clock that only moves when told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from embedq.storage.base import Database
from tests.support import FakeClock, fresh_database, guard_transitions, resume_registry


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A fresh, migrated database that refuses a change of state that is not in `embedq.TRANSITIONS`."""
    database = fresh_database(request.param, tmp_path)
    guard_transitions(database)
    yield database
    database.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[embedq.EmbedQ]:
    """An app on a fresh database, connected but not started. Whatever the test started is stopped afterwards."""
    app = embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db", stop_timeout=5, interrupt_grace=0.5).connect()
    guard_transitions(app.database)
    yield app
    app.stop(timeout=1)
    app.database.close()


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Tasks that a test registers are gone after it."""
    with resume_registry():
        yield

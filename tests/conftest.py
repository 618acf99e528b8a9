"""Fixtures for every test: a fresh database, an app on it, and a clock that only moves when told to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import embedq
from embedq.storage.base import Database
from tests.databases import KINDS, Home, SQLiteHome, make_home, open_database
from tests.support import FakeClock, resume_registry

# The width of the terminal that the tests run in, which tests in other processes are told: output is as in a pipe.
os.environ.pop("COLUMNS", None)


def pytest_report_header() -> str:
    return f"databases: {', '.join(KINDS)}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def home_of() -> Iterator[Callable[[str], Home]]:
    """Where databases of a kind live, made when it is first asked for."""
    homes: dict[str, Home] = {}

    def find(kind: str) -> Home:
        if kind not in homes:
            homes[kind] = make_home(kind)
        return homes[kind]

    yield find
    for home in homes.values():
        home.close()


@pytest.fixture(scope="session", params=KINDS)
def home(request: pytest.FixtureRequest, home_of: Callable[[str], Home]) -> Home:
    """Where databases of one kind live; every test that needs one runs on each kind."""
    return home_of(request.param)


@pytest.fixture
def url(home: Home, tmp_path: Path) -> str:
    """A fresh, migrated database that refuses a change of state that is not in `embedq.TRANSITIONS`."""
    return home.fresh(tmp_path)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """The database, open."""
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[embedq.EmbedQ]:
    """An app on a fresh SQLite file, connected but not started. Whatever the test started is stopped afterwards.

    What it does with the database is the conformance suite's matter, on every database; this is about the rest.
    """
    app = embedq.EmbedQ(SQLiteHome().fresh(tmp_path, "app"), stop_timeout=5, interrupt_grace=0.5).connect()
    yield app
    app.stop(timeout=1)
    app.database.close()


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Tasks that a test registers are gone after it."""
    with resume_registry():
        yield

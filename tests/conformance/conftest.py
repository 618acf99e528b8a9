"""The conformance suite: every storage function, on every database. No test asks which one it is on."""

from __future__ import annotations

import pytest

from embedq.storage.base import Database
from tests.conformance.store import Store
from tests.support import FakeClock


@pytest.fixture
def store(db: Database, clock: FakeClock) -> Store:
    """The database's storage functions, with one process registered as number 1."""
    store = Store(db, clock)
    assert store.server() == 1
    return store

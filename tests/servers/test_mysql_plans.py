"""MariaDB and MySQL read no more of a lane than is wanted of it, however many jobs wait there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedq.flow.lanes import lane_key
from embedq.storage.base import Transaction
from tests.conformance.store import Store
from tests.databases import KINDS, Home, open_database
from tests.support import FakeClock

pytestmark = pytest.mark.skipif("mysql" not in KINDS, reason="no MySQL or MariaDB here")

LANE = ("thread lane", "default", 0, lane_key("lane", ()))
WAITING = 2000


@pytest.fixture
def store(home_of: Callable[[str], Home], tmp_path: Path) -> Iterator[Store]:
    """One lane in which many jobs wait."""
    db = open_database(home_of("mysql").fresh(tmp_path))
    store = Store(db, FakeClock())
    store.insert_many([store.draft(executor=LANE[0], lane_key=LANE[3])] * WAITING)
    yield store
    db.close()


def rows_read(tx: Transaction) -> int:
    """How many rows and entries of indexes this session has read."""
    return sum(int(number) for _, number in tx.select("SHOW SESSION STATUS LIKE 'Handler_read%'"))


@pytest.mark.parametrize(
    ("statement", "params"),
    [("lane_jobs", (*LANE, 10, 1)), ("lane_front", (*LANE, 10)), ("visit_lanes", (*LANE[:3], "", 10))],
)
def test_a_long_lane_is_not_read_to_its_end(store: Store, statement: str, params: tuple[object, ...]) -> None:
    def read(tx: Transaction) -> tuple[int, int]:
        before = rows_read(tx)
        found = tx.batch(statement, params) if statement == "lane_jobs" else tx.all(statement, params)
        return len(list(found)), rows_read(tx) - before

    number, read_rows = store.db.write(read)
    assert number == (1 if statement == "visit_lanes" else 10)
    # The status itself is a table of some dozens of rows.
    assert read_rows < WAITING / 10

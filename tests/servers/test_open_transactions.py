"""A row that an application's open transaction holds, holds up nothing that is done to other rows: few as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from embedq.job import JobState
from embedq.maintenance import scheduler
from embedq.storage import bulk, inspect
from embedq.storage.base import Database
from tests.conformance.store import RETENTION, Store
from tests.conformance.test_many_schedules import template
from tests.connections import WAYS, Held
from tests.databases import open_database
from tests.support import FakeClock


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = open_database(url, busy_timeout=0.1)
    yield database
    database.close()


@pytest.fixture
def store(db: Database, clock: FakeClock) -> Store:
    store = Store(db, clock)
    store.server()
    return store


@pytest.fixture
def own(url: str) -> Iterator[Held]:
    """The application's connection."""
    [way] = [way for way in WAYS if url.startswith(way.kind) and way.name in ("psycopg", "pymysql")]
    held = way.open(url)
    yield held
    held.rollback()
    held.close()


@pytest.fixture
def hold(own: Held, url: str) -> Callable[[str, str], None]:
    """Holds the rows of a table for which a condition is true."""
    schema = url.partition("schema=")[2].partition("&")[0]

    def hold(table: str, where: str) -> None:
        own.execute(f"SELECT * FROM {schema and schema + '.'}embedq_{table} WHERE {where} FOR UPDATE")

    return hold


@pytest.mark.parametrize("number", [1, 7])
def test_jobs_go_their_way(store: Store, clock: FakeClock, hold: Callable[[str, str], None], number: int) -> None:
    held = store.insert()
    hold("jobs", f"id = {held}")
    first = store.insert_many([store.draft() for _ in range(number)])
    later = store.insert_many([store.draft(delay=1) for _ in range(number)])
    children = [store.then(job_id) for job_id in first]
    claimed = store.claim()
    assert [job.id for job in claimed] == first
    store.finish(*(store.succeeded(job) for job in claimed))
    claimed = store.claim()
    assert [job.id for job in claimed] == children
    store.finish(*(store.died(job) for job in claimed))
    for job_id in children:
        store.retry(job_id)
    clock.advance(seconds=2)
    claimed = store.claim()
    assert {job.id for job in claimed} == {*children, *later}
    assert [store.cancel(job_id) for job_id in later] == [JobState.RUNNING] * number
    store.finish(*(store.succeeded(job) for job in claimed))
    spare = store.insert_many([store.draft() for _ in range(number)])
    store.db.write(bulk.move, spare, queue="low", priority=None)
    assert [store.cancel(job_id) for job_id in spare] == [JobState.CANCELLED] * number
    clock.advance(days=400)
    assert store.prune() >= number
    assert store.state(held) is JobState.READY


def test_schedules_go_their_way(store: Store, clock: FakeClock, hold: Callable[[str, str], None]) -> None:
    for name in ("held", "free"):
        store.put_schedule(name, template=template())
    hold("schedules", "name = 'held'")
    store.put_schedule("free", template=template(), spec='{"every_micros":1000000}', first_fire=store.now)
    store.put_schedule("fresh", template=template(), first_fire=store.now)
    clock.advance(minutes=2)
    scheduler.fire_set(store.db, clock, RETENTION)
    fired = [name for name in ("held", "free", "fresh") if store.db.read(inspect.occurrences, name)]
    assert fired == ["free", "fresh"]

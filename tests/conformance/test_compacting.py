"""Counters grow coarser with age, and every sum stays what it was."""

from __future__ import annotations

from embedq.clock import SECOND
from embedq.storage.compacting import compact_counters
from embedq.storage.inspect.history import history, totals_by_task
from tests.conformance.store import Store
from tests.support import FakeClock


def rows(store: Store) -> list[tuple[int, int]]:
    found = store.db.read(lambda tx: tx.select("SELECT minute, jobs FROM embedq_counters ORDER BY minute"))
    return [(minute, jobs) for minute, jobs in found]


def compact(store: Store) -> None:
    while store.db.write(compact_counters, now=store.now).more:
        pass


def work(store: Store, clock: FakeClock, *, minutes: int, every: int) -> None:
    """A job of a millisecond at each step of so many minutes."""
    for _ in range(0, minutes, every):
        job = store.insert()
        store.run_one(job, lambda job: store.succeeded(job, started_at=store.now - SECOND, cpu_us=10))
        clock.advance(minutes=every)


def test_minutes_become_quarters_and_then_three_hours(store: Store, clock: FakeClock) -> None:
    work(store, clock, minutes=60, every=5)
    clock.advance(hours=1, minutes=50)
    before = store.db.read(totals_by_task, "day", now=store.now)
    compact(store)
    first = rows(store)
    assert [jobs for _, jobs in first] == [3, 3, 3, 1, 1, 1]
    assert [minute % 15 for minute, _ in first[:2]] == [0, 0]
    assert store.db.read(totals_by_task, "day", now=store.now) == before
    clock.advance(hours=49)
    compact(store)
    [(minute, jobs)] = rows(store)
    assert (minute % 180, jobs) == (0, 12)
    week = store.db.read(history, "week", now=store.now).totals
    assert (week.runs, week.ran_seconds, week.cpu_seconds) == (12, 12.0, 12 * 10 / SECOND)


def test_what_is_recorded_late_joins_what_is_compacted(store: Store, clock: FakeClock) -> None:
    work(store, clock, minutes=15, every=5)
    late = store.insert()
    [held] = store.claim()
    outcome = store.succeeded(held)
    clock.advance(hours=3)
    compact(store)
    assert len(rows(store)) == 1
    outcome.finished_at = outcome.started_at = store.now - 3 * 3600 * SECOND - 600 * SECOND
    store.finish(outcome)
    assert late == outcome.job_id
    compact(store)
    [(_, jobs)] = rows(store)
    assert jobs == 4
    assert store.db.write(compact_counters, now=store.now).more is False

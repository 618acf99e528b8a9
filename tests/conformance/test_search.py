"""Searches by page: every way that jobs are found, both ways through the pages, and the bound of a look."""

from __future__ import annotations

from datetime import timedelta

import pytest

from embedq import ConfigurationError, JobState
from embedq.clock import to_datetime
from embedq.storage import firing, inspect
from embedq.storage.inspect import JobPage, Search, searching
from tests.conformance.store import Store
from tests.support import FakeClock


def page(store: Store, wanted: Search, **given: object) -> JobPage:
    return store.db.read(inspect.search, wanted, **given)  # type: ignore[arg-type]


def ids(found: JobPage) -> list[int]:
    return [job.id for job in found.jobs]


def ended(store: Store, clock: FakeClock, number: int) -> list[int]:
    """Dead jobs, in the order in which they died, which is not that of their ids."""
    inserted = store.insert_many([store.draft(payload=f"[[{n}],{{}}]") for n in range(number)])
    claimed = {job.id: job for job in store.claim()}
    order = inserted[::2] + inserted[1::2]
    for job_id in order:
        store.finish(store.died(claimed[job_id], error=f"ValueError: no user {job_id}"))
        clock.advance(seconds=1)
    return order


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_walked_to_its_end_and_back(store: Store, clock: FakeClock, state: JobState) -> None:
    everything = []
    for number in range(7):
        job = store.insert(delay=60 + (number * 37) % 50 if state is JobState.SCHEDULED else 0)
        if state is JobState.AWAITING:
            job = store.then(job)
        elif state is JobState.RUNNING:
            store.claim()
        elif state not in (JobState.SCHEDULED, JobState.READY):
            store.run_one(job, {
                JobState.SUCCEEDED: store.succeeded, JobState.DEAD: store.died, JobState.CANCELLED: store.cancelled,
                JobState.RETRYING: store.failed, JobState.PARKED: lambda job: store.parked(job, "task x"),
            }[state])  # fmt: skip
        everything.append(job)
        clock.advance(seconds=1)
    wanted = Search(states=(state,))
    there = [first := page(store, wanted, limit=3)]
    while there[-1].next is not None:
        there.append(page(store, wanted, limit=3, cursor=there[-1].next))
    assert sorted(job_id for one in there for job_id in ids(one)) == sorted(everything)
    assert [len(one.jobs) for one in there] == [3, 3, 1]
    assert first.previous is None
    back = page(store, wanted, limit=3, cursor=there[2].previous)
    assert ids(back) == ids(there[1])
    assert ids(page(store, wanted, limit=3, cursor=back.previous)) == ids(first)


def test_ended_jobs_come_in_the_order_in_which_they_ended(store: Store, clock: FakeClock) -> None:
    order = ended(store, clock, 5)
    assert ids(page(store, Search(states=(JobState.DEAD,)))) == order[::-1]


def test_scheduled_jobs_come_in_the_order_in_which_they_are_due(store: Store) -> None:
    late, soon = store.insert(delay=60), store.insert(delay=10)
    assert ids(page(store, Search(states=(JobState.SCHEDULED, JobState.RETRYING)))) == [soon, late]


def test_a_page_before_the_first_ones_middle_is_the_whole_first_page(store: Store) -> None:
    inserted = store.insert_many([store.draft() for _ in range(5)])[::-1]
    first = page(store, Search(), limit=3)
    second = page(store, Search(), limit=3, cursor=first.next)
    fresh = store.insert()
    assert ids(page(store, Search(), limit=3, cursor=second.previous)) == inserted[:3]
    again = page(store, Search(), limit=3, cursor=page(store, Search(), limit=3, cursor=second.previous).previous)
    assert ids(again) == [fresh, *inserted[:2]]


def test_jobs_are_found_by_all_there_is_to_know(store: Store, clock: FakeClock) -> None:
    start = to_datetime(clock.now())
    mark = store.insert(queue="mail", name="shop:send", tags='["vip"]', payload='[["Zo\\u00eb", 42],{}]')
    clock.advance(seconds=10)
    other = store.insert(payload="[[420],{}]")
    for wanted in (
        Search(queue="mail"), Search(name="shop:send"), Search(tag="vip"), Search(argument="Zoë"),
        Search(argument="42]"), Search(ids=(mark, 4711)), Search(created_to=start + timedelta(seconds=1)),
        Search(states=(JobState.READY, JobState.DEAD), queue="mail"),
    ):  # fmt: skip
        assert ids(page(store, wanted)) == [mark], wanted
        assert store.db.read(inspect.count_search, wanted) == inspect.Count(number=1, capped=False)
    assert ids(page(store, Search(created_from=start + timedelta(seconds=5)))) == [other]
    child = store.then(other)
    assert ids(page(store, Search(parent=other))) == [child]


def test_jobs_are_found_by_when_they_ended(store: Store, clock: FakeClock) -> None:
    order = ended(store, clock, 4)
    third = store.job(order[2]).finished_at
    assert third is not None
    assert ids(page(store, Search(states=(JobState.DEAD,), finished_from=third))) == [order[3], order[2]]
    assert ids(page(store, Search(finished_to=third))) == sorted(order[:2], reverse=True)


def test_jobs_of_a_schedule_are_found_by_its_ledger(store: Store) -> None:
    store.put_schedule()
    store.insert()
    job_id = store.db.write(firing.trigger, "pulse", lambda row, at: store.draft(schedule=row.name), now=store.now)
    assert ids(page(store, Search(schedule="pulse"))) == [job_id]
    assert ids(page(store, Search(schedule="pulse", states=(JobState.READY,)))) == [job_id]


def test_errors_that_differ_in_a_number_are_one_group(store: Store, clock: FakeClock) -> None:
    order = ended(store, clock, 3)
    other = store.insert()
    store.run_one(other, lambda job: store.died(job, error="ValueError: no account 7"))
    wanted = Search(states=(JobState.DEAD,), error_group="ValueError: no user #")
    assert ids(page(store, wanted)) == order[::-1]
    assert store.db.read(inspect.count_search, wanted).number == 3


@pytest.mark.parametrize("wanted", [
    Search(argument="[[0]"), Search(states=(JobState.DEAD,), argument="[[0]"), Search(argument="[[0]", error="user"),
])  # fmt: skip
def test_a_look_into_texts_stops_and_continues_where_it_stopped(
    store: Store, clock: FakeClock, wanted: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "TEXT_SCAN_LIMIT", 3)
    [first, *_] = ended(store, clock, 12)
    found = page(store, wanted)
    assert (ids(found), found.exhausted) == ([], False)
    assert found.scanned_to is not None
    assert store.db.read(inspect.count_search, wanted) == inspect.Count(number=0, capped=True)
    looks = 1
    while not found.jobs:
        found, looks = page(store, wanted, cursor=found.next), looks + 1
    assert ids(found) == [first]
    assert 3 <= looks <= 4
    assert page(store, wanted, cursor=found.previous).jobs == []


def test_live_jobs_that_are_many_are_walked_through(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    inserted = store.insert_many([store.draft() for _ in range(9)])[::-1]
    before = ids(page(store, Search(states=(JobState.READY,)), limit=4))
    monkeypatch.setattr(searching, "FEW", 5)
    many = page(store, Search(states=(JobState.READY,)), limit=4)
    assert ids(many) == before == inserted[:4]
    assert ids(page(store, Search(states=(JobState.READY,)), limit=9, cursor=many.next)) == inserted[4:]


def test_jobs_that_end_at_the_same_moment_are_each_met_once(store: Store) -> None:
    store.insert_many([store.draft() for _ in range(7)])
    store.finish(*(store.succeeded(job) for job in store.claim()))
    seen: list[int] = []
    cursor = None
    while True:
        found = page(store, Search(states=(JobState.SUCCEEDED,)), limit=2, cursor=cursor)
        seen += ids(found)
        cursor = found.next
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7


def test_a_cursor_of_another_search_is_refused(store: Store, clock: FakeClock) -> None:
    ended(store, clock, 3)
    cursor = page(store, Search(), limit=1).next
    for strange in (cursor, "end.next.x.1", "nonsense", "end.up.1.1"):
        with pytest.raises(ConfigurationError, match="does not belong to this search"):
            page(store, Search(states=(JobState.DEAD,)), cursor=strange)


def test_a_search_is_the_same_after_it_was_stored(clock: FakeClock) -> None:
    wanted = Search(states=(JobState.DEAD,), ids=(1, 2), created_from=to_datetime(clock.now()), error="x")
    assert Search.of(wanted.given) == wanted

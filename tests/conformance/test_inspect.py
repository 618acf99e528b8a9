"""The read model: lists, pages, counts, and what a dispatcher must know."""

from __future__ import annotations

import json
import threading

import pytest

from embedq import JobNotFoundError, JobState
from embedq.clock import SECOND
from embedq.storage import inspect
from tests.conformance.store import Store
from tests.support import FakeClock, eventually


def ids(store: Store, **filters: object) -> list[int]:
    return [job.id for job in store.db.read(inspect.jobs, **filters)]  # type: ignore[arg-type]


def one_in_every_state(store: Store) -> dict[JobState, int]:
    """A job in each state."""
    found = {}
    for state, ending in (
        (JobState.SUCCEEDED, store.succeeded),
        (JobState.DEAD, store.died),
        (JobState.RETRYING, store.failed),
        (JobState.PARKED, lambda job: store.parked(job, "task x")),
        (JobState.CANCELLED, store.cancelled),
    ):
        found[state] = store.insert()
        store.run_one(found[state], ending)
    found[JobState.RUNNING] = store.insert()
    store.claim()
    found[JobState.SCHEDULED] = store.insert(delay=60)
    found[JobState.READY] = store.insert()
    found[JobState.AWAITING] = store.then(found[JobState.READY])
    return found


def test_every_state_is_found_counted_and_distinguished(store: Store) -> None:
    found = one_in_every_state(store)
    for state in JobState:
        assert ids(store, state=state) == [found[state]]
        assert store.db.read(inspect.count, state) == 1
    assert ids(store) == sorted(found.values(), reverse=True)
    assert store.db.read(inspect.stats, now=store.now).counts == dict.fromkeys(JobState, 1)


def test_a_job_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(JobNotFoundError, match="no job 4711"):
        store.job(4711)
    assert store.db.read(inspect.outcome, 4711) is None


def test_filters_all_apply_together(store: Store) -> None:
    match = store.insert(queue="mail", name="shop:send", tags='["vip","eu"]', schedule="nightly")
    for other in (
        {"queue": "other"},
        {"name": "shop:sends"},
        {"tags": '["vip2"]'},
        {"tags": None},
        {"schedule": None},
    ):
        columns = {"queue": "mail", "name": "shop:send", "tags": '["vip"]', "schedule": "nightly"} | other
        store.insert(**columns)
    assert ids(store, queue="mail", name="shop:send", tag="vip", schedule="nightly") == [match]
    assert ids(store, queue="mail", name="shop:send", tag="vip", schedule="nightly", state=JobState.READY) == [match]
    assert ids(store, queue="mail", name="shop:send", tag="vip", schedule="nightly", state=JobState.DEAD) == []


def test_errors_are_found_by_any_part_taken_literally(store: Store) -> None:
    matching = store.insert()
    store.run_one(matching, lambda job: store.died(job, error="HTTPError: 50% of 'x_y' failed"))
    other = store.insert()
    store.run_one(other, lambda job: store.died(job, error="HTTPError: 500"))
    assert ids(store, error="50% of 'x_y'") == [matching]
    assert ids(store, error="HTTPError", state=JobState.DEAD) == [other, matching]
    assert ids(store, error="_") == [matching]


def test_pages_go_from_the_newest_back_without_gaps_or_doubles(store: Store) -> None:
    inserted = store.insert_many([store.draft() for _ in range(7)])
    seen: list[int] = []
    before = None
    while page := ids(store, limit=3, before=before):
        seen += page
        before = page[-1]
    assert seen == sorted(inserted, reverse=True)


def test_counts_stop_at_their_cap(store: Store) -> None:
    store.insert_many([store.draft() for _ in range(5)])
    assert store.db.read(inspect.count, JobState.READY, 3) == 3
    store.finish(*(store.succeeded(job) for job in store.claim(limit=4)))
    assert store.db.read(inspect.count, JobState.SUCCEEDED, 3) == 3
    assert store.db.read(inspect.count, JobState.SUCCEEDED) == 4


def test_suspects_count_as_ready(store: Store) -> None:
    store.insert_many([store.draft(), store.draft()])
    for _ in range(2):
        server = store.server()
        store.claim(server, limit=1)
        store.rescue(server)
    assert store.db.read(inspect.count, JobState.READY) == 2
    assert len(ids(store, state=JobState.READY)) == 2


def test_the_wait_of_the_oldest_ready_job_is_reported_queue_by_queue(store: Store, clock: FakeClock) -> None:
    store.insert(queue="mail")
    clock.advance(seconds=30)
    store.insert(queue="mail")
    store.insert(queue="low", delay=100)
    clock.advance(seconds=15)
    store.insert(queue="low")
    oldest = store.db.read(inspect.stats, now=store.now).oldest_ready_seconds
    assert oldest == {"mail": 45.0, "low": 0.0}


def test_a_snapshot_becomes_plain_json(store: Store) -> None:
    job_id = store.insert(tags='["a"]', expires_in=5)
    text = json.dumps(store.job(job_id).as_dict())
    assert json.loads(text)["run_at"] == "2026-06-01T12:00:00+00:00"
    assert json.loads(text)["tags"] == ["a"]


def test_a_servers_running_jobs_are_counted(store: Store) -> None:
    other = store.server()
    store.insert_many([store.draft() for _ in range(3)])
    store.claim(other, limit=2)
    store.stop_server(other)
    listed = store.db.read(inspect.servers)
    assert [(s.id, s.running, s.stopping, s.queues) for s in listed] == [
        (1, 0, False, None), (other, 2, True, None),
    ]  # fmt: skip


def test_a_dispatcher_learns_whether_a_job_waits_in_its_queues(store: Store) -> None:
    assert not store.db.read(inspect.waiting, 1, None).ready
    store.insert(queue="mail", executor="async")
    assert store.db.read(inspect.waiting, 1, None).ready
    assert store.db.read(inspect.waiting, 1, ("low", "mail")).ready
    assert not store.db.read(inspect.waiting, 1, ("low",)).ready


def test_a_dispatcher_learns_when_the_next_job_is_due(store: Store, clock: FakeClock) -> None:
    assert store.db.read(inspect.waiting, 1, None).next_due is None
    store.insert(delay=60)
    store.insert(delay=30)
    waiting = store.db.read(inspect.waiting, 1, None)
    assert (waiting.ready, waiting.next_due) == (False, clock.now() + 30 * SECOND)


def test_a_read_sees_one_moment(store: Store) -> None:
    def twice(tx: object) -> tuple[int, int]:
        first = inspect.count(tx, JobState.READY)  # type: ignore[arg-type]
        # As another process would: a call from inside of this one is refused.
        writer = threading.Thread(target=store.insert)
        writer.start()
        writer.join()
        return first, inspect.count(tx, JobState.READY)  # type: ignore[arg-type]

    assert store.db.read(twice) == (0, 0)
    assert store.db.read(inspect.count, JobState.READY) == 1


def test_a_read_that_tries_to_write_is_refused(store: Store) -> None:
    from embedq.errors import StorageError
    from embedq.storage import jobs

    with pytest.raises(StorageError):
        store.db.read(jobs.insert, store.draft())
    assert ids(store) == []


def test_the_watch_notices_a_commit_of_another_connection_and_then_rests(store: Store) -> None:
    watch = store.db.watch()
    watch.changed()
    assert not watch.changed()
    store.insert()
    eventually(watch.changed)
    assert not watch.changed()
    assert watch.read(inspect.waiting, 1, None).ready
    watch.close()

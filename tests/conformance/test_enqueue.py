"""Inserting jobs: what is stored, in what order ids are given, and idempotency keys."""

from __future__ import annotations

import pytest

from embedq import JobState
from embedq.clock import to_datetime
from embedq.errors import JobNotFoundError, StorageError
from embedq.storage import inspect, jobs
from embedq.storage.base import Transaction
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock


def test_every_column_comes_back_as_it_was_given(store: Store, clock: FakeClock) -> None:
    job_id = store.insert(
        executor="async",
        queue="mail",
        priority=-7,
        name="shop:send",
        payload='[[1,"é"],{"b":null}]',
        code='{"source":"lambda: 1"}',
        options='{"timeout":3}',
        tags='["a","ü"]',
        idempotency_key="key",
        schedule="nightly",
        delay=60,
        expires_in=30,
    )
    job = store.job(job_id)
    assert (job.state, job.executor, job.queue, job.priority) == (JobState.SCHEDULED, "async", "mail", -7)
    assert (job.name, job.arguments, job.source) == ("shop:send", '[[1,"é"],{"b":null}]', "lambda: 1")
    assert (job.tags, job.idempotency_key, job.schedule) == (("a", "ü"), "key", "nightly")
    assert (job.attempt, job.crashes, job.server, job.result, job.error) == (0, 0, None, None, None)
    assert job.created_at == to_datetime(clock.now())
    assert (job.run_at - job.created_at).total_seconds() == 60
    assert job.expires_at is not None
    assert (job.expires_at - job.run_at).total_seconds() == 30
    assert (job.started_at, job.finished_at, job.delete_at) == (None, None, None)


def test_ids_grow_in_the_order_of_insertion(store: Store) -> None:
    one = store.insert()
    many = store.insert_many([store.draft(name=f"job {n}") for n in range(5)])
    ids = [one, *many, store.insert()]
    assert ids == sorted(set(ids))
    assert [store.job(job_id).name for job_id in many] == [f"job {n}" for n in range(5)]


def test_many_at_once_keep_every_column_and_nulls_stay_nulls(store: Store) -> None:
    drafts = [
        store.draft(name='quo"te', payload='[["\\u2028 é 𝄞"],{}]', tags='["x"]', priority=3, delay=9, expires_in=1),
        store.draft(queue="other", options='{"meta":{"a":1}}', executor="async"),
    ]
    alone = [store.insert(**draft._asdict()) for draft in drafts]
    together = store.insert_many(drafts)
    for one, other in zip(alone, together, strict=True):
        first, second = store.job(one).as_dict(), store.job(other).as_dict()
        assert first | {"id": None} == second | {"id": None}


def test_inserting_none_is_fine(store: Store) -> None:
    assert store.insert_many([]) == []


def test_a_second_job_with_a_kept_key_is_the_first_one(store: Store) -> None:
    first = store.db.write(jobs.insert, store.draft(idempotency_key="order-42", name="first"))
    second = store.db.write(jobs.insert, store.draft(idempotency_key="order-42", name="second"))
    assert first.created
    assert second == (first.id, False)
    assert store.job(first.id).name == "first"


def test_a_key_holds_for_as_long_as_its_job_is_kept_ended_or_not(store: Store, clock: FakeClock) -> None:
    first = store.insert(idempotency_key="k")
    store.run_one(first)
    assert store.insert(idempotency_key="k") == first
    later = store.insert()
    clock.advance(hours=2)
    assert store.prune() == 1
    renewed = store.db.write(jobs.insert, store.draft(idempotency_key="k"))
    assert renewed.created
    assert renewed.id > later


def test_keys_among_many_are_distinguished_job_by_job(store: Store) -> None:
    known = store.insert(idempotency_key="known")
    drafts = [store.draft(idempotency_key=key) for key in ("new", "known", None, "new")]
    inserted = store.db.write(jobs.insert_many, drafts)
    assert [job.created for job in inserted] == [True, False, True, False]
    assert inserted[1].id == known
    assert inserted[3].id == inserted[0].id
    assert len({job.id for job in inserted}) == 3


def test_many_with_keys_have_ids_in_their_order_whatever_they_say(store: Store) -> None:
    known = store.insert(idempotency_key="0700")
    # More than one statement takes, and letters of every kind.
    keys = [None if n % 5 == 0 else f"{'aZé😀'[n % 4]}{n * 7919 % 2500:04}" for n in range(2500)] + ["0700"]
    drafts = [store.draft(idempotency_key=key, payload=f"[[{n}],{{}}]") for n, key in enumerate(keys)]
    inserted = store.db.write(jobs.insert_many, drafts)
    assert [job.created for job in inserted] == [True] * 2500 + [False]
    ids = [job.id for job in inserted]
    assert ids[:-1] == sorted(ids[:-1])
    assert ids[-1] == known
    for number in (0, 1, 2, 3, 4, 2499):
        job = store.job(ids[number])
        assert (job.idempotency_key, job.arguments) == (keys[number], f"[[{number}],{{}}]")
        assert (job.state, job.progress, job.progress_note) == (JobState.READY, None, None)
    again = store.db.write(jobs.insert_many, drafts[::-1])[::-1]
    assert [job.created for job in again] == [key is None for key in keys]
    assert [job.id for job, key in zip(again, keys, strict=True) if key] == [
        job_id for job_id, key in zip(ids, keys, strict=True) if key
    ]
    assert len(store.db.read(inspect.jobs, limit=5000)) == 2501 + 500


def test_many_among_which_are_continuations_start_those_whose_parents_have_ended(store: Store) -> None:
    ended, waits = store.insert(), store.insert(delay=60)
    store.run_one(ended)
    rows = [
        store.draft(parent_id=waits, trigger="success", state="awaiting", idempotency_key="c"),
        store.draft(parent_id=ended, trigger="success", state="awaiting", idempotency_key="b"),
        store.draft(parent_id=ended, trigger="failure", state="awaiting"),
        store.draft(idempotency_key="a"),
        store.draft(parent_id=ended, trigger="finished", state="awaiting", idempotency_key="b"),
    ]
    inserted = store.db.write(jobs.insert_all, rows, retention=RETENTION)
    first, second, needless, plain, again = (job.id for job in inserted)
    assert [job.created for job in inserted] == [True] * 4 + [False]
    assert first < second < needless < plain
    assert again == second
    assert store.states(first, second, plain) == [JobState.AWAITING, JobState.READY, JobState.READY]
    assert not store.exists(needless)
    rows[-1] = store.draft(parent_id=99_999, trigger="success", state="awaiting")
    with pytest.raises(JobNotFoundError, match="job 99999 is not there"):
        store.db.write(jobs.insert_all, rows, retention=RETENTION)


def test_a_job_handed_to_an_idle_worker_is_born_running_and_claimed(store: Store) -> None:
    job_id = store.db.write(jobs.insert, store.draft(), claimed_by=lambda: 1).id
    job = store.job(job_id)
    assert (job.state, job.server, job.attempt) == (JobState.RUNNING, 1, 1)
    assert job.started_at == job.created_at
    assert store.claim() == []
    assert [outcome.job_id for outcome in store.rescue(1)] == [job_id]


def test_a_write_that_raises_leaves_nothing(store: Store) -> None:
    def insert_and_fail(tx: Transaction) -> None:
        jobs.insert_many(tx, [store.draft(), store.draft()])
        raise RuntimeError("no")

    before = store.insert()
    with pytest.raises(RuntimeError, match="no"):
        store.db.write(insert_and_fail)
    assert not store.exists(before + 1)


def test_a_value_of_the_wrong_type_is_refused_by_the_schema(store: Store) -> None:
    with pytest.raises(StorageError):
        store.insert(run_at="tomorrow")

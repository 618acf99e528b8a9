"""Much to say at once: what goes in and out in batches is bounded in bytes as well as in rows."""

from __future__ import annotations

import pytest

from embedq import JobState
from embedq.errors import StorageRefusedError
from embedq.storage import finishing, inspect, jobs
from embedq.storage.base import Transaction
from embedq.storage.batching import BATCH_BYTES
from embedq.storage.claims import Request
from embedq.storage.jobs import Inserted
from embedq.storage.rows import NewJob
from tests.conformance.store import RETENTION, Store

# Among them what is written longer than it is, and what has more bytes than characters.
TEXTS = ("x", '"', "\\", "é", "𝄞", "'", "%", "\n")


def payloads(number: int, length: int) -> list[str]:
    return [TEXTS[place % len(TEXTS)] * (length - len(str(place))) + str(place) for place in range(number)]


def stored(store: Store) -> list[str]:
    return [row[0] for row in store.db.read(lambda tx: tx.select("SELECT {payload} FROM embedq_jobs ORDER BY id"))]


def insert_all(store: Store, drafts: list[NewJob]) -> list[Inserted]:
    return store.db.write(jobs.insert_all, drafts, retention=RETENTION)


@pytest.mark.parametrize(("number", "length"), [(2500, 1000), (50, 700_000), (3, BATCH_BYTES + 10)])
def test_many_jobs_go_in_together_in_order_however_much_they_say(store: Store, number: int, length: int) -> None:
    given = payloads(number, length)
    inserted = insert_all(store, [store.draft(payload=payload) for payload in given])
    assert [one.id for one in inserted] == list(range(inserted[0].id, inserted[0].id + number))
    assert stored(store) == given


def test_of_many_jobs_that_say_much_all_go_in_or_none(store: Store) -> None:
    def body(tx: Transaction) -> None:
        jobs.insert_all(tx, [store.draft(payload=payload) for payload in payloads(30, 700_000)], retention=RETENTION)
        raise StorageRefusedError("the last of them")

    with pytest.raises(StorageRefusedError):
        store.db.write(body)
    assert stored(store) == []


@pytest.mark.parametrize("length", [3300, 3499, 3500, 5000, 100_000])
@pytest.mark.parametrize("together", [False, True])
def test_arguments_and_code_of_any_length_come_back_as_they_went_in(store: Store, length: int, together: bool) -> None:
    given = [
        store.draft(payload=f'[["{"a" * length}é"],{{}}]', queue=queue, code=code)
        for queue in ("default", "mail")
        for code in (None, '{"sig":"short"}', f'{{"pickle":"{"c" * length}"}}')
    ]
    ids = store.insert_many(given) if together else [store.insert(**draft._asdict()) for draft in given]
    for queues in (["mail"], None):
        for job in store.claim(queues=queues):
            assert (job.payload, job.code) == (given[ids.index(job.id)].payload, given[ids.index(job.id)].code)
            store.finish(store.succeeded(job) if job.id % 2 else store.failed(job))
    kept = store.db.read(lambda tx: tx.select("SELECT {payload}, {code} FROM embedq_jobs ORDER BY id"))
    assert kept == [(draft.payload, draft.code) for draft in given]
    assert [store.job(job_id).arguments for job_id in ids] == [draft.payload for draft in given]
    assert len(store.db.read(lambda tx: tx.select("SELECT id FROM embedq_jobs WHERE {payload_contains}", ("aé",)))) == 6


def test_a_suspect_and_a_parked_job_have_their_large_arguments(store: Store) -> None:
    text = f'[["{"x" * 20_000}"],{{}}]'
    suspect, parked = store.insert(payload=text), store.insert(payload=text)
    for server in (1, 2):
        [first] = store.claim(server, limit=1)
        store.rescue(server, started=[first.id])
        store.server()
    [tried] = store.claim(3, suspect=True)
    assert (tried.id, tried.payload) == (suspect, text)
    [claimed] = store.claim(3)
    store.finish(store.parked(claimed, needs="task a:b"))
    [again] = store.claim(3, known_needs=["task a:b"])
    assert (again.id, again.payload) == (parked, text)


def test_results_that_are_large_together_are_all_stored(store: Store) -> None:
    ids = store.insert_many([store.draft() for _ in range(12)])
    results = [f'["{"r" * 2_000_000}", {number}]' for number in range(12)]
    claimed = store.claim()
    ends = [store.succeeded(job, result=result) for job, result in zip(claimed, results, strict=True)]
    finished = store.finish(*ends)
    assert (finished.refused, finished.ended) == ([], ids)
    assert [store.db.read(inspect.outcome, job_id) for job_id in ids] == [
        (JobState.SUCCEEDED, result, None) for result in results
    ]


@pytest.mark.parametrize("queues", [None, ("mail", "default")])
def test_a_job_that_cannot_be_read_is_set_aside_without_being_read(
    store: Store, queues: tuple[str, ...] | None
) -> None:
    first, other = store.insert(queue="mail", priority=1), store.insert(queue="mail")
    child = store.then(first, "failure")
    request = Request(server_id=1, limits={"thread": 1}, queues=queues)
    outcomes = store.db.write(finishing.set_aside, request, reason="it has 2 GB", now=store.now, retention=RETENTION)
    assert [outcome.job_id for outcome in outcomes] == [first]
    assert store.states(first, other, child) == [JobState.DEAD, JobState.READY, JobState.READY]
    assert store.job(first).error == "it has 2 GB"
    [attempt] = store.attempts(first)
    assert attempt.error == "it has 2 GB"
    store.retry(first)
    assert [job.payload for job in store.claim(limit=1)] == [store.draft().payload]


def test_a_turn_over_many_functions_and_queues_counts_each(store: Store) -> None:
    name, queue = "module:" + "f" * 300, "q" * 200
    store.insert_many([store.draft(name=f"{name}{number}", queue=f"{queue}{number % 7}") for number in range(1500)])
    counted = 0
    while claimed := store.claim(limit=2000):
        store.finish(*(store.succeeded(job) for job in claimed))
        counted += len(claimed)
    [(jobs_counted, lines)] = store.db.read(
        lambda tx: tx.select("SELECT sum(jobs), count(*) FROM embedq_counters WHERE ending = 'succeeded'")
    )
    assert (int(jobs_counted), lines, counted) == (1500, 1500, 1500)

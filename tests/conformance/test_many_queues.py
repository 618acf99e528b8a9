"""Claims where there are many queues, or jobs with much to say: what a claim costs follows from the jobs it takes."""

from __future__ import annotations

import random
import time

import pytest

from embedq.storage import inspect
from embedq.storage.claims import CLAIM_BYTES, Request
from embedq.storage.inspect import queueing
from tests.conformance.store import Store

EVERY_QUEUE = [f"queue {number:04}" for number in range(2000)]


def fill(store: Store, queues: list[str], jobs: int) -> None:
    """Insert jobs that take turns over the queues, in the order of their ids."""
    rows = [(store.draft(queue=queues[number % len(queues)])) for number in range(jobs)]
    store.insert_many(rows)


@pytest.mark.parametrize("limit", [5, 60])
def test_all_queues_are_one_line_by_priority_and_age_the_default_queue_among_them(store: Store, limit: int) -> None:
    luck = random.Random(limit)
    drafts = [
        store.draft(queue=luck.choice(["default", "default", "mail", "a", "z"]), priority=luck.randint(-2, 2))
        for _ in range(90)
    ]
    ids = store.insert_many(drafts)
    line = sorted(zip((-draft.priority for draft in drafts), ids, strict=True))
    claimed: list[int] = []
    while got := store.claim(limit=limit):
        claimed += [job.id for job in got]
    assert claimed == [job_id for _, job_id in line]


@pytest.mark.parametrize("limit", [3, 60])
def test_named_queues_are_worked_one_after_another_however_many_there_are(store: Store, limit: int) -> None:
    fill(store, EVERY_QUEUE[:200], 400)
    wanted = EVERY_QUEUE[150:50:-1] + ["nobody's"] * 900
    claimed = []
    for _ in range(200 // limit + 1):
        claimed += [job.queue for job in store.claim(limit=limit, queues=wanted)]
    assert claimed == [queue for queue in wanted[:100] for _ in range(2)]
    assert store.claim(queues=wanted) == []


def test_a_claim_of_all_queues_costs_the_same_over_two_thousand_as_over_two(store: Store) -> None:
    def best(queues: list[str]) -> float:
        fill(store, queues, 2000)
        times = []
        for _ in range(10):
            before = time.perf_counter()
            got = store.claim(limit=20)
            times.append(time.perf_counter() - before)
            assert len(got) == 20
        while store.claim(limit=2000):
            pass
        return min(times)

    few, many = best(EVERY_QUEUE[:2]), best(EVERY_QUEUE)
    # A look at each queue, however short, would take it to fifty times.
    assert many < 4 * few


def test_a_look_whether_there_is_work_costs_the_same_over_two_thousand_queues(store: Store) -> None:
    def best(queues: list[str]) -> float:
        fill(store, queues, 2000)
        times = []
        for _ in range(10):
            before = time.perf_counter()
            assert store.db.read(inspect.waiting, 1, None).ready
            times.append(time.perf_counter() - before)
        return min(times)

    few, many = best(EVERY_QUEUE[:2]), best(EVERY_QUEUE)
    assert many < 4 * few


@pytest.mark.parametrize(
    ("queues", "named"), [(("default", "mail"), True), (("default", "mail"), False), (("mail",), False)]
)
def test_a_claim_is_bounded_in_bytes_as_well_as_in_jobs(store: Store, queues: tuple[str, ...], named: bool) -> None:
    arguments = f'[["{"x" * (CLAIM_BYTES // 4 - 100)}"],{{}}]'
    for number in range(9):
        store.insert(queue=queues[number % len(queues)], payload=arguments)
    request = Request(server_id=1, limits={"thread": 500}, queues=queues if named else None)
    counts: list[int] = []
    while sum(counts) < 9:
        claim = store.claim_for(request)
        counts.append(len(claim.jobs))
        # The limit was not reached, and yet more may be waiting.
        assert claim.full == {"thread"} or sum(counts) == 9
    assert max(counts) <= 4
    assert len(counts) <= 4


def test_a_job_that_is_larger_than_what_a_claim_may_hold_is_claimed_alone(store: Store) -> None:
    huge = store.insert(payload=f'[["{"x" * (CLAIM_BYTES // 2)}"],{{}}]', code=f'"{"y" * (CLAIM_BYTES // 2)}"')
    fill(store, ["default"], 30)
    assert [job.id for job in store.claim(limit=100)] == [huge]
    assert len(store.claim(limit=100)) == 30


def test_parked_jobs_come_a_few_at_a_time_and_keep_no_ready_job_waiting(store: Store) -> None:
    fill(store, ["default"], 40)
    store.finish(*(store.parked(job, "task x") for job in store.claim(limit=40)))
    fill(store, ["default"], 40)
    got = store.claim(limit=50, known_needs=["task x"])
    assert len(got) == 50
    claimed = {job.id for job in got}
    while more := store.claim(limit=50, known_needs=["task x"]):
        claimed |= {job.id for job in more}
    assert len(claimed) == 80


def test_of_very_many_queues_those_with_ready_jobs_and_most_to_do_are_shown(store: Store) -> None:
    fill(store, EVERY_QUEUE[:150], 150)
    store.insert(queue="later", delay=3600)
    for name in ("done often", "done often", *EVERY_QUEUE[1000:1070]):
        store.insert(queue=name)
        [job] = store.claim(queues=[name], limit=1)
        store.finish(store.succeeded(job))
    shown = store.db.read(queueing.queues, now=store.now)
    assert len(shown) == queueing.MOST_QUEUES
    assert {queue.name for queue in shown} > {"done often", "later", *EVERY_QUEUE[:150]}


def test_where_more_queues_have_ready_jobs_than_are_shown_none_is_shown_as_empty(store: Store) -> None:
    fill(store, EVERY_QUEUE[:300], 300)
    shown = store.db.read(queueing.queues, now=store.now)
    assert [queue.name for queue in shown] == EVERY_QUEUE[: queueing.MOST_QUEUES]
    assert {queue.ready.number for queue in shown} == {1}

"""Pauses: what is held is not claimed, is in no other job's way, and comes back when its hold is over."""

from __future__ import annotations

import json

import pytest

from embedq import JobState
from embedq.clock import SECOND
from embedq.flow.holds import HoldKind
from embedq.flow.lanes import EXECUTORS
from embedq.storage import bulk, holds, inspect
from embedq.storage.claims import Request
from embedq.storage.inspect.filters import Search
from tests.conformance.store import Store

QUEUE, TASK, EVERYTHING = HoldKind.QUEUE, HoldKind.TASK, HoldKind.EVERYTHING
# What is worked: all queues as one line, and named ones.
LINES = [None, ("mail", "default", "low")]
READY, PARKED, RUNNING = JobState.READY, JobState.PARKED, JobState.RUNNING


def pause(store: Store, kind: HoldKind, name: str = "", *, seconds: float | None = None) -> None:
    until = None if seconds is None else store.now + round(seconds * SECOND)
    store.db.write(holds.put, kind, name, until=until, reason="migration", actor="ada", now=store.now)


def resume(store: Store, kind: HoldKind, name: str = "") -> bool:
    return store.db.write(holds.end, kind, name, now=store.now)


def claimed(store: Store, queues: tuple[str, ...] | None = None, *, limit: int = 100) -> list[int]:
    """Claim until nothing more comes, as a dispatcher does."""
    found: list[int] = []
    while True:
        request = Request(server_id=1, limits={"thread": limit}, queues=queues)
        claim = store.claim_for(request)
        found += [job.id for job in claim.jobs]
        if not claim.full:
            return found


def needs(store: Store) -> list[str]:
    return store.db.read(inspect.parked_needs)


@pytest.mark.parametrize("queues", LINES)
@pytest.mark.parametrize("queue", ["default", "mail"])
def test_a_paused_queue_is_passed_over_and_goes_on_in_its_order(
    store: Store, queues: tuple[str, ...] | None, queue: str
) -> None:
    held = [store.insert(queue=queue, priority=number % 2) for number in range(4)]
    other = store.insert(queue="low")
    pause(store, QUEUE, queue)
    assert claimed(store, queues) == [other]
    assert resume(store, QUEUE, queue)
    assert claimed(store, queues) == [held[1], held[3], held[0], held[2]]
    assert needs(store) == []


@pytest.mark.parametrize("queues", LINES)
@pytest.mark.parametrize("queue", ["default", "mail"])
def test_the_jobs_of_a_paused_task_leave_the_line_and_come_back(
    store: Store, queues: tuple[str, ...] | None, queue: str
) -> None:
    held = [store.insert(name="shop:send", queue=queue) for _ in range(3)]
    others = [store.insert(name="shop:other", queue=queue) for _ in range(2)]
    pause(store, TASK, "shop:send")
    assert claimed(store, queues, limit=1) == others
    assert store.states(*held) == [PARKED] * 3
    assert needs(store) == ["hold task shop:send"]
    resume(store, TASK, "shop:send")
    assert claimed(store, queues) == held
    assert [job.attempt for job in map(store.job, held)] == [1, 1, 1], "no attempt was burnt"


def test_nothing_is_claimed_while_everything_is_paused(store: Store) -> None:
    first, second = store.insert(), store.insert(queue="mail")
    pause(store, EVERYTHING)
    assert claimed(store) == [] == claimed(store, ("mail", "default"))
    assert store.states(first, second) == [READY, READY]
    resume(store, EVERYTHING)
    assert claimed(store) == [first, second]


@pytest.mark.parametrize(("kind", "name"), [(QUEUE, "default"), (QUEUE, "mail"), (TASK, "tests:job"), (EVERYTHING, "")])
def test_jobs_that_become_due_or_ready_meanwhile_are_held_too(store: Store, kind: HoldKind, name: str) -> None:
    queue = name if kind is QUEUE else "default"
    failing = store.insert(queue=queue)
    parent = store.insert(queue="low", name="tests:parent")
    child = store.then(parent, queue=queue)
    jobs = {job.id: job for job in store.claim()}
    store.finish(store.failed(jobs[failing], wait=5))
    delayed = store.insert(delay=5, queue=queue)
    pause(store, kind, name)
    store.finish(store.succeeded(jobs[parent]))
    store.clock.advance(seconds=10)
    late = store.insert(queue=queue)
    assert claimed(store) == []
    store.clock.advance(days=30)
    assert claimed(store) == []
    resume(store, kind, name)
    assert sorted(claimed(store)) == sorted([failing, child, delayed, late])
    assert store.job(failing).attempt == 2


@pytest.mark.parametrize(("kind", "name"), [(QUEUE, "mail"), (TASK, "tests:job"), (EVERYTHING, "")])
def test_what_runs_goes_on(store: Store, kind: HoldKind, name: str) -> None:
    running = store.insert(queue="mail")
    [job] = store.claim()
    pause(store, kind, name)
    assert claimed(store) == []
    assert not store.finish(store.succeeded(job)).refused
    assert store.state(running) is JobState.SUCCEEDED


@pytest.mark.parametrize("queues", LINES)
@pytest.mark.parametrize(("kind", "name"), [(QUEUE, "mail"), (TASK, "tests:job"), (EVERYTHING, "")])
def test_a_pause_ends_by_itself_at_its_very_moment(
    store: Store, kind: HoldKind, name: str, queues: tuple[str, ...] | None
) -> None:
    job = store.insert(queue="mail")
    pause(store, kind, name, seconds=60)
    claim = store.claim_for(Request(server_id=1, limits={"thread": 5}, queues=queues))
    assert (claim.jobs, claim.next_due) == ([], store.now + 60 * SECOND), "the process knows when to wake"
    store.clock.advance(seconds=59.999999)
    assert claimed(store, queues) == []
    store.clock.advance(seconds=0.000001)
    assert store.db.read(holds.in_force, now=store.now) == []
    assert claimed(store, queues) == [job]
    assert not store.db.read(holds.snapshot), "nothing of it is left"


@pytest.mark.parametrize("queues", LINES)
@pytest.mark.parametrize(("kind", "name"), [(QUEUE, "mail"), (TASK, "shop:import")])
def test_many_held_jobs_in_front_keep_no_other_waiting(
    store: Store, kind: HoldKind, name: str, queues: tuple[str, ...] | None
) -> None:
    many = 3 * holds.SLICE + 5
    held = store.insert_many([store.draft(queue="mail", name="shop:import", priority=9)] * many)
    other = store.insert(queue="mail" if kind is TASK else "low", name="shop:reset")
    pause(store, kind, name)
    turns = 0
    while not (got := store.claim(limit=1, queues=queues)):
        turns += 1
    assert [job.id for job in got] == [other]
    assert turns <= many // holds.SLICE + 1, "some at a time, not one by one"
    later = store.insert(queue="low", name="shop:reset")
    assert [job.id for job in store.claim(limit=1, queues=queues)] == [later], "they are not met again"
    resume(store, kind, name)
    assert claimed(store, queues, limit=2000) == held, "in their order"


def test_a_job_under_two_pauses_waits_for_both(store: Store) -> None:
    job = store.insert(queue="mail", name="shop:send")
    pause(store, QUEUE, "mail")
    pause(store, TASK, "shop:send")
    assert claimed(store) == []
    resume(store, QUEUE, "mail")
    assert claimed(store) == []
    assert needs(store) == ["hold task shop:send"]
    resume(store, TASK, "shop:send")
    assert claimed(store) == [job]


def test_a_pause_during_the_return_keeps_what_has_not_come_back(store: Store) -> None:
    held = store.insert_many([store.draft(name="shop:send")] * (holds.SLICE + 10))
    pause(store, TASK, "shop:send")
    assert claimed(store) == []
    resume(store, TASK, "shop:send")
    assert [job.id for job in store.claim(limit=5)] == held[:5]
    pause(store, TASK, "shop:send")
    assert claimed(store) == []
    assert sum(state is PARKED for state in store.states(*held[-10:])) == 10
    resume(store, TASK, "shop:send")
    assert claimed(store, limit=2000) == held[5:]


def test_the_latest_pause_of_a_queue_counts(store: Store) -> None:
    job = store.insert(queue="mail")
    pause(store, QUEUE, "mail", seconds=10)
    pause(store, QUEUE, "mail", seconds=100)
    store.clock.advance(seconds=50)
    assert claimed(store) == []
    [hold] = store.db.read(holds.in_force, now=store.now)
    assert (str(hold), hold.reason, hold.actor) == ("queue mail", "migration", "ada")
    store.clock.advance(seconds=50)
    assert claimed(store) == [job]


def test_only_what_is_paused_can_be_resumed(store: Store) -> None:
    assert not resume(store, QUEUE, "mail")
    pause(store, QUEUE, "mail", seconds=1)
    store.clock.advance(seconds=2)
    assert not resume(store, QUEUE, "mail")


def test_suspects_and_parked_jobs_of_a_paused_task_stay_too(store: Store) -> None:
    suspect = store.insert(name="shop:send")
    for _ in range(2):
        server = store.server()
        store.claim(server)
        store.rescue(server)
    lacking = store.insert(name="shop:send")
    [job] = store.claim()
    store.finish(store.parked(job, "task shop:send"))
    pause(store, TASK, "shop:send")
    assert store.claim(suspect=True) == []
    assert store.claim(known_needs=["task shop:send"]) == []
    assert needs(store) == ["hold task shop:send"]
    resume(store, TASK, "shop:send")
    assert [job.id for job in store.claim()] == [lacking]
    assert [job.id for job in store.claim(suspect=True)] == [suspect]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_is_paused(store: Store, executor: str) -> None:
    job = store.insert(name="shop:send", executor=executor)
    pause(store, TASK, "shop:send")
    assert store.claim(executor=executor) == []
    resume(store, TASK, "shop:send")
    assert [got.id for got in store.claim(executor=executor)] == [job]


def test_a_held_job_can_be_cancelled_and_moved(store: Store) -> None:
    cancelled, moved, stays = (store.insert(queue="mail", name="shop:send") for _ in range(3))
    pause(store, QUEUE, "mail")
    assert claimed(store) == []
    store.cancel(cancelled)
    store.db.write(bulk.move, [moved], queue="low", priority=None)
    assert claimed(store) == [moved]
    assert store.states(cancelled, stays) == [JobState.CANCELLED, PARKED]
    resume(store, QUEUE, "mail")
    assert claimed(store) == [stays]


def test_a_held_job_that_is_retried_by_hand_is_held_again(store: Store) -> None:
    job = store.insert(name="shop:send")
    pause(store, TASK, "shop:send")
    assert claimed(store) == []
    store.retry(job)
    assert claimed(store) == []
    assert store.state(job) is PARKED


def test_what_expires_during_a_pause_is_cancelled_when_it_is_over(store: Store) -> None:
    job = store.insert(name="shop:send", expires_in=5)
    pause(store, TASK, "shop:send")
    assert claimed(store) == []
    store.clock.advance(seconds=10)
    resume(store, TASK, "shop:send")
    assert claimed(store) == []
    assert store.state(job) is JobState.CANCELLED


def test_jobs_whose_hold_is_gone_from_the_table_go_on(store: Store) -> None:
    job = store.insert(name="shop:send")
    pause(store, TASK, "shop:send")
    assert claimed(store) == []
    store.db.write(lambda tx: tx.run("delete_hold", (TASK, "shop:send")))
    store.db.write(holds.restore, [*needs(store), "task shop:other"], now=store.now)
    assert claimed(store) == [job]


def test_names_with_blanks_and_letters_of_any_script_are_paused(store: Store) -> None:
    name = "Lädchen: Größe 'x' % _ \\ 送信"
    job = store.insert(queue=name, name=name)
    others = [store.insert(queue=name.upper()), store.insert(queue=f"{name} ")]
    pause(store, QUEUE, name)
    assert sorted(claimed(store)) == others
    assert store.state(job) is PARKED
    resume(store, QUEUE, name)
    assert claimed(store) == [job]


def test_a_hold_that_this_build_does_not_know_holds_nothing_and_is_kept(store: Store) -> None:
    job = store.insert()
    store.db.write(lambda tx: tx.run("put_hold", ("lane", json.dumps(["a", 1]), None, "", "ada", store.now)))
    assert claimed(store) == [job]
    assert len(store.db.read(holds.snapshot).rows) == 1


def test_the_holds_of_processes_that_are_gone_are_removed(store: Store) -> None:
    [server] = store.db.read(inspect.servers)
    pause(store, HoldKind.PROCESS, server.uuid)
    pause(store, HoldKind.PROCESS, "gone")
    store.clock.advance(seconds=holds.GONE_SECONDS + 1)
    assert store.db.write(holds.forget_processes, now=store.now) == 1
    [hold] = store.db.read(holds.in_force, now=store.now)
    assert hold.name == server.uuid


def test_a_search_finds_held_jobs_among_the_parked(store: Store) -> None:
    job = store.insert(name="shop:send")
    pause(store, TASK, "shop:send")
    claimed(store)
    assert store.db.read(inspect.count_search, Search(states=(PARKED,))).number == 1
    assert store.state(job) is PARKED

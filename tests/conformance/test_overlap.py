"""Occurrences of a recurring job that are due while a run has not ended, on every database."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from embedq import JobState
from embedq.clock import SECOND
from embedq.job import Trigger
from embedq.storage import firing, inspect, schedules
from embedq.storage.firing import Fired, Planned
from embedq.storage.inspect import Occurrence
from embedq.storage.schedules import Passed, ScheduleRow, Turn
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

MINUTE = 60 * SECOND
SCHEDULED, READY, RUNNING, RETRYING, AWAITING, CANCELLED, SUCCEEDED = (
    JobState.SCHEDULED, JobState.READY, JobState.RUNNING, JobState.RETRYING, JobState.AWAITING, JobState.CANCELLED,
    JobState.SUCCEEDED,
)  # fmt: skip


def row(store: Store, name: str = "pulse") -> ScheduleRow:
    return store.db.read(schedules.load, name)


def planned(store: Store, name: str = "pulse", *, count: int = 1, catching_up: bool = False) -> Planned:
    """A turn with the next occurrence, and as many after it, a second apart."""
    found = row(store, name)
    fires = [found.next_fire_at + number * SECOND for number in range(count)]
    turn = Turn(fires=fires, passed=[], next_fire_at=found.next_fire_at + MINUTE, catching_up=catching_up)
    return Planned(found, turn, [store.draft(schedule=name, run_at=fire_at) for fire_at in fires])


def fire(store: Store, *turns: Planned) -> Fired:
    return store.db.write(firing.fire, turns, now=store.now, retention=RETENTION)


def next_turn(store: Store, clock: FakeClock, *, count: int = 1, catching_up: bool = False) -> list[int]:
    """Let a minute pass and the schedule take its turn; the ids of the jobs that it makes."""
    clock.advance(minutes=1)
    return list(fire(store, planned(store, count=count, catching_up=catching_up)).job_ids)


def ledger(store: Store, name: str = "pulse") -> Sequence[Occurrence]:
    """The lines, the oldest first."""
    return store.db.read(inspect.occurrences, name)[::-1]


def running(store: Store, clock: FakeClock) -> int:
    """The first run of the schedule, claimed."""
    store.server()
    [first] = next_turn(store, clock)
    assert [job.id for job in store.claim()] == [first]
    return first


def test_skip_names_the_run_in_the_way_and_goes_on_when_it_has_ended(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="skip")
    store.server()
    [first] = next_turn(store, clock)
    [claimed] = store.claim()
    assert next_turn(store, clock) == []
    assert next_turn(store, clock) == []
    assert row(store).skipped == 2
    line = ledger(store)[-1]
    assert (line.outcome, line.job_id) == ("passed", None)
    assert line.reason == f"job {first} was still running (overlap: skip)"
    store.finish(store.succeeded(claimed))
    [second] = next_turn(store, clock)
    assert (store.state(second), row(store).skipped) == (READY, 0)
    assert [(one.outcome, one.job_state) for one in ledger(store)] == [
        ("enqueued", SUCCEEDED), ("passed", None), ("passed", None), ("enqueued", READY),
    ]  # fmt: skip


def test_a_retry_that_waits_silences_no_occurrence_and_its_next_run_is_in_the_way_again(
    store: Store, clock: FakeClock
) -> None:
    store.put_schedule(overlap="skip")
    store.server()
    [first] = next_turn(store, clock)
    [claimed] = store.claim()
    store.finish(store.failed(claimed, wait=90))
    [second] = next_turn(store, clock)
    store.run_one(second)
    assert store.states(first, second) == [RETRYING, SUCCEEDED]
    clock.advance(seconds=60)
    assert [job.id for job in store.claim()] == [first]
    assert list(fire(store, planned(store)).job_ids) == []
    assert ledger(store)[-1].reason == f"job {first} was still running (overlap: skip)"


def test_buffer_keeps_one_occurrence_for_the_end_of_the_run(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="buffer")
    store.server()
    [first] = next_turn(store, clock)
    [claimed] = store.claim()
    [second] = next_turn(store, clock)
    assert next_turn(store, clock) == []
    assert (store.state(second), store.job(second).parent_id) == (AWAITING, first)
    assert ledger(store)[-2].reason == f"waits for job {first} (overlap: buffer)"
    # However the run ends.
    store.finish(store.died(claimed))
    assert store.state(second) is READY


def test_buffer_all_lets_each_occurrence_wait_for_the_one_before(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="buffer_all")
    first = running(store, clock)
    [second] = next_turn(store, clock)
    third, fourth = next_turn(store, clock, count=2)
    assert [store.job(job_id).parent_id for job_id in (second, third, fourth)] == [first, second, third]
    store.cancel(second)
    assert store.states(second, third, fourth) == [CANCELLED, READY, AWAITING]


def test_cancel_other_starts_when_the_run_that_it_cancels_has_yielded(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="cancel_other")
    store.server()
    [first] = next_turn(store, clock)
    [claimed] = store.claim()
    [second] = next_turn(store, clock)
    [third] = next_turn(store, clock)
    assert store.job(first).cancel_requested
    assert store.states(first, second, third) == [RUNNING, CANCELLED, AWAITING]
    assert store.job(second).error == firing.CANCELLED
    store.finish(store.cancelled(claimed))
    assert store.state(third) is READY
    [fourth] = next_turn(store, clock)
    assert store.states(third, fourth) == [CANCELLED, READY]


def test_allow_enqueues_beside_any_number_of_runs(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="allow")
    first = running(store, clock)
    [second] = next_turn(store, clock)
    assert store.states(first, second) == [RUNNING, READY]


@pytest.mark.parametrize("overlap", ["skip", "buffer", "allow"])
def test_occurrences_do_not_pile_up_while_their_function_is_gone(store: Store, clock: FakeClock, overlap: str) -> None:
    store.put_schedule(overlap=overlap)
    store.server()
    [first] = next_turn(store, clock)
    [claimed] = store.claim()
    store.finish(store.parked(claimed, "type tests:job"))
    assert [next_turn(store, clock) for _ in range(3)] == [[], [], []]
    assert ledger(store)[-1].reason == f"job {first} was parked (overlap: {overlap})"


def test_missed_occurrences_of_which_each_is_to_run_wait_in_order(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="skip")
    first = running(store, clock)
    made = next_turn(store, clock, count=3, catching_up=True)
    assert [store.job(job_id).parent_id for job_id in made] == [first, *made[:-1]]
    assert {store.job(job_id).trigger for job_id in made} == {Trigger.FINISHED}
    assert next_turn(store, clock) == []


def test_a_run_that_was_pruned_or_deleted_is_in_no_ones_way(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="buffer_all")
    store.server()
    [first] = next_turn(store, clock)
    store.run_one(first)
    clock.advance(hours=5)
    # The newest job is kept, so that its number is not given again.
    store.insert()
    store.prune()
    assert not store.exists(first)
    [second] = next_turn(store, clock)
    assert (store.state(second), store.job(second).parent_id) == (READY, None)
    assert ledger(store)[0].job_state is None


def test_a_run_by_hand_is_in_the_way_of_the_next_occurrence(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="skip")
    by_hand = store.db.write(firing.trigger, "pulse", lambda found, at: store.draft(schedule=found.name), now=store.now)
    assert next_turn(store, clock) == []
    assert ledger(store)[-1].reason == f"job {by_hand} had not started (overlap: skip)"
    store.server()
    store.run_one(by_hand)
    assert len(next_turn(store, clock)) == 1


def test_a_turn_that_fires_nothing_forgets_no_run(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="skip")
    by_hand = store.db.write(firing.trigger, "pulse", lambda found, at: store.draft(schedule=found.name), now=store.now)
    clock.advance(minutes=1)
    found = row(store)
    missed = Passed(found.next_fire_at, found.next_fire_at, 1, "missed")
    turn = Turn(fires=[], passed=[missed], next_fire_at=found.next_fire_at + MINUTE)
    assert list(fire(store, Planned(found, turn, [])).job_ids) == []
    assert next_turn(store, clock) == []
    assert ledger(store)[-1].reason == f"job {by_hand} had not started (overlap: skip)"


def test_the_last_run_that_an_earlier_build_made_is_known(store: Store, clock: FakeClock) -> None:
    store.put_schedule(overlap="skip")
    [first] = next_turn(store, clock)
    store.db.write(lambda tx: tx.run("set_runs", (None, "pulse")))
    assert next_turn(store, clock) == []
    assert f"job {first} " in (ledger(store)[-1].reason or "")


def test_schedules_that_fire_together_each_have_their_own_policy_and_runs(store: Store, clock: FakeClock) -> None:
    for name, overlap in (("a", "skip"), ("b", "buffer_all"), ("c", "cancel_other"), ("d", "allow")):
        store.put_schedule(name, overlap=overlap)
    for expected in (4, 3):
        clock.advance(minutes=1)
        assert len(fire(store, *(planned(store, name) for name in "abcd")).job_ids) == expected
    assert [[one.outcome for one in ledger(store, name)] for name in "abcd"] == [
        ["enqueued", "passed"], ["enqueued"] * 2, ["enqueued"] * 2, ["enqueued"] * 2,
    ]  # fmt: skip
    assert [[one.job_state for one in ledger(store, name)] for name in "bcd"] == [
        [READY, AWAITING], [CANCELLED, READY], [READY, READY],
    ]  # fmt: skip


def test_an_unknown_policy_fails_that_schedule_and_no_other(store: Store, clock: FakeClock) -> None:
    from embedq.maintenance import scheduler
    from tests.conformance.test_many_schedules import template

    for name, overlap in (("newer", "of a newer build"), ("sound", "skip")):
        store.put_schedule(name, overlap=overlap, template=template())
    clock.advance(minutes=1)
    assert scheduler.fire_due(store.db, clock, RETENTION) == 1
    assert "is not an overlap policy" in (row(store, "newer").error or "")
    assert [one.outcome for one in ledger(store, "sound")] == ["enqueued"]

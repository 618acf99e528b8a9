"""Recurring jobs: kept up to date, fired once for each occurrence, and what the ledger says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from embedq import JobState, ScheduleNotFoundError
from embedq.clock import SECOND, to_datetime
from embedq.storage import firing, inspect, schedules
from embedq.storage.firing import Planned
from embedq.storage.schedules import Passed, ScheduleRow, Turn
from tests.conformance.store import RETENTION, Store
from tests.support import FakeClock

MINUTE = 60 * SECOND


def row(store: Store, name: str = "pulse") -> ScheduleRow:
    return store.db.read(schedules.load, name)


def due(store: Store, **limits: int) -> list[str]:
    return [schedule.name for schedule in store.db.read(schedules.due, now=store.now, **limits)]


def planned(
    store: Store, schedule: ScheduleRow, *, fires: Sequence[int] = (), passed: Sequence[Passed] = ()
) -> Planned:
    """A turn that fires what is given (the schedule's next occurrence unless told), and moves on a minute."""
    turn = Turn(fires=fires or [schedule.next_fire_at], passed=passed, next_fire_at=schedule.next_fire_at + MINUTE)
    return Planned(schedule, turn, [store.draft(schedule=schedule.name, run_at=fire_at) for fire_at in turn.fires])


def fire(store: Store, *, name: str = "pulse", fires: Sequence[int] = (), passed: Sequence[Passed] = ()) -> list[int]:
    """Take the schedule's turn; the ids of the jobs that it makes."""
    turn = planned(store, row(store, name), fires=fires, passed=passed)
    return list(store.db.write(firing.fire, [turn], now=store.now, retention=RETENTION).job_ids)


def test_a_new_schedule_is_there_with_its_first_occurrence(store: Store, clock: FakeClock) -> None:
    assert store.put_schedule(task="shop:pulse")
    pulse = row(store)
    assert (pulse.name, pulse.task, pulse.next_fire_at) == ("pulse", "shop:pulse", clock.now() + MINUTE)
    assert (pulse.last_fire_at, pulse.last_job_id, pulse.paused_at, pulse.error) == (None, None, None, None)
    assert store.db.read(schedules.next_fire) == clock.now() + MINUTE
    assert due(store) == []


def test_putting_the_same_again_leaves_it_and_its_next_occurrence_alone(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    before = row(store)
    clock.advance(hours=3)
    assert not store.put_schedule()
    assert row(store) == before


def test_a_change_of_what_runs_keeps_the_next_occurrence_and_a_change_of_when_does_not(
    store: Store, clock: FakeClock
) -> None:
    store.put_schedule()
    first = row(store).next_fire_at
    clock.advance(minutes=5)
    assert store.put_schedule(template='{"queue":"low"}', misfire='{"policy":"skip"}')
    assert (row(store).next_fire_at, row(store).misfire) == (first, '{"policy":"skip"}')
    assert due(store) == ["pulse"]
    assert store.put_schedule(spec='{"every_micros":90000000}', first_fire=store.now + 7)
    assert row(store).next_fire_at == store.now + 7
    assert due(store) == []
    changed, dropped = store.db.read(inspect.occurrences, "pulse")
    assert (changed.outcome, changed.reason) == ("changed", "from every(seconds=60) to every(seconds=90)")
    assert (dropped.outcome, dropped.fire_at, dropped.job_id) == ("passed", to_datetime(first), None)
    assert dropped.reason == "due when the schedule was changed from every(seconds=60) to every(seconds=90)"


def test_other_words_for_the_same_times_are_no_change(store: Store, clock: FakeClock) -> None:
    spec = '{{"cron":"{}","timezone":"Europe/Berlin"}}'
    store.put_schedule(spec=spec.format("0 2 * * mon-fri"))
    first = row(store).next_fire_at
    clock.advance(minutes=5)
    assert store.put_schedule(spec=spec.format("00 2 * * 1-5"), first_fire=store.now + 7)
    assert (row(store).next_fire_at, row(store).spec) == (first, spec.format("00 2 * * 1-5"))
    assert due(store) == ["pulse"]
    assert store.db.read(inspect.occurrences, "pulse") == []


def test_the_line_of_a_change_gives_way_to_an_occurrence_of_the_same_instant(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(seconds=30)
    store.put_schedule(spec='{"every_micros":90000000}', first_fire=store.now)
    [job_id] = fire(store)
    [line] = store.db.read(inspect.occurrences, "pulse")
    assert (line.outcome, line.job_id, line.job_state) == ("enqueued", job_id, JobState.READY)


def test_a_due_schedule_fires_its_occurrence_and_moves_on(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    assert fire(store) == []
    clock.advance(minutes=1)
    assert due(store) == ["pulse"]
    [job_id] = fire(store)
    assert (store.job(job_id).schedule, store.state(job_id)) == ("pulse", JobState.READY)
    pulse = row(store)
    assert (pulse.last_fire_at, pulse.last_job_id) == (store.now, job_id)
    assert pulse.next_fire_at == store.now + MINUTE
    assert due(store) == []
    [line] = store.db.read(inspect.occurrences, "pulse")
    assert (line.fire_at, line.outcome, line.count, line.job_id) == (to_datetime(store.now), "enqueued", 1, job_id)


def test_an_occurrence_is_enqueued_once_whichever_process_comes_second(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(minutes=1)
    occurrence = clock.now()
    assert len(fire(store)) == 1
    clock.advance(minutes=1)
    assert fire(store, fires=[occurrence]) == []
    assert len(store.db.read(inspect.occurrences, "pulse")) == 1


def test_the_second_of_two_leaders_finds_the_turn_taken(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(minutes=1)
    assert due(store) == ["pulse"]
    assert len(fire(store)) == 1
    assert fire(store) == []


def test_what_was_passed_over_is_accounted_for(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(minutes=5)
    first = row(store).next_fire_at
    passed = Passed(first, first + 3 * MINUTE, 4, "merged into the run at …")
    [job_id] = fire(store, fires=[first + 4 * MINUTE], passed=[passed])
    newest, oldest = store.db.read(inspect.occurrences, "pulse")
    assert (newest.outcome, newest.job_id) == ("enqueued", job_id)
    assert (oldest.outcome, oldest.count, oldest.reason) == ("passed", 4, "merged into the run at …")
    assert (oldest.fire_at, oldest.last_fire_at) == (to_datetime(first), to_datetime(first + 3 * MINUTE))
    assert [line.outcome for line in store.db.read(inspect.occurrences, "pulse", 1)] == ["enqueued"]


def test_a_schedule_whose_turn_fails_keeps_its_occurrence_and_tries_again_later(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(minutes=1)
    occurrence = clock.now()
    store.db.write(firing.fail, "pulse", "KeyError: 'queue'", again_at=store.now + 20 * SECOND)
    assert (row(store).error, row(store).next_fire_at) == ("KeyError: 'queue'", occurrence)
    assert due(store) == []
    assert store.db.read(schedules.next_fire) == occurrence + 20 * SECOND
    clock.advance(seconds=20)
    assert due(store) == ["pulse"]
    assert len(fire(store)) == 1
    [line] = store.db.read(inspect.occurrences, "pulse")
    assert line.fire_at == to_datetime(occurrence)
    assert row(store).error is None


def test_a_schedule_that_fails_keeps_no_other_from_its_turn(store: Store, clock: FakeClock) -> None:
    store.put_schedule("broken", first_fire=store.now + 1)
    store.put_schedule("sound", first_fire=store.now + 30 * SECOND)
    clock.advance(seconds=25)
    store.db.write(firing.fail, "broken", "no", again_at=store.now + 20 * SECOND)
    assert store.db.read(schedules.next_fire) == row(store, "sound").next_fire_at
    clock.advance(seconds=5)
    assert due(store) == ["sound"]


def test_an_update_gives_a_failing_schedule_its_next_turn_at_once(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(minutes=1)
    store.db.write(firing.fail, "pulse", "no", again_at=store.now + 20 * SECOND)
    store.put_schedule(template='{"mended":true}')
    assert due(store) == ["pulse"]
    assert row(store).error is None


def test_schedules_take_their_turns_by_how_long_they_have_been_due(store: Store, clock: FakeClock) -> None:
    for name, seconds in (("b", 2), ("c", 3), ("a", 1)):
        store.put_schedule(name, first_fire=store.now + seconds * SECOND)
    clock.advance(seconds=3)
    assert due(store) == ["a", "b", "c"]
    assert due(store, limit=2) == ["a", "b"]


def test_a_paused_schedule_rests_and_what_passed_meanwhile_is_not_made_up_for(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    store.db.write(schedules.pause, "pulse", now=store.now)
    paused_at = row(store).paused_at
    clock.advance(minutes=10)
    assert due(store) == []
    assert store.db.read(schedules.next_fire) is None
    assert fire(store) == []
    store.db.write(schedules.pause, "pulse", now=store.now)
    assert row(store).paused_at == paused_at
    store.db.write(schedules.resume, "pulse", next_fire=lambda _: store.now + MINUTE, now=store.now)
    assert row(store).paused_at is None
    assert due(store) == []
    clock.advance(minutes=1)
    assert len(fire(store)) == 1


def test_resuming_what_is_not_paused_changes_nothing(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    first = row(store).next_fire_at
    store.db.write(schedules.resume, "pulse", next_fire=lambda _: 0, now=store.now)
    assert row(store).next_fire_at == first


def test_a_run_by_hand_is_recorded_beside_the_schedule_and_does_not_move_it(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    before = row(store)
    clock.advance(seconds=5)
    job_id = store.db.write(
        firing.trigger, "pulse", lambda schedule, at: store.draft(schedule=schedule.name, run_at=at), now=store.now
    )
    assert store.job(job_id).schedule == "pulse"
    assert row(store)._replace(runs=None) == before
    [line] = store.db.read(inspect.occurrences, "pulse")
    assert (line.outcome, line.job_id, line.reason) == ("triggered", job_id, "run by hand")


def test_two_runs_by_hand_at_one_instant_are_two_jobs_and_two_lines(store: Store) -> None:
    store.put_schedule()
    ids = {store.db.write(firing.trigger, "pulse", lambda _, at: store.draft(), now=store.now) for _ in range(2)}
    lines = store.db.read(inspect.occurrences, "pulse")
    assert {line.job_id for line in lines} == ids
    assert [line.outcome for line in lines] == ["triggered"] * 2


def test_a_run_by_hand_does_not_take_the_place_of_an_occurrence_of_the_same_instant(
    store: Store, clock: FakeClock
) -> None:
    store.put_schedule()
    clock.advance(minutes=1)
    store.db.write(firing.trigger, "pulse", lambda _, at: store.draft(), now=store.now)
    assert len(fire(store)) == 1


def test_a_removed_schedule_is_gone_and_its_jobs_and_ledger_stay(store: Store, clock: FakeClock) -> None:
    store.put_schedule()
    clock.advance(minutes=1)
    [job_id] = fire(store)
    clock.advance(minutes=1)
    turn = planned(store, row(store))
    store.db.write(schedules.remove, "pulse")
    assert store.db.read(inspect.schedules) == []
    assert due(store) == []
    assert store.db.write(firing.fire, [turn], now=store.now, retention=RETENTION).turns == 0
    assert store.state(job_id) is JobState.READY
    assert len(store.db.read(inspect.occurrences, "pulse")) == 1


def test_what_is_asked_of_a_schedule_that_is_not_there_is_refused_with_its_name(store: Store) -> None:
    missing = "no recurring job named 'nightly'"
    with pytest.raises(ScheduleNotFoundError, match=missing):
        store.db.write(schedules.pause, "nightly", now=store.now)
    with pytest.raises(ScheduleNotFoundError, match=missing):
        store.db.write(schedules.resume, "nightly", next_fire=lambda _: 0, now=store.now)
    with pytest.raises(ScheduleNotFoundError, match=missing):
        store.db.write(schedules.remove, "nightly")
    with pytest.raises(ScheduleNotFoundError, match=missing):
        store.db.write(firing.trigger, "nightly", lambda _, at: store.draft(), now=store.now)


def test_schedules_are_listed_by_name(store: Store) -> None:
    for name in ("b", "a"):
        store.put_schedule(name)
    assert [schedule.name for schedule in store.db.read(inspect.schedules)] == ["a", "b"]

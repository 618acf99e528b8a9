"""What becomes of an occurrence while earlier runs have not ended, as a decision without effects."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedq.errors import ScheduleError
from embedq.job import ENDED, JobState
from embedq.scheduling.overlap import Overlap, Placed, UnfinishedRun, overlap_words, parse_overlap, place

UNFINISHED = [state for state in JobState if state not in ENDED]
READY, RUNNING, RETRYING, PARKED, AWAITING = (
    JobState.READY, JobState.RUNNING, JobState.RETRYING, JobState.PARKED, JobState.AWAITING,
)  # fmt: skip


def one(policy: Overlap, *states: JobState, catching_up: bool = False) -> Placed:
    """The decision about one occurrence behind runs 11, 12, … in these states."""
    runs = [UnfinishedRun(11 + number, state) for number, state in enumerate(states)]
    [placed] = place(policy, runs, [7], catching_up=catching_up)
    return placed


@pytest.mark.parametrize("policy", get_args(Overlap))
def test_with_nothing_in_the_way_an_occurrence_is_enqueued(policy: Overlap) -> None:
    assert one(policy) == Placed(7)


# What the table in docs/schedules.md says, cell by cell: "runs", "waits", "skipped" or "cancels".
TABLE = {
    "skip": {READY: "skipped", RUNNING: "skipped", RETRYING: "runs", PARKED: "skipped", AWAITING: "skipped"},
    "buffer": {READY: "skipped", RUNNING: "waits", RETRYING: "runs", PARKED: "skipped", AWAITING: "skipped"},
    "buffer_all": {READY: "waits", RUNNING: "waits", RETRYING: "waits", PARKED: "waits", AWAITING: "waits"},
    "cancel_other": {
        READY: "cancels", RUNNING: "cancels and waits", RETRYING: "cancels", PARKED: "cancels", AWAITING: "cancels",
    },
    "allow": {READY: "runs", RUNNING: "runs", RETRYING: "runs", PARKED: "skipped", AWAITING: "runs"},
}  # fmt: skip


@pytest.mark.parametrize("policy", get_args(Overlap))
@pytest.mark.parametrize("state", [READY, RUNNING, RETRYING, PARKED, AWAITING])
def test_each_policy_does_what_the_table_has_for_the_state_of_the_run_before(policy: Overlap, state: JobState) -> None:
    placed = one(policy, state)
    done = {
        "skipped": placed.skipped is not None,
        "cancels": placed.cancels == (11,),
        "waits": placed.behind == 11,
    }
    assert (" and ".join(word for word, holds in done.items() if holds) or "runs") == TABLE[policy][state]


def test_the_reason_names_the_run_and_its_state() -> None:
    assert one("skip", RETRYING, RUNNING).skipped == "job 12 was still running (overlap: skip)"
    assert one("skip", READY).skipped == "job 11 had not started (overlap: skip)"
    assert (
        one("buffer", RUNNING, AWAITING).skipped == "job 12 was still waiting for the run before it (overlap: buffer)"
    )
    assert one("allow", PARKED).skipped == "job 11 was parked (overlap: allow)"


def test_of_several_occurrences_of_one_turn_the_first_is_in_the_way_of_the_others() -> None:
    first, second = place("skip", [], [7, 8], catching_up=False)
    assert (first, second.skipped) == (Placed(7), "the run of the occurrence before had not started (overlap: skip)")


@pytest.mark.parametrize("policy", ["skip", "buffer", "buffer_all"])
def test_occurrences_that_catch_up_wait_for_each_other_behind_the_newest_run(policy: Overlap) -> None:
    placed = place(policy, [UnfinishedRun(11, RUNNING)], [7, 8, 9], catching_up=True)
    assert placed == [Placed(7, behind=11), Placed(8, behind=-1), Placed(9, behind=-2)]


def test_cancel_other_runs_the_last_occurrence_behind_the_run_that_has_to_yield() -> None:
    runs = [UnfinishedRun(11, RETRYING), UnfinishedRun(12, RUNNING), UnfinishedRun(13, AWAITING)]
    first, last = place("cancel_other", runs, [7, 8], catching_up=True)
    assert first.skipped == "a later occurrence was due as well (overlap: cancel_other)"
    assert last == Placed(8, behind=12, cancels=(11, 12, 13))


@given(
    policy=st.sampled_from(get_args(Overlap)),
    states=st.lists(st.sampled_from(UNFINISHED), max_size=6),
    fires=st.lists(st.integers(0, 100), min_size=1, max_size=6, unique=True).map(sorted),
    catching_up=st.booleans(),
)
def test_whatever_is_in_the_way(policy: Overlap, states: list[JobState], fires: list[int], catching_up: bool) -> None:
    runs = [UnfinishedRun(number + 1, state) for number, state in enumerate(states)]
    placed = place(policy, runs, fires, catching_up=catching_up)
    # Each occurrence has one decision, and what is skipped does nothing.
    assert [one.fire_at for one in placed] == fires
    assert all(one.behind is None and one.cancels == () for one in placed if one.skipped is not None)
    known = {run.id for run in runs}
    for number, one in enumerate(placed, 1):
        # It waits for a run that is there before it.
        assert one.behind is None or one.behind in known
        assert set(one.cancels) <= known
        if one.skipped is None:
            known.add(-number)
    enqueued = [one for one in placed if one.skipped is None]
    if policy != "allow":
        # However many are due, no two start at once.
        busy = any(state in (READY, RUNNING, AWAITING) for state in states) and policy != "cancel_other"
        assert sum(one.behind is None for one in enqueued) <= (0 if busy else 1)
    if policy in ("skip", "buffer") and not catching_up:
        assert len(enqueued) <= 1
    if policy == "buffer_all" or (catching_up and policy != "cancel_other"):
        assert len(enqueued) == len(fires)


def test_another_policy_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ScheduleError, match="'queue' is not an overlap policy; use one of 'skip', 'buffer', "):
        parse_overlap("queue")
    with pytest.raises(ScheduleError):
        parse_overlap(None)
    assert {overlap_words(policy) for policy in get_args(Overlap)}.isdisjoint(get_args(Overlap))
    assert overlap_words("of a newer build") == "of a newer build"

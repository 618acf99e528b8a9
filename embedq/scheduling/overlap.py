"""The overlap policy: what happens to an occurrence while earlier runs of its recurring job have not ended.

    skip          it is not enqueued; the ledger names the run that was in the way
    buffer        one occurrence waits for the end of the running one; those after it are skipped
    buffer_all    each waits for the end of the one before
    cancel_other  the earlier runs are cancelled, and it starts when they have ended
    allow         it is enqueued; any number may run at once

A run that waits for a retry is in the way of `buffer_all` and `cancel_other` only: ten retries over two hours would
otherwise silence a job that is due every minute. Where its retry must not meet a later run either, the task has a limit
of one. A run that is parked (no process has its function, or its task is paused) is in the way of all, also of `allow`:
otherwise a heap of runs would start at once when its function is back.

Occurrences that were missed, and of which each is to run (the misfire policy "all"), are not skipped: they wait for
each other, in order. Only under "cancel_other" the last one runs alone.

`place` is the decision. It has no effects; `embedq.storage.firing` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast, get_args

from embedq.errors import ScheduleError
from embedq.job import JobState

Overlap = Literal["skip", "buffer", "buffer_all", "cancel_other", "allow"]
DEFAULT: Overlap = "skip"

_STATES = {
    JobState.RUNNING: "was still running",
    JobState.RETRYING: "was waiting for its retry",
    JobState.PARKED: "was parked",
    JobState.AWAITING: "was still waiting for the run before it",
}


_WORDS: dict[str, str] = {
    "skip": "skipped while a run has not ended",
    "buffer": "one waits for the running one; others are skipped",
    "buffer_all": "each waits for the one before",
    "cancel_other": "cancels the run before",
    "allow": "runs may overlap",
}


class UnfinishedRun(NamedTuple):
    """A run of the recurring job that has not ended. Those that are decided on now have numbers below 0."""

    id: int
    state: JobState


class Placed(NamedTuple):
    """The decision about one occurrence.

    Attributes:
        fire_at: the occurrence.
        skipped: why it is not enqueued, in words; None if it is.
        behind: the run that it waits for; None if it starts when a worker is free.
        cancels: the runs that are cancelled for it.
    """

    fire_at: int
    skipped: str | None = None
    behind: int | None = None
    cancels: tuple[int, ...] = ()


def parse_overlap(value: object) -> Overlap:
    """Return the policy that a user gave, or that is stored.

    Raises:
        ScheduleError: it is none.
    """
    if value not in get_args(Overlap):
        names = ", ".join(repr(name) for name in get_args(Overlap))
        raise ScheduleError(f"{value!r} is not an overlap policy; use one of {names}")
    return cast(Overlap, value)


def overlap_words(stored: str) -> str:
    """Return a stored policy in words; one of a newer build as it is."""
    return _WORDS.get(stored, stored)


def place(policy: Overlap, runs: Sequence[UnfinishedRun], fires: Sequence[int], *, catching_up: bool) -> list[Placed]:
    """Decide about the occurrences that are due, ascending. The nth of them has the number -n as a run.

    Args:
        runs: those that have not ended, the oldest first.
        catching_up: they were missed, and none is to be skipped.
    """
    known, placed = list(runs), list[Placed]()
    for position, fire_at in enumerate(fires, 1):
        if policy == "cancel_other" and position < len(fires):
            placed.append(Placed(fire_at, f"a later occurrence was due as well (overlap: {policy})"))
            continue
        one = _place(policy, known, fire_at, catching_up=catching_up)
        placed.append(one)
        if one.skipped is None:
            state = JobState.READY if one.behind is None else JobState.AWAITING
            known = [*(run for run in known if run.id not in one.cancels), UnfinishedRun(-position, state)]
    return placed


def _place(policy: Overlap, runs: Sequence[UnfinishedRun], fire_at: int, *, catching_up: bool) -> Placed:
    if policy == "cancel_other":
        # A waiting run ends with its cancellation, a running one as soon as it yields.
        running = [run.id for run in runs if run.state is JobState.RUNNING]
        return Placed(fire_at, None, running[-1] if running else None, tuple(run.id for run in runs))
    if policy == "buffer_all":
        return Placed(fire_at, None, runs[-1].id if runs else None)
    in_the_way = [run for run in runs if run.state is not JobState.RETRYING]
    if policy == "allow":
        in_the_way = [run for run in runs if run.state is JobState.PARKED]
    if not in_the_way or (catching_up and policy == "allow"):
        return Placed(fire_at)
    newest = in_the_way[-1]
    if catching_up or (policy == "buffer" and all(run.state is JobState.RUNNING for run in in_the_way)):
        return Placed(fire_at, None, newest.id)
    return Placed(fire_at, f"{_name(newest)} {_STATES.get(newest.state, 'had not started')} (overlap: {policy})")


def _name(run: UnfinishedRun) -> str:
    return "the run of the occurrence before" if run.id < 0 else f"job {run.id}"

"""Meeting every job of a search once, a batch at a time, while jobs come, go and change their state.

States are walked one after another, in the order in which jobs move through them, so that one that moves meanwhile is
met further on. Where the walk stands is a value, to be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from embedq.job import JobState
from embedq.storage.base import Transaction
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.searching import search

ORDER = (
    JobState.AWAITING, JobState.SCHEDULED, JobState.RETRYING, JobState.PARKED, JobState.READY, JobState.RUNNING,
    JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED,
)  # fmt: skip


class Standing(NamedTuple):
    """How many states are behind, and the cursor in the one it is at."""

    part: int = 0
    cursor: str | None = None


class Batch(NamedTuple):
    """Jobs that were met, and where the walk goes on; None at its end."""

    job_ids: Sequence[int]
    then: Standing | None


def parts(wanted: Search) -> list[Search]:
    """The searches that make up one: a state each, or itself where the jobs are named."""
    if wanted.ids is not None:
        return [wanted]
    states = wanted.states or tuple(JobState)
    return [replace(wanted, states=(state,)) for state in ORDER if state in states]


def next_batch(tx: Transaction, wanted: Search, standing: Standing, *, limit: int) -> Batch:
    """Up to `limit` jobs from where the walk stands; there may be none, and the walk goes on all the same."""
    searches = parts(wanted)
    if standing.part >= len(searches):
        return Batch([], None)
    found = search(tx, searches[standing.part], cursor=standing.cursor, limit=limit)
    then = Standing(standing.part, found.next) if found.next is not None else Standing(standing.part + 1)
    return Batch([job.id for job in found.jobs], then if then.part < len(searches) else None)

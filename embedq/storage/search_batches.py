"""Visiting every job of a search once, in batches, while jobs come, go and change their state.

The states are searched one after another, in the order in which jobs move through them, so that a job that moves
meanwhile is found later. The position is a value that can be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from embedq.job import JobState
from embedq.storage.base import Transaction
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.searching import search_ids

ORDER = (
    JobState.AWAITING, JobState.SCHEDULED, JobState.RETRYING, JobState.PARKED, JobState.READY, JobState.RUNNING,
    JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED,
)  # fmt: skip


class BatchCursor(NamedTuple):
    """A position: how many states are finished, and the cursor within the current one."""

    part: int = 0
    cursor: str | None = None


class SearchBatch(NamedTuple):
    """A batch of jobs, and the cursor of the next batch; None after the last."""

    job_ids: Sequence[int]
    then: BatchCursor | None


def parts(query: Search) -> list[Search]:
    """Return the parts of a search: one for each state, or the search itself if it names its jobs."""
    if query.ids is not None:
        return [query]
    states = query.states or tuple(JobState)
    return [replace(query, states=(state,)) for state in ORDER if state in states]


def next_batch(tx: Transaction, query: Search, cursor: BatchCursor, *, limit: int) -> SearchBatch:
    """Return up to `limit` jobs from a cursor on. A batch may be empty without being the last."""
    searches = parts(query)
    if cursor.part >= len(searches):
        return SearchBatch([], None)
    found = search_ids(tx, searches[cursor.part], cursor=cursor.cursor, limit=limit)
    then = BatchCursor(cursor.part, found.next) if found.next is not None else BatchCursor(cursor.part + 1)
    return SearchBatch(found.ids, then if then.part < len(searches) else None)

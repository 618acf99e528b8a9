"""Which jobs: searches by page, and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedq.job import ENDED, Job, JobState
from embedq.storage.base import Transaction
from embedq.storage.inspect.glance import COUNT_CAP
from embedq.storage.inspect.rows import job_from_row

# How each state is found without reading the others: the partial index's own condition.
FOUND_BY = {
    JobState.READY: "state = 'ready'",
    JobState.RUNNING: "state = 'running'",
    JobState.PARKED: "state = 'parked'",
    JobState.AWAITING: "state = 'awaiting'",
    JobState.SCHEDULED: "state IN ('scheduled', 'retrying') AND state = 'scheduled'",
    JobState.RETRYING: "state IN ('scheduled', 'retrying') AND state = 'retrying'",
    **{state: f"delete_at IS NOT NULL AND state = '{state}'" for state in ENDED},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which jobs. All that is given must match; texts are taken literally, letter for letter.

    Attributes:
        states: any of these; empty for all.
        error: a part of the last error's text.
        error_group: the last error's `fingerprint`.
        argument: a part of the stored arguments, which are JSON text.
        ids: any of these; None for all.
        parent: the id of the job that they continue.
        created_from, created_to, finished_from, finished_to: aware; from this moment on, and before that one.
    """

    states: tuple[JobState, ...] = ()
    queue: str | None = None
    name: str | None = None
    tag: str | None = None
    schedule: str | None = None
    error: str | None = None
    error_group: str | None = None
    argument: str | None = None
    ids: tuple[int, ...] | None = None
    parent: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    finished_from: datetime | None = None
    finished_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """One page of a search.

    The jobs of one ended state come in the order in which they ended, the latest first; scheduled and retrying ones in
    the order in which they are due, the next first; all others by their ids, the newest first.

    Attributes:
        next, previous: cursors of the pages behind and before this one, to be handed back as they are; None where
            there is none.
        exhausted: everything was looked at that could stand on this page. False: the search stopped at its bound; the
            page may be short, or empty, and `next` goes on from where it stopped.
        scanned_to: how far a bounded search came: when the last job that it looked at was created, ended or is due,
            whichever is its order; None where no bound was met.
    """

    jobs: list[Job]
    next: str | None
    previous: str | None
    exhausted: bool
    scanned_to: datetime | None


def search(tx: Transaction, wanted: Search, *, cursor: str | None = None, limit: int = 50) -> JobPage:
    """One page of the jobs that match. The cost is bounded, however many there are.

    Raises:
        ConfigurationError: a cursor that no page of this search gave.
    """
    raise NotImplementedError


def jobs(
    tx: Transaction,
    *,
    state: JobState | None = None,
    queue: str | None = None,
    name: str | None = None,
    tag: str | None = None,
    schedule: str | None = None,
    error: str | None = None,
    parent: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Job]:
    """Jobs that match all that is given, newest first; `before` an id for the next page."""
    condition, params = matching(
        state=state, queue=queue, name=name, tag=tag, schedule=schedule, error=error, parent=parent, before=before
    )
    sql = f"SELECT {{job_columns}} FROM embedq_jobs {condition} ORDER BY id DESC LIMIT ?"
    return [job_from_row(row) for row in tx.select(sql, (*params, limit))]


def count_jobs(tx: Transaction, /, *, cap: int = COUNT_CAP, **filters: Any) -> int:
    """How many jobs match, counted up to `cap`. The filters are those of `jobs`."""
    condition, params = matching(**filters)
    [(found,)] = tx.select(
        f"SELECT count(*) FROM (SELECT 1 FROM embedq_jobs {condition} LIMIT ?) AS found", (*params, cap)
    )
    return int(found)


def matching(
    *,
    state: JobState | None = None,
    queue: str | None = None,
    name: str | None = None,
    tag: str | None = None,
    schedule: str | None = None,
    error: str | None = None,
    parent: int | None = None,
    before: int | None = None,
) -> tuple[str, list[Any]]:
    """The WHERE clause of a search, and its parameters."""
    where: list[str] = []
    params: list[Any] = []
    for column, value in (
        ("queue = ?", queue), ("name = ?", name), ("schedule = ?", schedule), ("parent_id = ?", parent),
        ("id < ?", before),
    ):  # fmt: skip
        if value is not None:
            where.append(column)
            params.append(value)
    if state is not None:
        where.append(FOUND_BY[state])
    if tag is not None:
        where.append("{has_tag}")
        params.append(tag)
    if error is not None:
        where.append("{error_contains}")
        params.append(error)
    return f"WHERE {' AND '.join(where)}" if where else "", params

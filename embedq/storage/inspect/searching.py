"""Searching jobs, page by page, and counting them.

A search goes one of two ways. Few jobs are found by an index of their own (those of a live state, the children of a
parent, what a schedule has made): their ids are fetched, and looked at one by one. All others are read in
order (`orderings`), and the search ends at a bound that no stored data can move; the page shows how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from embedq.clock import to_datetime
from embedq.job import Job, JobState
from embedq.storage.base import Row, Transaction
from embedq.storage.inspect.filters import LARGEST, Conditions, Search, conditions
from embedq.storage.inspect.fingerprints import fingerprint
from embedq.storage.inspect.glance import COUNT_CAP, Count
from embedq.storage.inspect.orderings import ABOVE, BY_ID, Cursor, Ordering, ordering_for
from embedq.storage.inspect.rows import job_from_row

T = TypeVar("T")

# How many jobs a page looks at: where columns are compared, where texts are looked through, where each error's
# fingerprint is taken, and where secrets are taken out of the arguments; of those not more characters than so many.
SCAN_LIMIT, TEXT_SCAN_LIMIT, GROUP_SCAN_LIMIT, REDACTED_SCAN_LIMIT, REDACTED_CHARACTERS = (
    50_000,
    20_000,
    5_000,
    2_000,
    2_000_000,
)
# Up to so many are fetched by their ids.
FEW = 5_000
# Jobs fetched at a time where some are discarded.
BATCH = 250
_LIVE = {
    JobState.READY: ("ids_ready", "ids_suspect"),
    JobState.RUNNING: ("ids_running",),
    JobState.PARKED: ("ids_parked",),
    JobState.AWAITING: ("ids_awaiting",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """One page of a search.

    The jobs of one ended state come in the order in which they ended, the latest first; scheduled and retrying ones in
    the order in which they are due, the next first; all others by their ids, the newest first.

    Attributes:
        next, previous: cursors of the pages behind and before this one, to be handed back as they are; None where
            there is none.
        exhausted: everything was looked at that could stand on this page. False: the search stopped at its bound; the
            page may be short, or empty, and `next` continues where it stopped.
        scanned_to: how far a bounded search came: when the last job that it looked at was created, ended or is due,
            whichever is its order; None where no bound was met.
    """

    jobs: list[Job]
    next: str | None
    previous: str | None
    exhausted: bool
    scanned_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPage:
    """As `JobPage`, of the ids alone; `next` continues where the search stopped."""

    ids: list[int]
    next: str | None


def search(tx: Transaction, query: Search, *, cursor: str | None = None, limit: int = 50) -> JobPage:
    """One page of the jobs that match. The cost is bounded, however many there are.

    Raises:
        ConfigurationError: a cursor that no page of this search gave.
    """
    ordering, reader = ordering_for(query), _jobs(query)
    backwards, place = ordering.decode(cursor)
    found = _found(tx, query, few_ids(tx, query), reader, place, backwards, limit)
    if backwards and found.stopped_at is None and len(found.jobs) <= limit:
        # The beginning: a whole first page rather than a part of one.
        return search(tx, query, limit=limit)
    jobs = found.jobs[:limit]
    more = len(found.jobs) > limit
    ahead = ordering.cursor_of(jobs[-1]) if more else found.stopped_at
    behind = ordering.cursor_of(jobs[0]) if jobs else place
    if backwards:
        jobs.reverse()
    return JobPage(
        jobs=jobs,
        next=ordering.encode("next", behind if backwards else ahead),
        previous=ordering.encode("previous", ahead if backwards else behind if place is not None else None),
        exhausted=more or found.stopped_at is None,
        scanned_to=None if more or found.stopped_at is None else _moment(tx, ordering, found.stopped_at),
    )


def search_ids(tx: Transaction, query: Search, *, cursor: str | None = None, limit: int = 50) -> IdPage:
    """The ids of one page, without reading the jobs where that is possible. All that match are on one of the pages.

    Raises:
        ConfigurationError: a cursor that no page of this search gave.
    """
    _, place = ordering_for(query).decode(cursor)
    # The ledger does not list every job that a schedule has ever enqueued.
    ids = few_ids(tx, query if query.parent is not None else replace(query, schedule=None))
    if _read_here(query):
        columns = "{job_columns}" if _redacted(query) else "{slim_columns}"
        return _id_page(tx, query, ids, _jobs(query, columns), place, limit)
    return _id_page(tx, query, ids, _places(query), place, limit)


def _id_page(
    tx: Transaction, query: Search, ids: list[int] | None, reader: _Reader[T], place: Cursor | None, limit: int
) -> IdPage:
    found = _found(tx, query, ids, reader, place, False, limit)
    places = [reader.cursor_of(one) for one in found.jobs]
    ahead = places[limit - 1] if len(places) > limit else found.stopped_at
    return IdPage(ids=[one.id for one in places[:limit]], next=ordering_for(query).encode("next", ahead))


def _found(
    tx: Transaction,
    query: Search,
    ids: list[int] | None,
    reader: _Reader[T],
    place: Cursor | None,
    backwards: bool,
    limit: int,
) -> _Found[T]:
    if ids is None:
        return _walked(tx, ordering_for(query), query, reader, place, backwards, limit)
    return _picked(tx, ids, query, reader, place, backwards, limit)


def count_search(tx: Transaction, query: Search, *, cap: int = COUNT_CAP) -> Count:
    """How many jobs match, up to `cap` and among those that a page would look at."""
    ids = few_ids(tx, query)
    if ids is not None:
        found = _some(_by_id(tx, ids, query, _counted(query)), cap + 1)
        return Count(number=min(len(found), cap), capped=len(found) > cap)
    ordering, asked = ordering_for(query), _asked(query)
    if _read_here(query):
        read = _walked(tx, ordering, query, _counted(query), None, False, cap)
        return Count(number=min(len(read.jobs), cap), capped=len(read.jobs) > cap or read.stopped_at is not None)
    until = ordering.bound(tx, behind=None, backwards=False, candidates=scan_limit(query)) if asked.where else None
    number = ordering.count(tx, asked, until=until, cap=cap + 1)
    return Count(number=min(number, cap), capped=number > cap or until is not None)


def few_ids(tx: Transaction, query: Search) -> list[int] | None:
    """Return ids that include all matches, the newest first; None when they are many, or unknown."""
    if query.ids is not None:
        return sorted(set(query.ids), reverse=True)
    if ordering_for(query) is not BY_ID:
        return None
    ids: list[int] | None = None
    if query.parent is not None:
        ids = [job_id for (job_id,) in tx.all("ids_children", (query.parent, FEW + 1))]
    elif query.schedule is not None:
        ids = [job_id for (job_id,) in tx.all("ids_scheduled_by", (query.schedule, FEW + 1))]
    elif query.states and all(state in _LIVE for state in query.states):
        ids = []
        for statement in (name for state in query.states for name in _LIVE[state]):
            ids += [job_id for (job_id,) in tx.all(statement, (FEW + 1 - len(ids),))]
    return None if ids is None or len(ids) > FEW else sorted(set(ids), reverse=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader(Generic[T]):
    """What to read of each job.

    Attributes:
        columns: what is selected; `make` makes something of them, and `place` tells its place in the ordering.
        fits: what SQL does not compare.
        size: characters of it that were looked through.
    """

    columns: str
    make: Callable[[Row], T]
    cursor_of: Callable[[T], Cursor]
    fits: Callable[[T], bool] = lambda _: True
    size: Callable[[T], int] = lambda _: 0


def _jobs(query: Search, columns: str = "{job_columns}") -> _Reader[Job]:
    """Whole jobs."""
    return _Reader(
        columns=columns,
        make=job_from_row,
        cursor_of=ordering_for(query).cursor_of,
        fits=_fits(query),
        size=lambda job: len(job.arguments),
    )


def _places(query: Search) -> _Reader[Cursor]:
    """Read only ids and positions: a job may have megabytes of arguments."""
    return _Reader(columns=f"{ordering_for(query).key}, id", make=Cursor._make, cursor_of=lambda cursor: cursor)


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    """Up to one more job than the page takes, in the order of reading; `stopped_at` the bound, if that was met."""

    jobs: list[T]
    stopped_at: Cursor | None


def _asked(query: Search) -> Conditions:
    ordering = ordering_for(query)
    return conditions(query, states=ordering is BY_ID or ordering.sparse)


def _redacted(query: Search) -> bool:
    return query.argument is not None and query.hidden is not None


def _read_here(query: Search) -> bool:
    """Return whether the search compares something that SQL cannot."""
    return query.error_group is not None or _redacted(query)


def scan_limit(query: Search) -> int:
    """Return how many jobs a page, or a count, may examine."""
    if _redacted(query):
        return REDACTED_SCAN_LIMIT
    if query.error_group is not None:
        return GROUP_SCAN_LIMIT
    return TEXT_SCAN_LIMIT if _asked(query).texts else SCAN_LIMIT


def _walked(
    tx: Transaction,
    ordering: Ordering,
    query: Search,
    reader: _Reader[T],
    place: Cursor | None,
    backwards: bool,
    limit: int,
) -> _Found[T]:
    asked = _asked(query)
    # Where every row is a hit, the page itself is the bound.
    bounded = bool(asked.where) or _redacted(query)
    until = ordering.bound(tx, behind=place, backwards=backwards, candidates=scan_limit(query)) if bounded else None
    batch = BATCH if _read_here(query) else limit + 1
    jobs: list[T] = []
    characters = 0
    while True:
        read = ordering.rows(tx, asked, reader.columns, behind=place, until=until, backwards=backwards, limit=batch)
        rows = [reader.make(row) for row in read]
        jobs += filter(reader.fits, rows)
        if len(jobs) > limit:
            return _Found(jobs[: limit + 1], None)
        if len(rows) < batch:
            break
        place = reader.cursor_of(rows[-1])
        characters += sum(map(reader.size, rows))
        if _redacted(query) and characters > REDACTED_CHARACTERS:
            return _Found(jobs, place)
    if until is None:
        return _Found(jobs, None)
    # All that share the bound's key were looked at.
    less = ordering.descending is not backwards
    if ordering.key == "id":
        return _Found(jobs, Cursor(until, until))
    return _Found(jobs, Cursor(until, -1 if less else ABOVE))


def _picked(
    tx: Transaction,
    ids: list[int],
    query: Search,
    reader: _Reader[T],
    place: Cursor | None,
    backwards: bool,
    limit: int,
) -> _Found[T]:
    if ordering_for(query) is not BY_ID:
        return _sorted(tx, ids, query, reader, place, backwards, limit)
    if backwards:
        ids = ids[::-1]
    if place is not None:
        ids = [job_id for job_id in ids if (job_id > place.id if backwards else job_id < place.id)]
    return _Found(_some(_by_id(tx, ids, query, reader), limit + 1), None)


def _sorted(
    tx: Transaction,
    ids: list[int],
    query: Search,
    reader: _Reader[T],
    place: Cursor | None,
    backwards: bool,
    limit: int,
) -> _Found[T]:
    """A selection by ids, in an order that is not theirs."""
    ordering = ordering_for(query)
    less = ordering.descending is not backwards
    jobs = sorted(_by_id(tx, ids, query, reader), key=reader.cursor_of, reverse=less)
    if place is not None:
        jobs = [job for job in jobs if (reader.cursor_of(job) < place if less else reader.cursor_of(job) > place)]
    return _Found(jobs[: limit + 1], None)


def _by_id(tx: Transaction, ids: list[int], query: Search, reader: _Reader[T]) -> Iterator[T]:
    asked = conditions(query)
    order = {job_id: number for number, job_id in enumerate(ids)}
    for at in range(0, len(ids), BATCH):
        some = ids[at : at + BATCH]
        clause = asked.clause(f"id IN ({', '.join('?' * len(some))})")
        sql = f"SELECT {reader.columns} FROM embedq_jobs {clause}"
        rows = [reader.make(row) for row in tx.select(sql, (*some, *asked.params))]
        yield from sorted(filter(reader.fits, rows), key=lambda job: order[reader.cursor_of(job).id])


def _counted(query: Search) -> _Reader[Job]:
    """What must be read to count."""
    return _jobs(query, "{job_columns}" if _redacted(query) else "{slim_columns}")


def _some(jobs: Iterator[T], limit: int) -> list[T]:
    return [job for job, _ in zip(jobs, range(limit), strict=False)]


def _fits(query: Search) -> Callable[[Job], bool]:
    """What SQL does not compare."""
    group, term, hidden = query.error_group, query.argument, query.hidden

    def fits(job: Job) -> bool:
        if group is not None and fingerprint(job.error) != group:
            return False
        return term is None or hidden is None or hidden.shows(term, job.name, job.arguments)

    return fits


def _moment(tx: Transaction, ordering: Ordering, place: Cursor) -> datetime | None:
    if ordering.key != "id":
        return to_datetime(place.key)
    rows = tx.select("SELECT created_at FROM {all_jobs} AND id >= ? ORDER BY id LIMIT 1", (place.id,))
    return to_datetime(rows[0][0]) if rows else None


# -- plain lists ---------------------------------------------------------------------------------------------------


def jobs(
    tx: Transaction, /, *, state: JobState | None = None, before: int | None = None, limit: int = 100, **filters: Any
) -> list[Job]:
    """Jobs that match all that is given, by id, newest first; `before` an id for the next page, the filters `Search`'s.

    Unlike a `search` this finds all there are, however long it takes.
    """
    query = _plain(state, filters)
    # The ledger does not list every job that a schedule has ever enqueued.
    ids = few_ids(tx, query) if query.schedule is None else None
    if ids is not None:
        older_ids = [job_id for job_id in ids if before is None or job_id < before]
        return _some(_by_id(tx, older_ids, query, _jobs(query)), limit)
    asked = conditions(query)
    older = () if before is None else (max(-LARGEST, min(before, LARGEST)),)
    clause = asked.clause(*("id < ?" for _ in older))
    sql = f"SELECT {{job_columns}} FROM embedq_jobs {clause} ORDER BY id DESC LIMIT ?"
    return [job_from_row(row) for row in tx.select(sql, (*older, *asked.params, limit))]


def count_jobs(tx: Transaction, /, *, cap: int = COUNT_CAP, state: JobState | None = None, **filters: Any) -> int:
    """How many jobs match, counted up to `cap`. Unlike `count_search` this looks at all there are."""
    asked = conditions(_plain(state, filters))
    [(found,)] = tx.select(
        f"SELECT count(*) FROM (SELECT 1 FROM embedq_jobs {asked.clause()} LIMIT ?) AS found", (*asked.params, cap)
    )
    return int(found)


def _plain(state: JobState | None, filters: dict[str, Any]) -> Search:
    return Search(states=() if state is None else (state,), **filters)

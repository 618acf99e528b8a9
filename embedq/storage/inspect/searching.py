"""Which jobs: searches by page, and their counts.

A search goes one of two ways. Few jobs are found by an index of their own (those of a live state, the children of a
parent, what a schedule has made): their ids are fetched, and looked at one by one. All others are walked through in
order (`walks`), and the walk ends at a bound that nothing stored can move; the page says how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedq.clock import to_datetime
from embedq.errors import ConfigurationError
from embedq.job import Job, JobState
from embedq.storage.base import Transaction
from embedq.storage.inspect.filters import Conditions, Search, conditions
from embedq.storage.inspect.fingerprints import fingerprint
from embedq.storage.inspect.glance import COUNT_CAP, Count
from embedq.storage.inspect.rows import job_from_row
from embedq.storage.inspect.walks import ABOVE, BY_ID, Place, Walk, walk_for

# How many jobs a page looks at: where columns are compared, where texts are looked through, where each error's
# fingerprint is taken, and where secrets are taken out of the arguments; of those not more characters than so many.
LOOKS, TEXT_LOOKS, GROUP_LOOKS, CLEAN_LOOKS, CLEAN_CHARACTERS = 50_000, 20_000, 5_000, 2_000, 2_000_000
# So few are fetched by their ids.
FEW = 5_000
# Jobs fetched at a time where some are thrown away.
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
    walk = walk_for(wanted)
    backwards, place = _read(cursor, walk)
    ids = few_ids(tx, wanted)
    found = (
        _walked(tx, walk, wanted, place, backwards, limit)
        if ids is None
        else _picked(tx, ids, wanted, place, backwards, limit)
    )
    if backwards and found.stopped_at is None and len(found.jobs) <= limit:
        # The beginning: a whole first page rather than a part of one.
        return search(tx, wanted, limit=limit)
    jobs = found.jobs[:limit]
    more = len(found.jobs) > limit
    ahead = walk.place(jobs[-1]) if more else found.stopped_at
    behind = walk.place(jobs[0]) if jobs else place
    if backwards:
        jobs.reverse()
    return JobPage(
        jobs=jobs,
        next=_write(walk, "next", behind if backwards else ahead),
        previous=_write(walk, "previous", ahead if backwards else behind if place is not None else None),
        exhausted=more or found.stopped_at is None,
        scanned_to=None if more or found.stopped_at is None else _moment(tx, walk, found.stopped_at),
    )


def count_search(tx: Transaction, wanted: Search, *, cap: int = COUNT_CAP) -> Count:
    """How many jobs match, up to `cap` and among those that a page would look at."""
    ids = few_ids(tx, wanted)
    if ids is not None:
        found = _some(_by_id(tx, ids, wanted), cap + 1)
        return Count(number=min(len(found), cap), capped=len(found) > cap)
    walk, asked = walk_for(wanted), _asked(wanted)
    if _read_here(wanted):
        read = _walked(tx, walk, wanted, None, False, cap)
        return Count(number=min(len(read.jobs), cap), capped=len(read.jobs) > cap or read.stopped_at is not None)
    until = walk.bound(tx, behind=None, backwards=False, candidates=looks(wanted)) if asked.where else None
    number = walk.count(tx, asked, until=until, cap=cap + 1)
    return Count(number=min(number, cap), capped=number > cap or until is not None)


def few_ids(tx: Transaction, wanted: Search) -> list[int] | None:
    """The ids among which all that match are, the newest first; None when those are many, or cannot be told."""
    if wanted.ids is not None:
        return sorted(set(wanted.ids), reverse=True)
    if walk_for(wanted) is not BY_ID:
        return None
    ids: list[int] | None = None
    if wanted.parent is not None:
        ids = [job_id for (job_id,) in tx.all("ids_children", (wanted.parent, FEW + 1))]
    elif wanted.schedule is not None:
        ids = [job_id for (job_id,) in tx.all("ids_scheduled_by", (wanted.schedule, FEW + 1))]
    elif wanted.states and all(state in _LIVE for state in wanted.states):
        ids = []
        for statement in (name for state in wanted.states for name in _LIVE[state]):
            ids += [job_id for (job_id,) in tx.all(statement, (FEW + 1 - len(ids),))]
    return None if ids is None or len(ids) > FEW else sorted(set(ids), reverse=True)


@dataclass(frozen=True, slots=True)
class _Found:
    """Up to one more job than the page takes, in the order of reading; `stopped_at` the bound, if that was met."""

    jobs: list[Job]
    stopped_at: Place | None


def _asked(wanted: Search) -> Conditions:
    walk = walk_for(wanted)
    return conditions(wanted, states=walk is BY_ID or walk.sparse)


def _cleaned(wanted: Search) -> bool:
    return wanted.argument is not None and wanted.hidden is not None


def _read_here(wanted: Search) -> bool:
    """Whether something is compared that SQL cannot."""
    return wanted.error_group is not None or _cleaned(wanted)


def looks(wanted: Search) -> int:
    """At how many jobs a page looks, or a count, where it has to."""
    if _cleaned(wanted):
        return CLEAN_LOOKS
    if wanted.error_group is not None:
        return GROUP_LOOKS
    return TEXT_LOOKS if _asked(wanted).texts else LOOKS


def _walked(tx: Transaction, walk: Walk, wanted: Search, place: Place | None, backwards: bool, limit: int) -> _Found:
    asked, fits = _asked(wanted), _fits(wanted)
    # Where every row is a hit, the page itself is the bound.
    bounded = bool(asked.where) or _cleaned(wanted)
    until = walk.bound(tx, behind=place, backwards=backwards, candidates=looks(wanted)) if bounded else None
    batch = BATCH if _read_here(wanted) else limit + 1
    jobs: list[Job] = []
    characters = 0
    while True:
        rows = walk.rows(tx, asked, behind=place, until=until, backwards=backwards, limit=batch)
        jobs += filter(fits, rows)
        if len(jobs) > limit:
            return _Found(jobs[: limit + 1], None)
        if len(rows) < batch:
            break
        place = walk.place(rows[-1])
        characters += sum(len(job.arguments) for job in rows)
        if _cleaned(wanted) and characters > CLEAN_CHARACTERS:
            return _Found(jobs, place)
    if until is None:
        return _Found(jobs, None)
    # All that share the bound's key were looked at.
    less = walk.descending is not backwards
    if walk.key == "id":
        return _Found(jobs, Place(until, until))
    return _Found(jobs, Place(until, -1 if less else ABOVE))


def _picked(
    tx: Transaction, ids: list[int], wanted: Search, place: Place | None, backwards: bool, limit: int
) -> _Found:
    if walk_for(wanted) is not BY_ID:
        return _sorted(tx, ids, wanted, place, backwards, limit)
    if backwards:
        ids = ids[::-1]
    if place is not None:
        ids = [job_id for job_id in ids if (job_id > place.id if backwards else job_id < place.id)]
    return _Found(_some(_by_id(tx, ids, wanted), limit + 1), None)


def _sorted(
    tx: Transaction, ids: list[int], wanted: Search, place: Place | None, backwards: bool, limit: int
) -> _Found:
    """A selection by ids, in an order that is not theirs."""
    walk = walk_for(wanted)
    less = walk.descending is not backwards
    jobs = sorted(_by_id(tx, ids, wanted), key=walk.place, reverse=less)
    if place is not None:
        jobs = [job for job in jobs if (walk.place(job) < place if less else walk.place(job) > place)]
    return _Found(jobs[: limit + 1], None)


def _by_id(tx: Transaction, ids: list[int], wanted: Search) -> Iterator[Job]:
    asked, fits = conditions(wanted), _fits(wanted)
    order = {job_id: number for number, job_id in enumerate(ids)}
    for at in range(0, len(ids), BATCH):
        some = ids[at : at + BATCH]
        clause = asked.clause(f"id IN ({', '.join('?' * len(some))})")
        sql = f"SELECT {{job_columns}} FROM embedq_jobs {clause}"
        rows = [job_from_row(row) for row in tx.select(sql, (*some, *asked.params))]
        yield from sorted(filter(fits, rows), key=lambda job: order[job.id])


def _some(jobs: Iterator[Job], limit: int) -> list[Job]:
    return [job for job, _ in zip(jobs, range(limit), strict=False)]


def _fits(wanted: Search) -> Callable[[Job], bool]:
    """What SQL does not compare."""
    group, term, hidden = wanted.error_group, wanted.argument, wanted.hidden

    def fits(job: Job) -> bool:
        if group is not None and fingerprint(job.error) != group:
            return False
        return term is None or hidden is None or hidden.shows(term, job.name, job.arguments)

    return fits


def _moment(tx: Transaction, walk: Walk, place: Place) -> datetime | None:
    if walk.key != "id":
        return to_datetime(place.key)
    rows = tx.select("SELECT created_at FROM {all_jobs} AND id >= ? ORDER BY id LIMIT 1", (place.id,))
    return to_datetime(rows[0][0]) if rows else None


def _write(walk: Walk, direction: str, place: Place | None) -> str | None:
    return None if place is None else f"{walk.name}.{direction}.{place.key}.{place.id}"


def _read(cursor: str | None, walk: Walk) -> tuple[bool, Place | None]:
    if cursor is None:
        return False, None
    try:
        name, direction, key, job_id = cursor.split(".")
        if name == walk.name and direction in ("next", "previous"):
            return direction == "previous", Place(int(key), int(job_id))
    except ValueError:
        pass
    raise ConfigurationError(
        f"cursor={cursor[:100]!r} is not of this search; take `next` or `previous` of one of its pages as it is"
    )


# -- plain lists ---------------------------------------------------------------------------------------------------


def jobs(
    tx: Transaction, /, *, state: JobState | None = None, before: int | None = None, limit: int = 100, **filters: Any
) -> list[Job]:
    """Jobs that match all that is given, by id, newest first; `before` an id for the next page, the filters `Search`'s.

    Unlike a `search` this finds all there are, however long it takes.
    """
    wanted = _plain(state, filters)
    # The ledger does not know all that a schedule has ever made.
    ids = few_ids(tx, wanted) if wanted.schedule is None else None
    if ids is not None:
        return _some(_by_id(tx, [job_id for job_id in ids if before is None or job_id < before], wanted), limit)
    asked = conditions(wanted)
    older = () if before is None else (before,)
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

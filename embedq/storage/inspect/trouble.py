"""The overview of a queue, problems first. The cost of everything here is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from embedq.clock import SECOND, to_datetime, to_micros
from embedq.flow.holds import HoldRow, is_hold
from embedq.job import Job, JobId, JobState
from embedq.storage import holds
from embedq.storage.base import Row, Transaction
from embedq.storage.holds import Hold
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.fingerprints import NO_ERROR, fingerprint
from embedq.storage.inspect.glance import Count, counts
from embedq.storage.inspect.history import latest_totals
from embedq.storage.inspect.processes import FETCHED, Server, running, servers
from embedq.storage.inspect.queueing import ready
from embedq.storage.inspect.recurrences import LATE, ScheduleState, schedules
from embedq.storage.inspect.searching import search
from embedq.storage.schedules import ScheduleRow, named

# Errors that are looked at, and overdue runs that are shown.
SCAN_LIMIT, MOST = 1_000, 100
# Where each of its many counts stops.
CAP = 5_000
HOUR = 3600 * SECOND
# Schedules that are late, failing, or whose last job is dead; and dead jobs that are looked at for them.
TROUBLES, DEAD_SCAN_LIMIT = 100, 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Errors that differ only in numbers and names; see `fingerprint`.

    Attributes:
        fingerprint: for `Search.error_group`.
        error: the newest in full.
        names: the functions, by name.
        count: of those that were looked at.
        last_hour: how many of them are of the last hour.
        example: the newest job with it.
    """

    fingerprint: str
    error: str
    names: tuple[str, ...]
    count: int
    last_hour: int
    first_seen: datetime
    last_seen: datetime
    example: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroups:
    """The most frequent first.

    Attributes:
        looked_at: how many errors were grouped: the newest, and not more when `capped`.
    """

    groups: list[ErrorGroup]
    looked_at: int
    capped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTrouble:
    """A recurring job that is late, or fails.

    Attributes:
        late_seconds: how long ago it should have fired; None when it is not late by more than a minute.
        error: why it could not fire, or the error of its last job; None when it is only late.
        job: its last job, when that is dead.
    """

    name: str
    task: str
    next_fire_at: datetime
    late_seconds: float | None
    error: str | None
    job: JobId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedNeed:
    """Jobs that no process can run.

    Attributes:
        needs: what a process must have, for example "task shop.mail:send".
    """

    needs: str
    count: Count
    oldest: datetime
    example: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueWait:
    """How long the oldest ready job of a queue has been due, in seconds."""

    queue: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is broken, worst first in each list; and how much there is of everything.

    Attributes:
        counts: jobs by state.
        waits: by queue, the longest first; without queues that are paused.
        failed_last_hour, failed_last_day: failed attempts, exact, from the counters.
        failures: failed attempts of the last day, also of jobs that succeeded later.
        dead: dead letters by error, of the newest of them.
        silent: processes whose last heartbeat is older than the lease.
        overdue: runs that outlived their timeout and do not yield.
    """

    at: datetime
    counts: dict[JobState, Count]
    waits: list[QueueWait]
    failed_last_hour: int
    failed_last_day: int
    failures: ErrorGroups
    dead: ErrorGroups
    schedules: list[ScheduleTrouble]
    silent: list[Server]
    parked: list[ParkedNeed]
    overdue: list[Job]


def overview(tx: Transaction, *, now: int, lease: float) -> Overview:
    """Return everything that needs attention.

    Args:
        lease: seconds without a heartbeat after which a process counts as silent.
    """
    paused = holds.snapshot(tx)
    waits = [
        QueueWait(queue=name, seconds=max(0.0, (now - found.oldest) / SECOND))
        for name, found in ready(tx, counting=False).items()
        if not paused.of_queue(name, now)
    ]
    hour, day = latest_totals(tx, now=now)
    overdue = [job.id for job in running(tx, limit=FETCHED) if job.overdue][:MOST]
    return Overview(
        at=to_datetime(now),
        counts=counts(tx, CAP),
        waits=sorted(waits, key=lambda wait: -wait.seconds),
        failed_last_hour=hour.failures,
        failed_last_day=day.failures,
        failures=failures(tx, now=now),
        dead=dead_letters(tx, now=now),
        schedules=schedule_trouble(tx, now=now),
        silent=[server for server in servers(tx) if to_micros(server.heartbeat_at) < now - lease * SECOND],
        parked=parked(tx),
        overdue=search(tx, Search(ids=tuple(overdue)), limit=MOST).jobs if overdue else [],
    )


def failures(tx: Transaction, *, now: int, seconds: float = 86_400) -> ErrorGroups:
    """Failed attempts of the last `seconds`, by error."""
    return _grouped(tx.all("recent_failures", (now - round(seconds * SECOND), SCAN_LIMIT + 1)), now)


def dead_letters(tx: Transaction, *, now: int) -> ErrorGroups:
    """The newest dead letters by error."""
    columns = "error, finished_at, id, name"
    sql = f"SELECT {columns} FROM {{ended_jobs}} ORDER BY finished_at DESC LIMIT ?"
    return _grouped(tx.select(sql, (JobState.DEAD, SCAN_LIMIT + 1)), now)


def _grouped(rows: Sequence[Row], now: int) -> ErrorGroups:
    """Rows of (error, when, job, name), the newest first, by what they have in common."""
    groups: dict[str, list[Row]] = {}
    known: dict[str | None, str] = {}
    for row in rows[:SCAN_LIMIT]:
        error = row[0]
        if error not in known:
            known[error] = fingerprint(error)
        groups.setdefault(known[error], []).append(row)
    found = [
        ErrorGroup(
            fingerprint=mark,
            error=some[0][0] or NO_ERROR,
            names=tuple(sorted({name for *_, name in some if name is not None})),
            count=len(some),
            last_hour=sum(at > now - HOUR for _, at, *_ in some),
            first_seen=to_datetime(some[-1][1]),
            last_seen=to_datetime(some[0][1]),
            example=JobId(some[0][2]),
        )
        for mark, some in groups.items()
    ]
    found.sort(key=lambda group: (-group.count, -group.last_seen.timestamp()))
    return ErrorGroups(groups=found, looked_at=min(len(rows), SCAN_LIMIT), capped=len(rows) > SCAN_LIMIT)


def schedule_trouble(tx: Transaction, *, now: int) -> list[ScheduleTrouble]:
    """Schedules that are late by more than a minute, cannot fire, or whose last job is dead; the latest first.

    Up to `TROUBLES` of each kind; of dead jobs the newest few thousand are looked at.
    """
    rows = {
        row.name: row
        for state in (ScheduleState.LATE, ScheduleState.FAILING)
        for row in schedules(tx, state=state, limit=TROUBLES, now=now)
    }
    newest = tx.select(
        "SELECT schedule, max(id) FROM "
        "(SELECT id, schedule FROM {ended_jobs} ORDER BY finished_at DESC LIMIT ?) AS newest "
        "WHERE schedule IS NOT NULL GROUP BY schedule",
        (JobState.DEAD, DEAD_SCAN_LIMIT),
    )
    last = {job_id: name for name, job_id in newest if name not in rows}
    for at in range(0, len(last), 500):
        some = list(last)[at : at + 500]
        for row in named(tx, [last[job_id] for job_id in some]):
            if row.last_job_id in last and len(rows) < 3 * TROUBLES:
                rows[row.name] = row
    return trouble_of(tx, list(rows.values()), now=now)


def trouble_of(tx: Transaction, rows: Sequence[ScheduleRow], *, now: int) -> list[ScheduleTrouble]:
    """Return the problems of these schedules, the latest first; schedules without any are left out."""
    dead = dict(_dead_among(tx, [row.last_job_id for row in rows if row.last_job_id is not None]))
    found = []
    for row in rows:
        late = None if row.paused_at is not None or row.next_fire_at > now - LATE else (now - row.next_fire_at) / SECOND
        job = row.last_job_id if row.last_job_id in dead else None
        error = row.error or (dead[job] or NO_ERROR if job is not None else None)
        if late is not None or error is not None:
            found.append(
                ScheduleTrouble(
                    name=row.name,
                    task=row.task,
                    next_fire_at=to_datetime(row.next_fire_at),
                    late_seconds=late,
                    error=error,
                    job=None if job is None else JobId(job),
                )
            )
    return sorted(found, key=lambda one: (-(one.late_seconds or 0.0), one.name))


def _dead_among(tx: Transaction, ids: list[int]) -> Iterator[tuple[int, str | None]]:
    for at in range(0, len(ids), 500):
        some = ids[at : at + 500]
        marks = ", ".join("?" * len(some))
        yield from tx.select(f"SELECT id, error FROM embedq_jobs WHERE id IN ({marks}) AND state = 'dead'", some)


def parked(tx: Transaction) -> list[ParkedNeed]:
    """Parked jobs by what they need, the most frequent first; without those that a pause keeps."""
    rows = [
        (needs, *tx.all("parked_for", (needs, CAP))[0]) for (needs,) in tx.all("parked_needs") if not is_hold(needs)
    ]
    found = [
        ParkedNeed(
            needs=needs,
            count=Count(number=number, capped=number >= CAP),
            oldest=to_datetime(oldest),
            example=JobId(example),
        )
        for needs, number, example, oldest in rows
        if number
    ]
    return sorted(found, key=lambda need: (-need.count.number, need.needs))


def parked_for_holds(tx: Transaction, *, now: int) -> dict[Hold, Count]:
    """What is paused, with how many jobs were parked for it."""
    found = {}
    for hold in holds.in_force(tx, now=now):
        [(number, _, _)] = tx.all("parked_for", (HoldRow(hold.kind, hold.name, None).need, CAP))
        found[hold] = Count(number=number, capped=number >= CAP)
    return found

"""The queries of `embedq doctor` and `embedq check`. Each stops at a limit, or goes page by page."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from embedq.flow.holds import is_hold
from embedq.job import JobState
from embedq.storage import inspect
from embedq.storage.base import Transaction
from embedq.storage.claims import ALL_EXECUTORS
from embedq.storage.schedules import ScheduleRow

CAP = inspect.COUNT_CAP
# Of each kind, as many as a person reads.
SHOWN = 20
# Queues with ready jobs that are looked at, for each executor.
MOST_QUEUES = 200
# Jobs that may still run. What is running now runs again if its process is stopped.
UNENDED = tuple(state for state in JobState if not state.ended)


class QueueBacklog(NamedTuple):
    """The jobs of one queue that wait: how many (up to `CAP`), and since or until when (microseconds)."""

    jobs: int
    oldest: int


class Parked(NamedTuple):
    """Jobs that wait for a process that has what they need."""

    needs: str
    jobs: int
    example: int
    oldest: int


class RegisteredProcess(NamedTuple):
    """A process as it registered, with the identity of its host's locks."""

    server: inspect.Server
    host: str


class Deaths(NamedTuple):
    """Jobs of one function that failed for good."""

    name: str
    jobs: int
    latest: int


class PendingRow(NamedTuple):
    """What is stored of a job that may still run."""

    id: int
    state: str
    name: str
    payload: str
    code: str | None


def processes(tx: Transaction) -> list[RegisteredProcess]:
    """Every process that has registered and is not known to be dead."""
    # No process has the number 0.
    hosts = {row[0]: row[2] for row in tx.all("other_servers", (0,))}
    return [RegisteredProcess(server, hosts[server.id]) for server in inspect.servers(tx) if server.id in hosts]


def ready(tx: Transaction) -> dict[str, QueueBacklog]:
    """The queues whose jobs are due, of which each has its own line; `MOST_QUEUES` at most."""
    found: defaultdict[str, list[QueueBacklog]] = defaultdict(list)
    for executor in ALL_EXECUTORS:
        for (queue,) in tx.all("ready_queues", (executor, MOST_QUEUES)):
            jobs, oldest = tx.all("queue_front", (executor, queue, CAP))[0]
            if jobs:
                found[queue].append(QueueBacklog(jobs, oldest))
    return {
        queue: QueueBacklog(min(CAP, sum(line.jobs for line in lines)), min(line.oldest for line in lines))
        for queue, lines in found.items()
    }


def delayed(tx: Transaction) -> dict[str, QueueBacklog]:
    """The queues of the jobs that are due soonest, or are overdue because no process runs."""
    return {queue: QueueBacklog(jobs, soonest) for queue, jobs, soonest in tx.all("due_first", (CAP,))}


def parked(tx: Transaction, *, most: int = CAP) -> list[Parked]:
    """What parked jobs wait for, most jobs first; of so many needs at most."""
    needed = [needs for (needs,) in tx.all("parked_needs") if not is_hold(needs)]
    found = [Parked(needs, *tx.all("parked_for", (needs, CAP))[0]) for needs in needed[:most]]
    return sorted((one for one in found if one.jobs), key=lambda one: (-one.jobs, one.needs))


def overdue(tx: Transaction) -> list[tuple[int, str]]:
    """Id and name of running jobs that are past their timeout and do not yield."""
    return [(job_id, name) for job_id, name in tx.all("overdue_jobs", (SHOWN,))]


def suspects(tx: Transaction) -> int:
    """How many jobs wait whose process has died under them twice."""
    row = tx.one("count_suspect", (CAP,))
    return int(row[0]) if row else 0


def deaths(tx: Transaction, *, since: int) -> list[Deaths]:
    """The jobs that died since a moment, by function, most first."""
    found = [Deaths(*row) for row in tx.all("lately_dead", (CAP, since))]
    return sorted(found, key=lambda one: (-one.jobs, one.name))


def newest_created(tx: Transaction) -> int | None:
    """When the newest job was made, by the clock of then."""
    rows = tx.select("SELECT created_at FROM embedq_jobs ORDER BY id DESC LIMIT 1")
    return int(rows[0][0]) if rows else None


# -- page by page ------------------------------------------------------------------------------------------------------


class PendingPage(NamedTuple):
    """The rows of jobs that may still run, up to the id `last`; None when there are no more jobs."""

    rows: list[PendingRow]
    last: int | None


def bounds(tx: Transaction) -> tuple[int, int]:
    """The lowest and the highest id of all jobs; (0, 0) if there are none."""
    [(lowest, highest)] = tx.select("SELECT min(id), max(id) FROM embedq_jobs")
    return (0, 0) if highest is None else (int(lowest), int(highest))


def pending_page(tx: Transaction, *, after: int, limit: int) -> PendingPage:
    """What may still run of the next `limit` jobs behind the id `after`. Costs the same wherever it is."""
    [(last,)] = tx.select(
        "SELECT max(id) FROM (SELECT id FROM embedq_jobs WHERE id > ? ORDER BY id LIMIT ?) AS page", (after, limit)
    )
    if last is None:
        return PendingPage([], None)
    marks = ", ".join("?" * len(UNENDED))
    rows = tx.select(
        "SELECT id, state, name, {payload}, {code} FROM embedq_jobs "
        f"WHERE id > ? AND id <= ? AND state IN ({marks}) ORDER BY id",
        (after, last, *UNENDED),
    )
    return PendingPage([PendingRow._make(row) for row in rows], int(last))


def schedules(tx: Transaction, *, after: str | None, limit: int) -> list[ScheduleRow]:
    """The next `limit` recurring jobs behind a name."""
    return inspect.schedules(tx, after=after, limit=limit)

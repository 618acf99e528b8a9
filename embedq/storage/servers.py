"""Processes: their registration and heartbeats, the rescue of dead processes' jobs, and leadership."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import NamedTuple

from embedq.clock import SECOND
from embedq.config import Retention
from embedq.flow.unique import may_have_rule
from embedq.job import Ending, JobState
from embedq.process.poison import is_poison
from embedq.storage import finishing, jobs
from embedq.storage.base import Transaction
from embedq.storage.claims import ISOLATED_EXECUTORS
from embedq.storage.rows import Outcome

# A process looks several times a second whether it has been given up on.
ORPHAN_GRACE = 10 * SECOND


class ServerRow(NamedTuple):
    """Another process as it registered itself."""

    id: int
    uuid: str
    host: str
    heartbeat_at: int
    stopping_at: int | None
    pid: int
    hostname: str


class Identity(NamedTuple):
    """What a process registers about itself."""

    uuid: str
    host: str
    hostname: str
    pid: int
    version: str
    workers: int
    queues: tuple[str, ...] | None


def register(tx: Transaction, identity: Identity, *, now: int) -> int:
    """Record a new process and return its number, which is never given again."""
    queues = None if identity.queues is None else json.dumps(identity.queues)
    server_id = tx.insert("insert_server", (*identity[:6], queues, now, now))
    assert server_id is not None, "a fresh UUID conflicts with nothing"
    return server_id


def register_anew(tx: Transaction, identity: Identity, *, instead_of: int, now: int) -> int:
    """Record a process again that was given up on, and return its new number.

    Its claims under the old number since then remain valid: no other process gets that number.
    """
    # It may have been done by a commit whose answer was lost.
    there = [row.id for row in others(tx, instead_of) if row.uuid == identity.uuid]
    server_id = there[0] if there else register(tx, identity, now=now)
    tx.run("adopt_claims", (server_id, instead_of))
    return server_id


def registered(tx: Transaction, server_id: int) -> bool:
    """Return whether the process has not been given up on."""
    return tx.one("server_by_id", (server_id,)) is not None


def beat(tx: Transaction, server_id: int, *, now: int) -> bool:
    """Record a heartbeat. Return False when the process was declared dead and must register again."""
    return tx.run("beat", (now, server_id)) == 1


def mark_stopping(tx: Transaction, server_id: int, *, now: int) -> None:
    """Record that the process is about to end on purpose, so that jobs it leaves behind do not count as crashed."""
    tx.run("mark_stopping", (now, server_id))


def save_restarts(tx: Transaction, server_id: int, restarts: str) -> None:
    """Keep which threads of the process had to be started again, as JSON."""
    tx.run("save_restarts", (restarts, server_id))


def others(tx: Transaction, server_id: int) -> list[ServerRow]:
    """Every other process."""
    return [ServerRow._make(row) for row in tx.all("other_servers", (server_id,))]


def rescue(
    tx: Transaction,
    server_id: int,
    *,
    started: Mapping[int, bool] | None,
    now: int,
    max_crashes: int,
    retention: Retention,
    heartbeat_at: int | None = None,
) -> list[Outcome] | None:
    """Take back what a dead process held, and forget the process.

    Args:
        heartbeat_at: the heartbeat by which it was given up on; None for whatever it is.
        started: the jobs that were actually running, as it noted them, and whether each had run alone; its other claims
            had not begun, and no crash is counted against them. None when that is not known: any may have begun.
        max_crashes: a job whose process died this many times while it ran alone is dead; see process/poison.py.
    Returns:
        The outcomes of its jobs. None, and nothing is done, if another process was faster, or a heartbeat has come.
    """
    row = tx.one("server_by_id", (server_id,))
    if row is None or heartbeat_at not in (None, row[4]):
        return None
    _, stopping_at, pid, hostname, _ = row
    outcomes = _take_back(
        tx,
        server_id,
        started=started if stopping_at is None else {},
        cause=f"process {pid} on {hostname} died while it ran this job",
        now=now,
        max_crashes=max_crashes,
        retention=retention,
    )
    finishing.finish(tx, outcomes, now=now, retention=retention)
    remove(tx, server_id)
    return outcomes


def orphaned(tx: Transaction, *, now: int) -> list[int]:
    """The numbers under which jobs are claimed and no process is registered."""
    return [server_id for (server_id,) in tx.all("orphaned_servers", (now,))]


def rescue_orphans(
    tx: Transaction, *, now: int, retention: Retention, grace: int = ORPHAN_GRACE, only: Collection[int] | None = None
) -> int:
    """Take back jobs that are claimed by no registered process; return how many.

    A process that is given up on between its decision to claim and its claim leaves such jobs.
    Args:
        grace: how long (microseconds) such a process has to register again and adopt them: it may be running them.
        only: the numbers to consider, where it is known which have had no process for long; None for all.
    """
    outcomes = [
        outcome
        for server_id in orphaned(tx, now=now - grace)
        if only is None or server_id in only
        for outcome in _take_back(tx, server_id, started={}, cause="", now=now, max_crashes=1, retention=retention)
    ]
    finishing.finish(tx, outcomes, now=now, retention=retention)
    return len(outcomes)


def reconcile(
    tx: Transaction,
    server_id: int,
    *,
    formerly: int,
    held: Collection[tuple[int, int]],
    now: int,
    retention: Retention,
) -> tuple[set[tuple[int, int]], int]:
    """Give back what a live process has claimed without knowing it; no crash is counted.

    Args:
        formerly: its number before it registered again, or the same: what was inserted meanwhile under the old one is
            its own.
        held: its known claims: (job id, claim).
    Returns:
        Those that it does hold, and how many were given back.
    """
    if formerly != server_id:
        tx.run("adopt_claims", (server_id, formerly))
    claimed = _take_back(tx, server_id, started={}, cause="", now=now, max_crashes=1, retention=retention)
    strays = [outcome for outcome in claimed if (outcome.job_id, outcome.claim) not in held]
    finishing.finish(tx, strays, now=now, retention=retention)
    return {(outcome.job_id, outcome.claim) for outcome in claimed}.intersection(held), len(strays)


def forgive(tx: Transaction, taken: Collection[tuple[int, int]], *, said: str, now: int) -> int:
    """Count no crash for claims (job id, claim) that were taken from a process that lives; how many were forgiven.

    A job that was set aside as dead for it goes back to the queue.
    Args:
        said: the text for the run in the job's history.
    """
    forgiven = 0
    for job_id, claim in sorted(taken):
        if not tx.run("forgive_attempt", (said, job_id, claim)):
            continue
        forgiven += 1
        tx.run("forgive_crash", (job_id,))
        if tx.one("dead_of_claim", (job_id, claim)) is not None:
            jobs.retry_many(tx, [job_id], now=now)
    return forgiven


def _take_back(
    tx: Transaction,
    server_id: int,
    *,
    started: Mapping[int, bool] | None,
    cause: str,
    now: int,
    max_crashes: int,
    retention: Retention,
) -> list[Outcome]:
    rows = tx.all("running_of_server", (server_id,))
    # Not alone where others were about to start: it died too soon to tell.
    here = [row[0] for row in rows if row[5] not in ISOLATED_EXECUTORS]
    if started is None:
        started = dict.fromkeys((row[0] for row in rows), True)
    outcomes = []
    for job_id, claim, attempt, name, queue, _, crashes_alone, run_at, started_at, cancel_at, options in rows:
        crashed, alone = job_id in started, started.get(job_id, False) and here == [job_id]
        dead = alone and is_poison(
            crashes_alone=crashes_alone + 1,
            max_crashes=max_crashes,
            others_died_alone=any(other != job_id for (other,) in tx.all("died_alone")),
        )
        state = JobState.CANCELLED if cancel_at else JobState.DEAD if dead else JobState.READY
        outcomes.append(
            Outcome(
                job_id=job_id,
                claim=claim,
                attempt=attempt,
                name=name,
                queue=queue,
                state=state,
                ending=Ending.CRASHED if crashed else Ending.RELEASED,
                run_at=run_at,
                started_at=started_at,
                finished_at=now,
                server_id=server_id,
                error=_cause(cause, len(started) - 1, crashes_alone + 1 if dead else None) if crashed else None,
                delete_at=retention.for_job(options).delete_at(state, now) if state.ended else None,
                gives_back=int(not state.ended),
                crashed=int(crashed),
                crashed_alone=int(alone),
                unique=options if may_have_rule(options) else None,
            )
        )
    return outcomes


def _cause(cause: str, others: int, convicted_after: int | None) -> str:
    if convicted_after is not None:
        return f"{cause}, {convicted_after} times while no other job ran there; set aside"
    return f"{cause} and {others} more" if others else cause


def remove(tx: Transaction, server_id: int) -> None:
    """Forget a process, and free what it led."""
    tx.run("drop_leases", (server_id,))
    tx.run("delete_server", (server_id,))


def leave(tx: Transaction, server_id: int) -> None:
    """Forget a process that ends in good order, and that it was quiet."""
    tx.run("delete_process_hold", (server_id,))
    remove(tx, server_id)


class Lease(NamedTuple):
    """Leadership: the holder, the number of the term, and the end of the lease (microseconds)."""

    holder: int
    term: int
    expires_at: int


def lease_is_free(tx: Transaction, name: str, *, now: int, length: int) -> bool:
    """Return whether `take_lease` would succeed for a new holder. Writes nothing."""
    row = tx.one("lease", (name,))
    return row is None or row[2] <= now or row[2] > now + 2 * length


def release_leases(tx: Transaction, holder: int) -> None:
    """Let others lead at once."""
    tx.run("drop_leases", (holder,))


def take_lease(tx: Transaction, name: str, holder: int, *, now: int, length: int) -> Lease | None:
    """Take, or renew, leadership until `now + length` (microseconds); None when another holds it."""
    # A lease that ends absurdly late was written before the clock stepped back; no process may wait for it that long.
    row = tx.one("lease", (name,))
    if row is not None and row[2] > now + 2 * length:
        tx.run("drop_leases", (row[0],))
    if not tx.run("take_lease", (name, holder, now + length, now)):
        return None
    row = tx.one("lease", (name,))
    assert row is not None, "it was written in this transaction"
    return Lease._make(row)

"""Who is alive, whose jobs must be taken back, and who leads."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import NamedTuple

from embedq.clock import SECOND
from embedq.config import Retention
from embedq.job import Ending, JobState
from embedq.storage import claims
from embedq.storage.base import Transaction
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
    """What a process says of itself when it registers."""

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

    What it has claimed under the old one since then stays its own: that number is given to nobody else.
    """
    # It may have been done by a commit whose answer was lost.
    there = [row.id for row in others(tx, instead_of) if row.uuid == identity.uuid]
    server_id = there[0] if there else register(tx, identity, now=now)
    tx.run("adopt_claims", (server_id, instead_of))
    return server_id


def registered(tx: Transaction, server_id: int) -> bool:
    """Whether the process has not been given up on."""
    return tx.one("server_by_id", (server_id,)) is not None


def beat(tx: Transaction, server_id: int, *, now: int) -> bool:
    """Say that the process is alive. False when it was given up on and its row is gone: it must register anew."""
    return tx.run("beat", (now, server_id)) == 1


def mark_stopping(tx: Transaction, server_id: int, *, now: int) -> None:
    """Say that the process is about to end on purpose, so that what it leaves behind is no crash."""
    tx.run("mark_stopping", (now, server_id))


def others(tx: Transaction, server_id: int) -> list[ServerRow]:
    """Every other process."""
    return [ServerRow._make(row) for row in tx.all("other_servers", (server_id,))]


def rescue(
    tx: Transaction,
    server_id: int,
    *,
    started: Collection[int] | None,
    now: int,
    max_crashes: int,
    retention: Retention,
) -> list[Outcome]:
    """Take back what a dead process held, and forget the process. Does nothing if somebody else was faster.

    Args:
        started: the jobs that were actually running, as it noted them; its other claims had not begun, and no crash is
            counted against them. None when that is not known: every claim may have begun.
        max_crashes: a job whose process died under it this many times is dead.
    Returns:
        What became of its jobs.
    """
    row = tx.one("server_by_id", (server_id,))
    if row is None:
        return []
    _, stopping_at, pid, hostname = row
    outcomes = _take_back(
        tx,
        server_id,
        started=started if stopping_at is None else (),
        cause=f"process {pid} on {hostname} died while it ran this job",
        now=now,
        max_crashes=max_crashes,
        retention=retention,
    )
    claims.finish(tx, outcomes, now=now, retention=retention)
    remove(tx, server_id)
    return outcomes


def rescue_orphans(tx: Transaction, *, now: int, retention: Retention, grace: int = ORPHAN_GRACE) -> int:
    """Take back jobs that are claimed by no registered process; return how many.

    A process that is given up on between its decision to claim and its claim leaves such jobs.
    Args:
        grace: how long (microseconds) such a process has to register anew and adopt them: it may be running them.
    """
    outcomes = [
        outcome
        for (server_id,) in tx.all("orphaned_servers", (now - grace,))
        for outcome in _take_back(tx, server_id, started=(), cause="", now=now, max_crashes=1, retention=retention)
    ]
    claims.finish(tx, outcomes, now=now, retention=retention)
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
        formerly: its number before it registered anew, or the same: what was inserted meanwhile under the old one is
            its own.
        held: the claims that it knows of: (job id, claim).
    Returns:
        Those that it does hold, and how many were given back.
    """
    if formerly != server_id:
        tx.run("adopt_claims", (server_id, formerly))
    claimed = _take_back(tx, server_id, started=(), cause="", now=now, max_crashes=1, retention=retention)
    strays = [outcome for outcome in claimed if (outcome.job_id, outcome.claim) not in held]
    claims.finish(tx, strays, now=now, retention=retention)
    return {(outcome.job_id, outcome.claim) for outcome in claimed}.intersection(held), len(strays)


def _take_back(
    tx: Transaction,
    server_id: int,
    *,
    started: Collection[int] | None,
    cause: str,
    now: int,
    max_crashes: int,
    retention: Retention,
) -> list[Outcome]:
    outcomes = []
    for job_id, claim, attempt, name, queue, crashes, run_at, started_at, cancel_at, options in tx.all(
        "running_of_server", (server_id,)
    ):
        crashed = started is None or job_id in started
        dead = crashed and crashes + 1 >= max_crashes
        state = JobState.CANCELLED if cancel_at else JobState.DEAD if dead else JobState.READY
        error = None
        if crashed:
            error = cause + (f", {crashes + 1} times in all; set aside" if dead else "")
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
                error=error,
                delete_at=retention.for_job(options).delete_at(state, now) if state.ended else None,
                gives_back=int(not state.ended),
                crashed=int(crashed),
            )
        )
    return outcomes


def remove(tx: Transaction, server_id: int) -> None:
    """Forget a process, and free what it led."""
    tx.run("drop_leases", (server_id,))
    tx.run("delete_server", (server_id,))


class Lease(NamedTuple):
    """Leadership as it stands: who, for how many changes of hands, and until when (microseconds)."""

    holder: int
    term: int
    expires_at: int


def lease_is_free(tx: Transaction, name: str, *, now: int, length: int) -> bool:
    """Whether `take_lease` would give it to anybody: a look that writes nothing."""
    row = tx.one("lease", (name,))
    return row is None or row[2] <= now or row[2] > now + 2 * length


def release_leases(tx: Transaction, holder: int) -> None:
    """Let others lead at once."""
    tx.run("drop_leases", (holder,))


def take_lease(tx: Transaction, name: str, holder: int, *, now: int, length: int) -> Lease | None:
    """Take, or renew, leadership until `now + length` (microseconds); None when another holds it."""
    # A lease that ends absurdly late was written before the clock stepped back; nobody may wait for it that long.
    row = tx.one("lease", (name,))
    if row is not None and row[2] > now + 2 * length:
        tx.run("drop_leases", (row[0],))
    if not tx.run("take_lease", (name, holder, now + length, now)):
        return None
    row = tx.one("lease", (name,))
    assert row is not None, "it was written in this transaction"
    return Lease._make(row)

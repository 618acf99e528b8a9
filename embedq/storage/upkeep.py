"""Pruning: deleting rows at the end of their retention, in small transactions that delay no other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from embedq.clock import SECOND
from embedq.job import ENDED
from embedq.storage import holds, permits, unique
from embedq.storage.base import Transaction
from embedq.storage.finishing import MINUTE
from embedq.storage.rows import json_ids

# How long totals and the ledger of occurrences are kept.
HISTORY = 30 * 24 * 3600 * SECOND


# So many unique keys go at once.
UNIQUE_KEYS = 10_000


# How far pruning has come among the jobs of each state that ended: up to which time of deletion, and which id.
PruneCursor = Mapping[str, tuple[int, int]]
FROM_START: PruneCursor = MappingProxyType({})
# A row that is committed late may have a time of deletion that has passed by then.
LATE = MINUTE


class Pruned(NamedTuple):
    """How many jobs were deleted, where to continue, and whether there may be more by now."""

    number: int
    then: PruneCursor
    more: bool


def prune_jobs(tx: Transaction, *, now: int, cursor: PruneCursor = FROM_START, limit: int = 500) -> Pruned:
    """Look at up to `limit` ended jobs whose time is up, and delete them with their attempts and logs.

    A job with a child that still waits is kept: the child may read its result.

    Args:
        cursor: where the one before stopped. What it kept is not looked at again, however much that is.
    """
    stands, ids = dict(cursor), list[int]()
    for state in sorted(ENDED):
        if len(ids) < limit:
            found = tx.all("expired_after", (state, *stands.get(state, (-1, 0)), now, limit - len(ids)))
            if found:
                job_id, delete_at = found[-1]
                stands[state] = delete_at, job_id
                ids += [job_id for job_id, _ in found]
    going = [job_id for (job_id,) in tx.all("prunable_jobs", (json_ids(ids), now))] if ids else []
    if going:
        for statement in ("delete_jobs", "delete_attempts", "delete_logs"):
            tx.run(statement, (json_ids(going),))
    return Pruned(len(going), stands, len(ids) >= limit)


def settled(cursor: PruneCursor, *, now: int) -> PruneCursor:
    """Return where to continue after a pause: not beyond rows that may be committed late."""
    return {state: min(stands, (now - LATE, 0)) for state, stands in cursor.items()}


def prune_history(tx: Transaction, *, now: int, audit: timedelta | None = None, limit: int = 1000) -> int:
    """Delete old occurrences and old lines of the audit log (up to `limit` each), and old totals; how many rows.

    Also the pauses of processes that are gone, and unique keys that no job has any more.

    Args:
        audit: how long the audit log is kept; None: without a limit.
    """
    found = tx.run("delete_occurrences", (now - HISTORY, limit)) + holds.forget_processes(tx, now=now)
    found += permits.prune(tx, now=now, limit=limit)
    found += unique.prune(tx, now=now, limit=UNIQUE_KEYS)
    if audit is not None:
        found += tx.run("delete_actions", (now - audit // timedelta(microseconds=1), limit))
    return found + tx.run("delete_counters", ((now - HISTORY) // MINUTE,))

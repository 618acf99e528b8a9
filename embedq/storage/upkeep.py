"""Deleting what has been kept long enough, a little at a time, so that nobody waits for it."""

from __future__ import annotations

from embedq.clock import SECOND
from embedq.job import ENDED
from embedq.storage.base import Transaction
from embedq.storage.claims import MINUTE
from embedq.storage.rows import json_ids

# How long totals and the ledger of occurrences are kept.
HISTORY = 30 * 24 * 3600 * SECOND


def prune_jobs(tx: Transaction, *, now: int, limit: int = 500) -> int:
    """Delete up to `limit` ended jobs whose time is up, with their attempts and logs; return how many.

    A job that still has a child in waiting is kept: the child may ask for its result.
    """
    ids: list[int] = []
    for state in sorted(ENDED):
        if len(ids) < limit:
            ids += [job_id for (job_id,) in tx.all("prunable_jobs", (state, now, limit - len(ids)))]
    if ids:
        for statement in ("delete_jobs", "delete_attempts", "delete_logs"):
            tx.run(statement, (json_ids(ids),))
    return len(ids)


def prune_history(tx: Transaction, *, now: int, limit: int = 1000) -> int:
    """Delete old occurrences (up to `limit`) and old totals; return how many rows."""
    return tx.run("delete_occurrences", (now - HISTORY, limit)) + tx.run(
        "delete_counters", ((now - HISTORY) // MINUTE,)
    )

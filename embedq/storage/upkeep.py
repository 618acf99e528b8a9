"""Deleting what has been kept long enough, a little at a time, so that nobody waits for it."""

from __future__ import annotations

from datetime import timedelta

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


def prune_history(tx: Transaction, *, now: int, audit: timedelta | None = None, limit: int = 1000) -> int:
    """Delete old occurrences and old lines of the audit log (up to `limit` each), and old totals; how many rows.

    Args:
        audit: how long the audit log is kept; None for ever.
    """
    found = tx.run("delete_occurrences", (now - HISTORY, limit))
    if audit is not None:
        found += tx.run("delete_actions", (now - audit // timedelta(microseconds=1), limit))
    return found + tx.run("delete_counters", ((now - HISTORY) // MINUTE,))

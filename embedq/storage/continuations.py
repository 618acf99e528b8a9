"""What the end of a job means for the jobs that wait for it."""

from __future__ import annotations

from collections.abc import Mapping

from embedq.config import Retention
from embedq.job import JobState, Trigger
from embedq.storage.base import Transaction
from embedq.storage.rows import json_ids


def advance(tx: Transaction, ended: Mapping[int, JobState], *, now: int, retention: Retention) -> bool:
    """Wake, or cancel, the children of jobs that ended in this transaction; and the children of those, and so on.

    Args:
        ended: the state in which each parent ended.
    Returns:
        Whether a child became ready.
    """
    woken = False
    while ended:
        cancelled: dict[int, JobState] = {}
        for child_id, trigger, run_at, parent_id, options in tx.all("awaiting_children", (json_ids(list(ended)),)):
            state = ended[parent_id]
            if Trigger(trigger).fires_on(state):
                due = run_at <= now
                woken = woken or due
                next_state = JobState.READY if due else JobState.SCHEDULED
                tx.run("wake_child", (next_state, max(run_at, now), child_id))
            else:
                delete_at = retention.for_job(options).delete_at(JobState.CANCELLED, now)
                reason = f"its parent {parent_id} ended as {state.value}; it waited for {trigger}"
                tx.run("cancel_child", (now, delete_at, reason, child_id))
                cancelled[child_id] = JobState.CANCELLED
        ended = cancelled
    return woken


def revive(tx: Transaction, parent_id: int) -> None:
    """Let the children wait again that were cancelled because `parent_id` failed: it gets another chance."""
    parents = [parent_id]
    while parents:
        parents = [child for parent in parents for (child,) in tx.all("revive_children", (parent,))]

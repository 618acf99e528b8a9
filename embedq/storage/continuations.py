"""Continuations: what happens to the jobs that wait for another when that ends.

They are decided in the transaction in which the parent ends, all by a few statements. Where there are more than one
transaction should hold, that transaction leaves a row in `embedq_unsettled` instead, and `settle` decides them, some in
each transaction: called by the process in which the parent ended, or, when that is gone, by the one that leads. So a
crash in between loses nothing, and a parent with a hundred thousand continuations delays no other transaction.

A retry of the parent lets those wait again that were cancelled because it failed. That may be left to `settle` too, and
the parent may end again before it is done: then first all wait again, and after that they are decided by the new end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from embedq.config import Retention
from embedq.flow.unique import may_have_rule
from embedq.job import ENDED, JobState, Trigger
from embedq.storage import unique
from embedq.storage.base import Transaction
from embedq.storage.damage import is_damaged, member
from embedq.storage.rows import json_ids

# So many children are decided in one transaction, beside as many as there are parents: those with one child each cost
# about what the parents' own ends cost. So many generations, since each takes statements of its own.
SLICE = 150
GENERATIONS = 12
# Unsettled parents that one call of `settle` looks at.
PARENTS = 50


class Advanced(NamedTuple):
    """The result for the children: whether one is ready now, and whether others are left to `settle`."""

    woken: bool
    unsettled: bool


class ChildJob(NamedTuple):
    """A child as it stands, locked."""

    id: int
    state: str
    trigger: str | None
    run_at: int
    parent_id: int
    options: str | None
    cancel_requested_at: int | None

    @property
    def cancelled_with_its_parent(self) -> bool:
        """Because of how that ended, and not by hand."""
        return self.state == JobState.CANCELLED and self.cancel_requested_at is None and self.trigger is not None


def advance(tx: Transaction, ended: Mapping[int, JobState], *, now: int, retention: Retention) -> Advanced:
    """Wake, or cancel, the children of jobs that ended in this transaction; and the children of those, and so on.

    Args:
        ended: the state in which each parent ended.
    """
    woken, left = False, SLICE + len(ended)
    for _ in range(GENERATIONS):
        if not ended:
            return Advanced(woken, False)
        found = [ChildJob._make(row) for row in tx.all("awaiting_children", (json_ids(list(ended)), left + 1))]
        if not found:
            return Advanced(woken, False)
        if len(found) > left:
            break
        left -= len(found)
        due, ended = decide(tx, found, ended, now=now, retention=retention)
        woken = woken or due
    return Advanced(woken, _leave(tx, list(ended), reviving=False))


def decide(
    tx: Transaction, children: Iterable[ChildJob], ended: Mapping[int, JobState], *, now: int, retention: Retention
) -> tuple[bool, dict[int, JobState]]:
    """Wake or cancel these children, which wait; whether one is ready now, and the ids of those that were cancelled.

    A job that was to run if its parent failed is not kept when the parent succeeded.
    """
    woken: list[int] = []
    needless: list[int] = []
    due = False
    cancelled: defaultdict[tuple[JobState, int | None], list[int]] = defaultdict(list)
    for child in children:
        state = ended[child.parent_id]
        if _fires(child.trigger, state):
            woken.append(child.id)
            due = due or child.run_at <= now
        elif state is JobState.SUCCEEDED and child.trigger == Trigger.FAILURE:
            needless.append(child.id)
            cancelled[state, now].append(child.id)
        else:
            delete_at = retention.for_job(child.options).delete_at(JobState.CANCELLED, now)
            cancelled[state, delete_at].append(child.id)
    if woken:
        tx.run("wake_children", (now, json_ids(woken)))
    for (state, until), ids in cancelled.items():
        tx.run("cancel_children", (now, until, state, json_ids(ids)))
    gone = _drop(tx, needless, now=now) if needless else frozenset()
    ends = (job_id for ids in cancelled.values() for job_id in ids if job_id not in gone)
    return due, dict.fromkeys(ends, JobState.CANCELLED)


def _drop(tx: Transaction, ids: Sequence[int], *, now: int) -> frozenset[int]:
    """Delete cancelled jobs at once, except the newest and those that others wait for, which are pruned later."""
    going = [job_id for (job_id,) in tx.all("prunable_jobs", (json_ids(ids), now))]
    if going:
        for statement in ("delete_jobs", "delete_attempts", "delete_logs"):
            tx.run(statement, (json_ids(going),))
    return frozenset(going)


def _fires(stored: str | None, state: JobState) -> bool:
    """Return whether a stored trigger fires. A missing or damaged one does not: it is unknown for which end."""
    trigger = member(Trigger, stored)
    return not is_damaged(trigger) and trigger.fires_on(state)


def revive(tx: Transaction, parents: Sequence[int], *, now: int) -> bool:
    """Let the children wait again that were cancelled because these jobs failed: they get another chance.

    Returns:
        Whether some are left to `settle`.
    """
    left = SLICE + len(parents)
    for _ in range(GENERATIONS):
        found = (
            [ChildJob._make(row) for row in tx.all("all_children", (json_ids(parents), left + 1))] if parents else []
        )
        if not found:
            return False
        if len(found) > left:
            break
        left -= len(found)
        parents = _revive(tx, found, now=now)
    return _leave(tx, parents, reviving=True)


def _revive(tx: Transaction, children: Sequence[ChildJob], *, now: int) -> list[int]:
    """Let those of these children wait again that were cancelled with their parent; return their ids.

    One whose unique key another job has stays cancelled.
    """
    found = [child for child in children if child.cancelled_with_its_parent]
    keyed = {child.id: child.options for child in found if may_have_rule(child.options)}
    refused = unique.retake(tx, keyed, now=now) if keyed else {}
    revived = [child.id for child in found if child.id not in refused]
    if revived:
        tx.run("revive_jobs", (json_ids(revived),))
    return revived


def _leave(tx: Transaction, parents: Sequence[int], *, reviving: bool) -> bool:
    """Leave the children of these parents to `settle`; False if none has any that concern it."""
    return bool(parents) and tx.run("revive_later" if reviving else "decide_later", (json_ids(parents),)) > 0


def unsettled(tx: Transaction) -> bool:
    """Return whether `settle` has something to do."""
    return bool(tx.all("unsettled_parents", (1,)))


def settle(tx: Transaction, *, now: int, retention: Retention) -> Advanced:
    """Decide some of the children that a transaction has left; call it again while others are left.

    Every row is locked in the order in which others lock them: a parent, what is noted of it, its children.
    """
    woken, left = False, SLICE
    for (parent_id,) in tx.all("unsettled_parents", (PARENTS,)):
        parent = tx.one("job_state", (parent_id,))
        noted = tx.one("unsettled_parent", (parent_id,))
        if noted is None:
            # Another process was faster.
            continue
        reviving, after_id = noted
        state = None if parent is None else member(JobState, parent[0])
        if state is None or not (reviving or state in ENDED):
            # A job that runs again decides about its children when it ends.
            tx.run("settled", (parent_id,))
            continue
        window = [ChildJob._make(row) for row in tx.all("children_after", (parent_id, after_id, left))]
        if reviving:
            revived = _revive(tx, window, now=now)
            if revived:
                revive(tx, revived, now=now)
        else:
            waiting = [child for child in window if child.state == JobState.AWAITING]
            due, cancelled = decide(tx, waiting, {parent_id: state}, now=now, retention=retention)
            below = advance(tx, cancelled, now=now, retention=retention)
            woken = woken or due or below.woken
        if len(window) == left:
            tx.run("settled_up_to", (reviving, window[-1].id, parent_id))
        elif reviving and state in ENDED:
            tx.run("settled_up_to", (0, 0, parent_id))
        else:
            tx.run("settled", (parent_id,))
        left -= len(window)
        if left <= 0:
            break
    return Advanced(woken, unsettled(tx))

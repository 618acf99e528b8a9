"""The audit log: what people did to jobs, and the progress of long actions.

An action on many jobs runs in batches. Each batch and its new cursor are one transaction, so when a process dies in the
middle, any other can resume the action where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from embedq.clock import DAMAGED, SECOND, to_datetime
from embedq.errors import ActionNotFoundError
from embedq.storage.base import Row, Transaction
from embedq.storage.bulk import Changed
from embedq.storage.damage import LONGEST_SHOWN, json_or, member
from embedq.storage.inspect.glance import Count
from embedq.storage.rows import storable
from embedq.storage.search_batches import BatchCursor

# An action whose process has not reported progress for so long has stopped.
SILENCE_SECONDS = 30.0
FIRST_PAGE = (1 << 63) - 1


class ActionState(StrEnum):
    """The state of an action."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """It failed with an error; what it had done by then is done."""
    STOPPED = "stopped"
    """By hand, or its process ended. It can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One line of the audit log.

    Attributes:
        at: when it was requested.
        actor: the person that requested it, as the caller named them.
        verb: "retry", "run", "cancel", "delete", "move", or what the caller recorded ("pause schedule").
        subject: what it was done to, for people: jobs by their ids, a search in words, a schedule's name.
        search: the filter as plain values, for `Search.of`; None where it was not about jobs, or cannot be read: then
            nothing is done by it, rather than something to all jobs.
        details: further parameters ({"to_queue": "low"}); plain values.
        expected: how many jobs matched when it began; None for what is not about jobs.
        changed, skipped: jobs that it changed, and those that it met and left: of another state by then, for example.
        reason: why the last of them was left; None when none was.
        process: the process that carries it out, for people: host and process id.
        run: 1, and one more each time it was resumed.
        updated_at: when that process last reported progress.
    """

    id: int
    at: datetime
    actor: str
    verb: str
    subject: str
    search: dict[str, object] | None
    details: dict[str, object]
    state: ActionState
    expected: Count | None
    changed: int
    skipped: int
    reason: str | None
    error: str | None
    process: str
    run: int
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPage:
    """The newest first; `next` is for `before`, None on the last page."""

    actions: list[Action]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAction:
    """A requested action; see `Action`."""

    actor: str
    verb: str
    subject: str
    process: str
    search: dict[str, object] | None = None
    details: dict[str, object]
    state: ActionState = ActionState.RUNNING
    expected: Count | None = None
    error: str | None = None


def begin(tx: Transaction, action: NewAction, *, now: int) -> int:
    """Insert an action into the log, and return its number."""
    expected = action.expected
    action_id = tx.insert(
        "insert_action",
        (
            now,
            storable(action.actor),
            storable(action.verb),
            storable(action.subject),
            None if action.search is None else json.dumps(action.search),
            json.dumps(action.details),
            action.state,
            None if expected is None else expected.number,
            None if expected is None else int(expected.capped),
            0,
            0,
            None,
            None if action.error is None else storable(action.error),
            storable(action.process),
            now,
            None if action.state is ActionState.RUNNING else now,
        ),
    )
    assert action_id is not None, "nothing conflicts with it"
    return action_id


def load(tx: Transaction, action_id: int, *, now: int) -> Action:
    """Return one action; it is STOPPED if its process has gone silent. ActionNotFoundError if it is not there."""
    return _action(_row(tx, action_id), now)


def batch_cursor(tx: Transaction, action_id: int) -> BatchCursor:
    """Return the cursor of its next batch."""
    text = _row(tx, action_id)[-1]
    return BatchCursor() if text is None else BatchCursor(*json.loads(text))


def page(tx: Transaction, *, now: int, before: int | None = None, limit: int = 50) -> ActionPage:
    """Return a page of the audit log."""
    rows = tx.all("actions", (FIRST_PAGE if before is None else before, limit + 1))
    found = [_action(row, now) for row in rows[:limit]]
    return ActionPage(actions=found, next=found[-1].id if len(rows) > limit else None)


def advance(
    tx: Transaction,
    action: Action,
    change: Callable[[Transaction, Sequence[int]], Changed],
    job_ids: Sequence[int],
    *,
    cursor: BatchCursor,
    now: int,
) -> bool:
    """Do one batch and record it. Return False, and do nothing, if the action does not belong to this run any more."""
    # First, so that other transactions that need the row wait until the batch is done.
    if not tx.run("advance_action", (0, 0, None, json.dumps(cursor), now, action.id, action.run)):
        return False
    if job_ids:
        changed = change(tx, job_ids)
        skipped = len(job_ids) - changed.number
        reason = changed.reason if skipped else None
        tx.run("advance_action", (changed.number, skipped, reason, json.dumps(cursor), now, action.id, action.run))
    return True


def end(tx: Transaction, action: Action, state: ActionState, *, now: int, error: str | None = None) -> None:
    """Record the end of an action, if it still belongs to this run."""
    tx.run("end_action", (state, None if error is None else storable(error), now, action.id, action.run))


def resume(tx: Transaction, action_id: int, *, process: str, now: int) -> Action | None:
    """Resume an action that does not run any more; None if it runs, or is done."""
    action = load(tx, action_id, now=now)
    if action.state in (ActionState.RUNNING, ActionState.DONE) or action.search is None:
        return None
    if not tx.run("resume_action", (process, now, action_id, action.run)):
        return None
    return load(tx, action_id, now=now)


def _row(tx: Transaction, action_id: int) -> Row:
    row = tx.one("action", (action_id,))
    if row is None:
        raise ActionNotFoundError(f"no action {action_id} in the audit log; it may have been pruned")
    return row


def _action(row: Row, now: int) -> Action:
    (
        action_id, at, actor, verb, subject, search, details, state, expected, capped, changed, skipped, reason, error,
        process, updated_at, finished_at, run, _,
    ) = row  # fmt: skip
    silent = state == ActionState.RUNNING and updated_at < now - SILENCE_SECONDS * SECOND
    return Action(
        id=action_id,
        at=to_datetime(at),
        actor=actor,
        verb=verb,
        subject=subject,
        search=None if search is None else json_or(search, dict, None) or None,
        details=json_or(details, dict, {DAMAGED: details[:LONGEST_SHOWN]}),
        state=ActionState.STOPPED if silent else member(ActionState, state),
        expected=None if expected is None else Count(number=expected, capped=bool(capped)),
        changed=changed,
        skipped=skipped,
        reason=reason,
        error="its process ended, or hangs; resume the action" if silent and error is None else error,
        process=process,
        run=run,
        updated_at=to_datetime(updated_at),
        finished_at=None if finished_at is None else to_datetime(finished_at),
    )

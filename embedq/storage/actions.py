"""What people did to jobs: the audit log, which is also where a long action keeps how far it has come.

An action on many jobs goes in batches. Each batch and its new cursor are one transaction, so a process that dies in the
middle leaves an action that any other can take up where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from embedq.storage.base import Transaction
from embedq.storage.inspect.glance import Count

# An action whose process has not been heard of for so long has stopped.
SILENCE_SECONDS = 30.0


class ActionState(StrEnum):
    """How far an action is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """It met an error; what it had done by then is done."""
    STOPPED = "stopped"
    """By hand, or its process ended. It can be taken up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One line of the audit log.

    Attributes:
        at: when it was asked for, and `actor` by whom, as the caller said.
        verb: "retry", "cancel", "delete", "run", "move", or what the caller recorded ("pause schedule").
        subject: what it was done to: a job's id, a schedule's name, or a search in words.
        search: the filter as plain values, for `Search`; None where it was no search.
        details: what else was asked for ({"queue": "low"}); plain values.
        expected: how many jobs matched when it began; None for what is not about jobs.
        changed, skipped: jobs that it changed, and those that it met and left: of another state by then, for example.
        reason: why the last of them was left; None when none was.
        process: who carries it out, for people: host and process id.
        updated_at: when that process was last heard of.
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
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionPage:
    """The newest first; `next` is for `before`, None on the last page."""

    actions: list[Action]
    next: int | None


def load(tx: Transaction, action_id: int, *, now: int) -> Action:
    """One action; one whose process went silent is STOPPED. ActionNotFoundError if it is not there."""
    raise NotImplementedError


def page(tx: Transaction, *, now: int, before: int | None = None, limit: int = 50) -> ActionPage:
    """The audit log."""
    raise NotImplementedError

"""What people do to stored jobs, one or many, on the record.

    action = app.actions.retry(actor="ada", state="dead", error_group="OSError: no route to '…'")
    while app.actions.get(action.id).state == "running": …

An action on a search, or on more jobs than one batch, runs on a thread of this process, 500 jobs a transaction; how far
it is stands in the database, for every process to see. `count` says beforehand how many it would be.
"""

from __future__ import annotations

from typing import Unpack

from embedq.engine import Engine
from embedq.monitor import SearchKeywords
from embedq.storage.actions import Action, ActionPage

# Jobs of one transaction.
BATCH = 500


class Actions:
    """The actions of one app. Each is in the audit log before anything is changed.

    Every verb takes the filters of `Monitor.search` (`ids=[…]` for a selection), and at least one of them. Jobs that
    match and whose state does not allow the verb are counted as skipped.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def retry(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Let dead, cancelled, scheduled, retrying and parked jobs run now, with a fresh count of attempts."""
        raise NotImplementedError

    def run_now(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Let scheduled and retrying jobs run now, as if they were due; attempts go on counting."""
        raise NotImplementedError

    def cancel(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Cancel jobs that have not ended; running ones are asked to stop."""
        raise NotImplementedError

    def delete(self, *, actor: str, cancel_children: bool = False, **filters: Unpack[SearchKeywords]) -> Action:
        """Remove ended and waiting jobs for good, with their attempts and logs. Running ones are skipped.

        Args:
            cancel_children: also jobs that others still wait for: those are cancelled. Otherwise such jobs are skipped.
        """
        raise NotImplementedError

    def move(
        self, *, actor: str, to_queue: str | None = None, priority: int | None = None, **filters: Unpack[SearchKeywords]
    ) -> Action:
        """Give jobs that wait another queue, another priority, or both."""
        raise NotImplementedError

    def record(self, *, actor: str, verb: str, subject: str, error: str | None = None, **details: object) -> Action:
        """Put something in the audit log that was done in another way: a schedule paused, for example."""
        raise NotImplementedError

    def get(self, action_id: int) -> Action:
        """How far an action is. ActionNotFoundError if it is not there (any more)."""
        raise NotImplementedError

    def log(self, *, before: int | None = None, limit: int = 50) -> ActionPage:
        """The audit log, newest first."""
        raise NotImplementedError

    def stop(self, action_id: int) -> Action:
        """Let a running action end after the batch that it is at."""
        raise NotImplementedError

    def resume(self, action_id: int) -> Action:
        """Take up an action that was stopped, failed or whose process died, here, from where it stands."""
        raise NotImplementedError

    def wait(self, action_id: int, timeout: float | None = None) -> Action:
        """Wait until it is not running any more. WaitTimeoutError when it still is after `timeout` seconds."""
        raise NotImplementedError

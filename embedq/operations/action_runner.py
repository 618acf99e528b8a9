"""Runs actions on many jobs, one after another, on a thread that exists only while there are actions."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from embedq.engine.lifecycle import Engine
from embedq.errors import NotStartedError
from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.process.supervision import Supervised
from embedq.storage import actions, bulk, jobs, search_batches
from embedq.storage.actions import Action, ActionState
from embedq.storage.base import Transaction
from embedq.storage.bulk import Changed
from embedq.storage.inspect.filters import Search

logger = get_logger()

# Jobs in one transaction.
BATCH = 500
# The pause between two batches, so that other transactions can write.
PAUSE_SECONDS = 0.01


class ActionRunner:
    """Runs the actions of one app in this process.

    Args:
        notify: called with the ids of the changed jobs after the commit.
    """

    def __init__(self, engine: Engine, notify: Callable[[Sequence[int]], None]) -> None:
        self._engine = engine
        self._notify = notify
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._waiting: deque[Action] = deque()
        self._thread: Supervised | None = None

    def add(self, action: Action) -> None:
        """Queue an action; the thread runs it soon."""
        if self._pid != os.getpid():
            # After a fork the thread and its actions belong to the parent process.
            self._reset()
        with self._lock:
            self._waiting.append(action)
            if self._thread is None:
                self._thread = supervision.start("embedq-actions", self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                action = self._waiting[0]
            try:
                self.run(action)
            except NotStartedError:
                logger.info(
                    "action %d (%s) stopped because the app was closed; it can be resumed", action.id, action.verb
                )
            except Exception:
                logger.exception("action %d (%s) failed; it can be resumed", action.id, action.verb)
            # Only now: if this thread ends unexpectedly, its successor continues this action from its last batch.
            self._waiting.popleft()

    def run(self, action: Action) -> None:
        """Run an action to its end, from its last batch on. Errors are stored in its record.

        Raises:
            NotStartedError: the app was closed in the meantime.
            StorageError: the record cannot be written.
        """
        try:
            self._run(action)
        except NotStartedError:
            raise
        except Exception as error:
            logger.warning("action %d (%s) failed: %s", action.id, action.verb, error)
            self._end(action, ActionState.FAILED, f"{type(error).__name__}: {error}")

    def _run(self, action: Action) -> None:
        database, clock = self._engine.database, self._engine.clock
        assert action.search is not None, "an action on jobs has a search"
        search = Search.of(action.search)
        change = change_of(action.verb, action.details, self._engine)
        cursor: search_batches.BatchCursor | None = database.read(actions.batch_cursor, action.id)
        pause = threading.Event()
        while cursor is not None:
            batch = database.read(search_batches.next_batch, search, cursor, limit=BATCH)
            continues = database.write(
                actions.advance, action, change, batch.job_ids, cursor=batch.then or cursor, now=clock.now()
            )
            if not continues:
                # Stopped, or resumed by another process.
                return
            if batch.job_ids:
                self._notify(batch.job_ids)
            cursor = batch.then
            if cursor is not None:
                pause.wait(PAUSE_SECONDS)
        self._end(action, ActionState.DONE)

    def _end(self, action: Action, state: ActionState, error: str | None = None) -> None:
        self._engine.database.write(actions.end, action, state, now=self._engine.clock.now(), error=error)


def change_of(verb: str, details: dict[str, Any], engine: Engine) -> Callable[[Transaction, Sequence[int]], Changed]:
    """Return the function that applies a verb to a batch."""
    now, retention = engine.clock.now, engine.settings.retention
    if verb == "retry":
        return lambda tx, ids: Changed(jobs.retry_many(tx, ids, now=now()), "it is ready, running, succeeded or awaits")
    if verb == "cancel":
        return lambda tx, ids: Changed(jobs.cancel_many(tx, ids, now=now(), retention=retention), "it has ended")
    if verb == "run":
        return lambda tx, ids: bulk.run_now(tx, ids, now=now())
    if verb == "move":
        return partial(bulk.move, queue=details.get("to_queue"), priority=details.get("priority"))
    if verb == "delete":
        cancel = bool(details.get("cancel_children"))
        return lambda tx, ids: bulk.delete(tx, ids, cancel_children=cancel, now=now(), retention=retention)
    raise ValueError(f"this version of embedq does not know the action {verb!r}")


def process_label() -> str:
    """Return the host name and pid of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"

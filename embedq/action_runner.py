"""Carries out actions on many jobs, one after another, on a thread that is there only while there are some."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from embedq.engine import Engine
from embedq.errors import NotStartedError
from embedq.storage import actions, bulk, jobs, walking
from embedq.storage.actions import Action, ActionState
from embedq.storage.base import Transaction
from embedq.storage.bulk import Changed
from embedq.storage.inspect.filters import Search

logger = logging.getLogger("embedq")

# Jobs of one transaction.
BATCH = 500
# Between two batches, so that others get to write.
PAUSE_SECONDS = 0.01


class ActionRunner:
    """The actions of one app that this process carries out.

    Args:
        tell: told which jobs were changed, once that is durable.
    """

    def __init__(self, engine: Engine, tell: Callable[[Sequence[int]], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._fresh()

    def _fresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[Action] = deque()
        self._thread: threading.Thread | None = None

    def add(self, action: Action) -> None:
        """Carry it out soon."""
        if self._pid != os.getpid():
            # After a fork the thread is the parent's, and so are its actions.
            self._fresh()
        with self._lock:
            self._waiting.append(action)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="embedq-actions", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                action = self._waiting.popleft()
            try:
                self.carry_out(action)
            except NotStartedError:
                logger.info("action %d (%s): the app was closed; it can be taken up again", action.id, action.verb)
            except Exception:
                logger.exception("action %d (%s): it stays where it is, to be taken up again", action.id, action.verb)

    def carry_out(self, action: Action) -> None:
        """Do all of it, from where it stands. Errors are on its record.

        Raises:
            NotStartedError: the app was closed meanwhile.
            StorageError: the record cannot be written.
        """
        try:
            self._carry_out(action)
        except NotStartedError:
            raise
        except Exception as error:
            logger.warning("action %d (%s) failed: %s", action.id, action.verb, error)
            self._end(action, ActionState.FAILED, f"{type(error).__name__}: {error}")

    def _carry_out(self, action: Action) -> None:
        database, clock = self._engine.database, self._engine.clock
        assert action.search is not None, "an action on jobs says which"
        wanted = Search.of(action.search)
        change = change_of(action.verb, action.details, self._engine)
        standing: walking.Standing | None = database.read(actions.stands_at, action.id)
        pause = threading.Event()
        while standing is not None:
            batch = database.read(walking.next_batch, wanted, standing, limit=BATCH)
            goes_on = database.write(
                actions.advance, action, change, batch.job_ids, standing=batch.then or standing, now=clock.now()
            )
            if not goes_on:
                # Stopped, or taken up by another process.
                return
            if batch.job_ids:
                self._tell(batch.job_ids)
            standing = batch.then
            if standing is not None:
                pause.wait(PAUSE_SECONDS)
        self._end(action, ActionState.DONE)

    def _end(self, action: Action, state: ActionState, error: str | None = None) -> None:
        self._engine.database.write(actions.end, action, state, now=self._engine.clock.now(), error=error)


def change_of(verb: str, details: dict[str, Any], engine: Engine) -> Callable[[Transaction, Sequence[int]], Changed]:
    """What a verb does to a batch."""
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
    raise ValueError(f"{verb!r} is nothing that this embedq can do to jobs; a newer one may")


def process_label() -> str:
    """This process, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"

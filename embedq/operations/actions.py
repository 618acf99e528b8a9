"""Actions of users on stored jobs, one or many, recorded in the audit log.

    action = app.actions.retry(actor="ada", state="dead", error_group="OSError: no route to '…'")
    print(app.actions.wait(action.id).changed)

An action on up to 500 ids is complete when the call returns. An action on a search, or on more ids, runs on a thread of
this process (`ActionRunner`), 500 jobs per transaction; its progress is in the database, visible to every process.
`Monitor.count` counts the matching jobs beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

from embedq.engine.job_builder import check_text
from embedq.engine.lifecycle import Engine
from embedq.errors import ConfigurationError, JobStateError, WaitTimeoutError
from embedq.flow.holds import HoldKind
from embedq.job import ENDED, JobState
from embedq.operations.action_runner import BATCH, ActionRunner, process_label
from embedq.operations.monitor import SearchKeywords, as_search
from embedq.operations.pausing import Pausing
from embedq.storage import actions, inspect, search_batches
from embedq.storage.actions import Action, ActionPage, ActionState, NewAction
from embedq.storage.base import Transaction
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.glance import COUNT_CAP, Count

_S = JobState
WAITING = (_S.AWAITING, _S.SCHEDULED, _S.READY, _S.RETRYING, _S.PARKED)
# The states to which each verb applies, and the states that it selects by default.
ALLOWED: dict[str, tuple[JobState, ...]] = {
    "retry": (_S.DEAD, _S.CANCELLED, _S.SCHEDULED, _S.RETRYING, _S.PARKED),
    "run": (_S.SCHEDULED, _S.RETRYING),
    "cancel": (*WAITING, _S.RUNNING),
    "delete": (*WAITING, *sorted(ENDED)),
    "move": WAITING,
}
DEFAULT_STATES = {**ALLOWED, "retry": (_S.DEAD,), "delete": ()}
WAIT_POLL_SECONDS = 0.05


class Actions:
    """The actions of one app. Each is written to the audit log before it changes anything.

    Every verb takes the filters of `Monitor.search` (`ids=[…]` for a selection). Named jobs whose state does not allow
    the verb are counted as skipped.
    """

    def __init__(self, engine: Engine, notify: Callable[[Sequence[int]], None]) -> None:
        self.engine = engine
        self._runner = ActionRunner(engine, notify)

    def retry(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Run jobs again with a new count of attempts: dead jobs, unless other states are given.

        Possible for dead, cancelled, scheduled, retrying and parked jobs.
        """
        return self._start("retry", actor, filters)

    def run_now(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Run scheduled and retrying jobs now, as if they were due; the count of attempts continues."""
        return self._start("run", actor, filters)

    def cancel(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Cancel jobs that have not ended; running jobs are requested to stop."""
        return self._start("cancel", actor, filters)

    def delete(self, *, actor: str, cancel_children: bool = False, **filters: Unpack[SearchKeywords]) -> Action:
        """Delete ended and waiting jobs permanently, with their attempts and logs. Running jobs are skipped.

        Args:
            cancel_children: also delete jobs with waiting children, and cancel those; otherwise such jobs are skipped.
        Raises:
            ConfigurationError: neither states nor ids are given.
        """
        return self._start("delete", actor, filters, cancel_children=cancel_children)

    def move(
        self, *, actor: str, to_queue: str | None = None, priority: int | None = None, **filters: Unpack[SearchKeywords]
    ) -> Action:
        """Change the queue, the priority, or both of waiting jobs.

        Raises:
            ConfigurationError: neither is given, or a value is invalid.
            EnqueueError: the database cannot store the name of the queue.
        """
        from embedq.tasks.options import Options

        if to_queue is None and priority is None:
            raise ConfigurationError("move requires to_queue, priority, or both")
        # Applies the checks of an enqueue.
        Options.parse(queue=to_queue, priority=priority)
        check_text("queue", to_queue)
        return self._start("move", actor, filters, to_queue=to_queue, priority=priority)

    def record(self, *, actor: str, verb: str, subject: str, error: str | None = None, **details: Any) -> Action:
        """Add an entry to the audit log for a change that is not an action, such as a paused schedule.

        Args:
            error: why the change failed.
            details: JSON values.
        """
        state = ActionState.DONE if error is None else ActionState.FAILED
        return self._begin(
            NewAction(
                actor=actor, verb=verb, subject=subject, error=error, details=details, state=state,
                process=process_label(),
            )
        )  # fmt: skip

    def end_hold(self, kind: HoldKind, name: str, *, actor: str) -> bool:
        """End a pause by what `app.holds()` shows of it, also that of a process that is gone; False if it is over."""
        return Pausing(self.engine).end(kind, name, actor=actor)

    def get(self, action_id: int) -> Action:
        """Return an action with its progress. ActionNotFoundError if it does not exist (any more)."""
        return self.engine.database.read(actions.load, action_id, now=self.engine.clock.now())

    def log(self, *, before: int | None = None, limit: int = 50) -> ActionPage:
        """Return a page of the audit log, newest first. Entries are kept for `Settings.audit_retention`."""
        return self.engine.database.read(actions.page, now=self.engine.clock.now(), before=before, limit=limit)

    def stop(self, action_id: int) -> Action:
        """Stop a running action after its current batch."""

        def stop(tx: Transaction) -> None:
            now = self.engine.clock.now()
            found = actions.load(tx, action_id, now=now)
            actions.end(tx, found, ActionState.STOPPED, now=now)

        self.engine.database.write(stop)
        return self.get(action_id)

    def resume(self, action_id: int) -> Action:
        """Resume in this process an action that was stopped, has failed, or whose process has died.

        Raises:
            JobStateError: the action is running or done.
        """
        now = self.engine.clock.now()
        resumed = self.engine.database.write(actions.resume, action_id, process=process_label(), now=now)
        if resumed is None:
            state = self.get(action_id).state.value
            raise JobStateError(f"action {action_id} cannot be resumed: it is {state}, or is not an action on jobs")
        self._runner.add(resumed)
        return resumed

    def wait(self, action_id: int, timeout: float | None = None) -> Action:
        """Wait until an action is no longer running. WaitTimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (action := self.get(action_id)).state is ActionState.RUNNING:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(f"action {action_id} is still running after {timeout:g} s")
            time.sleep(WAIT_POLL_SECONDS)
        return action

    # -- shared by all verbs -------------------------------------------------------------------------------------------

    def _start(self, verb: str, actor: str, filters: SearchKeywords, **details: Any) -> Action:
        search = _with_states(verb, as_search(filters))
        action = self._begin(
            NewAction(
                actor=actor,
                verb=verb,
                subject=describe(search),
                process=process_label(),
                search=search.given,
                details={name: value for name, value in details.items() if value is not None},
                expected=self._expected(search),
            )
        )
        if search.ids is not None and len(search.ids) <= BATCH:
            self._runner.run(action)
            return self.get(action.id)
        self._runner.add(action)
        return action

    def _begin(self, action: NewAction) -> Action:
        if not isinstance(action.actor, str) or not action.actor:
            raise ConfigurationError("actor must be the name of a user, for the audit log")
        return self.get(self.engine.database.write(actions.begin, action, now=self.engine.clock.now()))

    def _expected(self, search: Search) -> Count:
        def count(tx: Transaction) -> Count:
            counts = [inspect.count_search(tx, part) for part in search_batches.parts(search)]
            return Count(number=sum(one.number for one in counts), capped=any(one.capped for one in counts))

        found = self.engine.database.read(count)
        return Count(number=min(found.number, COUNT_CAP), capped=found.capped or found.number > COUNT_CAP)


def _with_states(verb: str, search: Search) -> Search:
    """Restrict a search to the states to which a verb applies."""
    if search.ids is not None:
        return search
    states = search.states or DEFAULT_STATES[verb]
    if not states:
        raise ConfigurationError(f'{verb}: select jobs by state (state="dead") or by ids')
    allowed = tuple(state for state in states if state in ALLOWED[verb])
    if not allowed:
        raise ConfigurationError(
            f"{verb} does not apply to {', '.join(states)} jobs, only to: {', '.join(ALLOWED[verb])}"
        )
    return replace(search, states=allowed)


def describe(search: Search) -> str:
    """Describe a search in words."""
    parts = []
    for name, value in search.given.items():
        if name == "hidden":
            continue
        if name == "ids":
            some = ", ".join(map(str, value[:5]))
            parts.append(f"job {some}" if len(value) == 1 else f"jobs {some}{', …' if len(value) > 5 else ''}")
        elif name == "states":
            parts.append("all" if len(value) == len(JobState) else " or ".join(value))
        else:
            moment = getattr(search, name)
            parts.append(
                f"{name.replace('_', ' ')} {moment.isoformat() if hasattr(moment, 'isoformat') else repr(value)}"
            )
    return "; ".join(parts)

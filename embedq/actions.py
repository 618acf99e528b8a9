"""What people do to stored jobs, one or many, on the record.

    action = app.actions.retry(actor="ada", state="dead", error_group="OSError: no route to '…'")
    print(app.actions.wait(action.id).changed)

Up to 500 jobs that are named are dealt with before the call returns. An action on a search, or on more jobs, runs on a
thread of this process (`ActionRunner`), 500 jobs a transaction; how far it is stands in the database, for every process
to see. `Monitor.count` says beforehand how many it would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

from embedq.action_runner import BATCH, ActionRunner, process_label
from embedq.engine import Engine
from embedq.errors import ConfigurationError, JobStateError, WaitTimeoutError
from embedq.job import ENDED, JobState
from embedq.monitor import SearchKeywords, as_search
from embedq.storage import actions, inspect, walking
from embedq.storage.actions import Action, ActionPage, ActionState, NewAction
from embedq.storage.base import Transaction
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.glance import COUNT_CAP, Count

_S = JobState
WAITING = (_S.AWAITING, _S.SCHEDULED, _S.READY, _S.RETRYING, _S.PARKED)
# The states to which each verb applies, and those that are meant where none is said.
ALLOWED: dict[str, tuple[JobState, ...]] = {
    "retry": (_S.DEAD, _S.CANCELLED, _S.SCHEDULED, _S.RETRYING, _S.PARKED),
    "run": (_S.SCHEDULED, _S.RETRYING),
    "cancel": (*WAITING, _S.RUNNING),
    "delete": (*WAITING, *sorted(ENDED)),
    "move": WAITING,
}
MEANT = {**ALLOWED, "retry": (_S.DEAD,), "delete": ()}
WAIT_POLL_SECONDS = 0.05


class Actions:
    """The actions of one app. Each is in the audit log before anything is changed.

    Every verb takes the filters of `Monitor.search` (`ids=[…]` for a selection). Named jobs whose state does not allow
    the verb are counted as skipped.
    """

    def __init__(self, engine: Engine, tell: Callable[[Sequence[int]], None]) -> None:
        self.engine = engine
        self._runner = ActionRunner(engine, tell)

    def retry(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Let jobs run now, with a fresh count of attempts: dead ones, unless other states are asked for.

        Possible for dead, cancelled, scheduled, retrying and parked jobs.
        """
        return self._do("retry", actor, filters)

    def run_now(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Let scheduled and retrying jobs run now, as if they were due; attempts go on counting."""
        return self._do("run", actor, filters)

    def cancel(self, *, actor: str, **filters: Unpack[SearchKeywords]) -> Action:
        """Cancel jobs that have not ended; running ones are asked to stop."""
        return self._do("cancel", actor, filters)

    def delete(self, *, actor: str, cancel_children: bool = False, **filters: Unpack[SearchKeywords]) -> Action:
        """Remove ended and waiting jobs for good, with their attempts and logs. Running ones are skipped.

        Args:
            cancel_children: also jobs with children that wait: those are cancelled. Otherwise such jobs are skipped.
        Raises:
            ConfigurationError: neither states nor ids are given.
        """
        return self._do("delete", actor, filters, cancel_children=cancel_children)

    def move(
        self, *, actor: str, to_queue: str | None = None, priority: int | None = None, **filters: Unpack[SearchKeywords]
    ) -> Action:
        """Give jobs that wait another queue, another priority, or both.

        Raises:
            ConfigurationError: neither, or what no job can have.
        """
        from embedq.options import Options

        if to_queue is None and priority is None:
            raise ConfigurationError("move takes to_queue, priority, or both")
        # Refuses what an enqueue refuses.
        Options.parse(queue=to_queue, priority=priority)
        return self._do("move", actor, filters, to_queue=to_queue, priority=priority)

    def record(self, *, actor: str, verb: str, subject: str, error: str | None = None, **details: Any) -> Action:
        """Put something in the audit log that was done in another way: a schedule paused, for example.

        Args:
            error: why it could not be done.
            details: plain values.
        """
        state = ActionState.DONE if error is None else ActionState.FAILED
        return self._begin(
            NewAction(
                actor=actor, verb=verb, subject=subject, error=error, details=details, state=state,
                process=process_label(),
            )
        )  # fmt: skip

    def get(self, action_id: int) -> Action:
        """How far an action is. ActionNotFoundError if it is not there (any more)."""
        return self.engine.database.read(actions.load, action_id, now=self.engine.clock.now())

    def log(self, *, before: int | None = None, limit: int = 50) -> ActionPage:
        """The audit log, newest first. It is kept for `Settings.audit_retention`."""
        return self.engine.database.read(actions.page, now=self.engine.clock.now(), before=before, limit=limit)

    def stop(self, action_id: int) -> Action:
        """Let a running action end after the batch that it is at."""

        def stop(tx: Transaction) -> None:
            now = self.engine.clock.now()
            found = actions.load(tx, action_id, now=now)
            actions.end(tx, found, ActionState.STOPPED, now=now)

        self.engine.database.write(stop)
        return self.get(action_id)

    def resume(self, action_id: int) -> Action:
        """Take up an action that was stopped, failed or whose process died, here, from where it stands.

        Raises:
            JobStateError: it is running, or done.
        """
        now = self.engine.clock.now()
        taken = self.engine.database.write(actions.resume, action_id, process=process_label(), now=now)
        if taken is None:
            state = self.get(action_id).state.value
            raise JobStateError(f"action {action_id} cannot be taken up: it is {state}, or was no action on jobs")
        self._runner.add(taken)
        return taken

    def wait(self, action_id: int, timeout: float | None = None) -> Action:
        """Wait until it is not running any more. WaitTimeoutError when it still is after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (action := self.get(action_id)).state is ActionState.RUNNING:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(f"action {action_id} still runs after {timeout:g} s")
            time.sleep(WAIT_POLL_SECONDS)
        return action

    # -- the common way ------------------------------------------------------------------------------------------------

    def _do(self, verb: str, actor: str, filters: SearchKeywords, **details: Any) -> Action:
        wanted = _meant(verb, as_search(filters))
        action = self._begin(
            NewAction(
                actor=actor,
                verb=verb,
                subject=describe(wanted),
                process=process_label(),
                search=wanted.given,
                details={name: value for name, value in details.items() if value is not None},
                expected=self._expected(wanted),
            )
        )
        if wanted.ids is not None and len(wanted.ids) <= BATCH:
            self._runner.carry_out(action)
            return self.get(action.id)
        self._runner.add(action)
        return action

    def _begin(self, action: NewAction) -> Action:
        if not isinstance(action.actor, str) or not action.actor:
            raise ConfigurationError("actor must be a name: the audit log says who did it")
        return self.get(self.engine.database.write(actions.begin, action, now=self.engine.clock.now()))

    def _expected(self, wanted: Search) -> Count:
        def count(tx: Transaction) -> Count:
            counts = [inspect.count_search(tx, part) for part in walking.parts(wanted)]
            return Count(number=sum(one.number for one in counts), capped=any(one.capped for one in counts))

        found = self.engine.database.read(count)
        return Count(number=min(found.number, COUNT_CAP), capped=found.capped or found.number > COUNT_CAP)


def _meant(verb: str, wanted: Search) -> Search:
    """The search with the states to which the verb applies."""
    if wanted.ids is not None:
        return wanted
    states = wanted.states or MEANT[verb]
    if not states:
        raise ConfigurationError(f'{verb}: say which jobs, by state (state="dead") or by ids')
    allowed = tuple(state for state in states if state in ALLOWED[verb])
    if not allowed:
        raise ConfigurationError(
            f"{verb} does not apply to {', '.join(states)} jobs, but to: {', '.join(ALLOWED[verb])}"
        )
    return replace(wanted, states=allowed)


def describe(wanted: Search) -> str:
    """A search in words, for people."""
    said = []
    for name, value in wanted.given.items():
        if name == "hidden":
            continue
        if name == "ids":
            some = ", ".join(map(str, value[:5]))
            said.append(f"job {some}" if len(value) == 1 else f"jobs {some}{', …' if len(value) > 5 else ''}")
        elif name == "states":
            said.append("all" if len(value) == len(JobState) else " or ".join(value))
        else:
            moment = getattr(wanted, name)
            said.append(
                f"{name.replace('_', ' ')} {moment.isoformat() if hasattr(moment, 'isoformat') else repr(value)}"
            )
    return "; ".join(said)

"""Pausing queues, tasks, everything, or one process, with a line in the audit log. What is stored is a `Hold`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from embedq.clock import later, to_datetime, to_micros
from embedq.engine.job_builder import check_text
from embedq.engine.lifecycle import Engine
from embedq.errors import ConfigurationError
from embedq.flow.holds import HoldKind, Holds
from embedq.operations.action_runner import process_label
from embedq.storage import actions, holds, inspect
from embedq.storage.actions import ActionState, NewAction
from embedq.storage.base import Transaction
from embedq.storage.holds import Hold
from embedq.storage.inspect import Server
from embedq.storage.rows import storable
from embedq.tasks.context import current_job
from embedq.tasks.registry import REGISTRY


class Pausing:
    """What `pause`, `resume` and `holds` of one app do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pause(
        self,
        *,
        queue: str | None = None,
        task: Callable[..., Any] | str | None = None,
        process: int | str | None = None,
        until: datetime | timedelta | None = None,
        reason: str = "",
        actor: str | None = None,
    ) -> Hold:
        """See `QueueVerbs.pause`."""
        kind, name, subject = self._target(queue, task, process)
        now = self._engine.clock.now()
        ends = _moment(until, now)
        if not isinstance(reason, str):
            raise ConfigurationError(f"reason={reason!r} must be a text")
        by = actor_name(actor)
        action = NewAction(
            actor=by, verb="pause", subject=subject, process=process_label(), state=ActionState.DONE,
            details={"until": None if ends is None else to_datetime(ends).isoformat(), "reason": reason},
        )  # fmt: skip

        def pause(tx: Transaction) -> tuple[list[Hold], Holds]:
            stored = holds.put(tx, kind, name, until=ends, reason=storable(reason), actor=storable(by), now=now)
            actions.begin(tx, action, now=now)
            return stored, holds.snapshot(tx)

        stored, snapshot = self._engine.database.write(pause)
        self._engine.hold(snapshot)
        return next(hold for hold in stored if (hold.kind, hold.name) == (kind, name))

    def resume(
        self,
        *,
        queue: str | None = None,
        task: Callable[..., Any] | str | None = None,
        process: int | str | None = None,
        actor: str | None = None,
    ) -> bool:
        """See `QueueVerbs.resume`."""
        kind, name, subject = self._target(queue, task, process)
        return self.end(kind, name, actor=actor, subject=subject)

    def end(self, kind: HoldKind, name: str, *, actor: str | None = None, subject: str | None = None) -> bool:
        """End a hold by its kind and name; False if there is none."""
        now = self._engine.clock.now()
        action = NewAction(
            actor=actor_name(actor), verb="resume", subject=subject or f"{kind} {name}".strip(),
            process=process_label(), state=ActionState.DONE, details={},
        )  # fmt: skip

        def resume(tx: Transaction) -> tuple[bool, Holds]:
            ended = holds.end(tx, kind, name, now=now)
            if ended:
                actions.begin(tx, action, now=now)
            return ended, holds.snapshot(tx)

        ended, snapshot = self._engine.database.write(resume)
        self._engine.hold(snapshot)
        return ended

    def all(self) -> list[Hold]:
        """Return what is paused now: everything, then processes, queues and tasks, each by name."""
        return self._engine.database.read(holds.in_force, now=self._engine.clock.now())

    def _target(
        self, queue: str | None, task: Callable[..., Any] | str | None, process: int | str | None
    ) -> tuple[HoldKind, str, str]:
        """Return kind, name and, for people, what it is."""
        given = [name for name, value in (("queue", queue), ("task", task), ("process", process)) if value is not None]
        if len(given) > 1:
            raise ConfigurationError(f"{' and '.join(given)}: pause and resume take one of them; call twice for both")
        if process is not None:
            server = self._server(process)
            return HoldKind.PROCESS, server.uuid, f"process {server.hostname}:{server.pid}"
        if not given:
            return HoldKind.EVERYTHING, "", "everything"
        kind, name = HoldKind.QUEUE, queue
        if task is not None:
            kind, name = HoldKind.TASK, task if isinstance(task, str) else REGISTRY.wrap(task).name
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"{given[0]}={name!r} must be the name of a {given[0]}")
        check_text(given[0], name)
        return kind, name, f"{kind} {name}"

    def _server(self, process: int | str) -> Server:
        """Return the process with this number, UUID, or host name and process id (`web-1:4711`)."""
        for server in self._engine.database.read(inspect.servers):
            if str(process) in (str(server.id), server.uuid, f"{server.hostname}:{server.pid}"):
                return server
        raise ConfigurationError(
            f"no process {process!r} runs jobs; app.servers(), or embedq servers, lists them: name one by its number, "
            "or as host:pid"
        )


def actor_name(given: str | None) -> str:
    """Return the name for the audit log: as given, or the running job, or this process."""
    if given is not None:
        if not isinstance(given, str) or not given:
            raise ConfigurationError("actor must be the name of a user, for the audit log")
        return given
    job = current_job(None)
    return process_label() if job is None else f"job {job.id}"


def _moment(until: datetime | timedelta | None, now: int) -> int | None:
    """Return the end of a pause in microseconds."""
    if until is None:
        return None
    try:
        if isinstance(until, datetime):
            moment = to_micros(until)
        elif isinstance(until, timedelta):
            moment = later(now, until)
        else:
            raise ValueError("give an aware datetime, or a timedelta from now")
    except ValueError as error:
        raise ConfigurationError(f"until={until!r}: {error}") from None
    if moment <= now:
        raise ConfigurationError(f"until={until!r} is not in the future; to end a pause, resume it")
    return moment

"""The verbs of flow control: pauses and limits; see `verbs`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from embedq.app.target import AppVerbs

if TYPE_CHECKING:
    from embedq.flow.limits import Limit
    from embedq.storage.holds import Hold
    from embedq.storage.limit_use import LimitUse


class FlowVerbs(AppVerbs):
    """The verbs that control which jobs may run, and how many."""

    __slots__ = ()

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
        """Let no job start of a queue, of a task, or at all; or none in one process. Running jobs continue.

        Stored, so that it survives deployments, and holds in all processes. Jobs can be enqueued meanwhile; delayed,
        retrying and recurring jobs wait too. What is paused already is paused by the latest call.

        Args:
            queue, task: one of them at most; neither for everything. A task is a function, or a name.
            process: a process to make quiet: its number in `servers()`, or "host:pid". It claims nothing, finishes what
                it runs, and is quiet for as long as it lives, or until it is resumed.
            until: an aware datetime, or a timedelta from now, at which the pause ends by itself; None for never.
            reason: for people, and the audit log.
            actor: the name of a user, for the audit log; otherwise the running job, or this process.
        Raises:
            ConfigurationError: more than one of them, a time that has passed, or no such process.
        """
        return self._app()._parts.pausing.pause(
            queue=queue, task=task, process=process, until=until, reason=reason, actor=actor
        )

    def resume(
        self,
        *,
        queue: str | None = None,
        task: Callable[..., Any] | str | None = None,
        process: int | str | None = None,
        actor: str | None = None,
    ) -> bool:
        """End the pause of a queue, a task, a process, or, without any of them, that of everything.

        `resume()` ends what `pause()` began, not the pauses of single queues and tasks. Arguments as for `pause`.
        Returns:
            False if it was not paused.
        """
        return self._app()._parts.pausing.resume(queue=queue, task=task, process=process, actor=actor)

    def holds(self) -> list[Hold]:
        """Return what is paused, with the reason and the end."""
        return self._app()._parts.pausing.all()

    def set_limit(
        self, limit: Limit | str, *, total: int | None = None, each: int | None = None, actor: str | None = None
    ) -> None:
        """Change a limit for all processes, now and after the next deployment: what is set here wins over the code.

        Running jobs continue; with 0 no further one starts.

        Args:
            limit: made by `embedq.limit`, or a name: of a shared limit, or of a function for its own.
            total, each: how many may run at once, in all and for each key; None lets the code's value apply (again).
            actor: the name of a user, for the audit log; otherwise the running job, or this process.
        Raises:
            ConfigurationError: there is no such limit, or a number cannot be.
        """
        self._app()._parts.limiting.change(limit, total=total, each=each, actor=actor)

    def limits(self) -> list[LimitUse]:
        """Return the limits that are stored: their values, what runs and waits under each, and keys that are full."""
        return self._app()._parts.limiting.all()

    def why_waiting(self, job_id: int) -> str | None:
        """Return in words why a job that is due has not started: a pause, a limit; None if it lacks only a worker."""
        return self._app()._parts.limiting.why_waiting(job_id)

"""The verbs of recurring jobs; see `verbs`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, tzinfo
from typing import Any, ParamSpec, overload

from embedq.app.target import AppVerbs
from embedq.scheduling.misfire import Misfire
from embedq.scheduling.overlap import Overlap
from embedq.scheduling.schedule import Cron, Every
from embedq.tasks.arguments import own_keywords
from embedq.tasks.handle import JobHandle
from embedq.tasks.registry import REGISTRY
from embedq.tasks.task import Call

P = ParamSpec("P")
When = str | Cron | Every | timedelta


class RecurringVerbs(AppVerbs):
    """The verbs that add, trigger, pause and remove recurring jobs."""

    __slots__ = ()

    # A type cannot have keywords of its own beside those of a ParamSpec. Without any of them, the function's arguments
    # are checked; with them, those of `recurring(name, when, embedq.call(function, 1), grace=…)`.
    @overload
    def recurring(
        self,
        name: str,
        when: When,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: str | tzinfo,
        misfire: str | Misfire = "once",
        grace: timedelta | None = None,
        overlap: Overlap = "skip",
        **kwargs: Any,
    ) -> None: ...
    @overload
    def recurring(
        self,
        name: str,
        when: When,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: None = None,
        misfire: str | Misfire,
        grace: timedelta | None = None,
        overlap: Overlap = "skip",
        **kwargs: Any,
    ) -> None: ...
    @overload
    def recurring(
        self,
        name: str,
        when: When,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: None = None,
        misfire: str | Misfire = "once",
        grace: timedelta | None,
        overlap: Overlap = "skip",
        **kwargs: Any,
    ) -> None: ...
    @overload
    def recurring(
        self,
        name: str,
        when: When,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: None = None,
        misfire: str | Misfire = "once",
        grace: timedelta | None = None,
        overlap: Overlap,
        **kwargs: Any,
    ) -> None: ...
    @overload
    def recurring(
        self, name: str, when: When, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...
    def recurring(
        self,
        name: str,
        when: When,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: Any = None,
        misfire: Any = "once",
        grace: Any = None,
        overlap: Any = "skip",
        **kwargs: Any,
    ) -> None:
        """Add a recurring job, or update it. Call it in every process at every start.

        A call before `start` or `connect` takes effect then.

        Args:
            name: identifies the schedule, permanently.
            when: a cron expression, `Cron`, `every(…)` or a timedelta.
            function: a function or task, `task.options(queue=…)` for options, and its arguments; or an `embedq.call`.
            timezone: an IANA name for a cron expression, or its ZoneInfo; UTC unless given.
            misfire: what happens to occurrences that were missed because no process was running: "once" (one late
                run), "skip", "all", or an `embedq.Misfire`.
            grace: how late a run may be at all.
            overlap: what happens to an occurrence while an earlier run has not ended: "skip", "buffer" (one waits for
                its end), "buffer_all" (each waits for the one before), "cancel_other" or "allow".
        Raises:
            ScheduleError: a schedule that can never work.
            EnqueueError: the function or its arguments cannot be stored.
        """
        with own_keywords("recurring", function, "timezone", "misfire", "grace", "overlap"):
            call = REGISTRY.call(function, args, kwargs)
            self._put_recurring(name, when, call, timezone=timezone, misfire=misfire, grace=grace, overlap=overlap)

    def _put_recurring(
        self,
        name: str,
        when: When,
        call: Call[Any],
        *,
        timezone: str | tzinfo | None,
        misfire: str | Misfire,
        grace: timedelta | None,
        overlap: Overlap,
    ) -> None:
        self._app()._parts.recurring.put(
            name, when, call, timezone=timezone, misfire=misfire, grace=grace, overlap=overlap
        )

    def sync_recurring(self, *, prune: bool = False, group: str = "app") -> list[str]:
        """Compare the stored recurring jobs with those that the code declares. Call it after the last declaration.

        The recurring jobs that this process has declared by now belong to the group. Stored ones of the group that it
        has not declared are marked as missing, and continue to fire. Those that are added later, at run time, belong
        to no group, and are left alone. Before `start` or `connect` it takes effect then, and returns nothing yet.

        Args:
            prune: remove what is missing.
            group: programs that share the database and declare different recurring jobs have a group each.
        Returns:
            The names of those that are missing.
        """
        return self._app()._parts.recurring.sync(prune=prune, declared_in=group)

    def trigger_recurring(self, name: str) -> JobHandle[Any]:
        """Run a recurring job now, in addition to its schedule. ScheduleNotFoundError if there is none of that name."""
        parts = self._app()._parts
        return parts.stored.handle(parts.recurring.trigger(name))

    def pause_recurring(self, name: str) -> None:
        """Pause a recurring job until it is resumed. ScheduleNotFoundError if there is none of that name."""
        self._app()._parts.recurring.pause(name)

    def resume_recurring(self, name: str) -> None:
        """Resume it, from its next occurrence on. ScheduleNotFoundError if there is none of that name."""
        self._app()._parts.recurring.resume(name)

    def remove_recurring(self, name: str) -> None:
        """Delete a recurring job, but not its jobs. ScheduleNotFoundError if there is none of that name."""
        self._app()._parts.recurring.remove(name)

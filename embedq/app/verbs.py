"""The verbs that enqueue: those of `EmbedQ`, of the module `embedq`, of `options(…)` and of the Flask extension.

Each is defined once, here. A class that inherits them returns the app they act on (`_app`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from embedq.app.parts import AppParts
from embedq.engine.transactions import Block
from embedq.scheduling.misfire import Misfire
from embedq.scheduling.schedule import Cron, Every
from embedq.tasks.arguments import own_keywords
from embedq.tasks.handle import JobHandle
from embedq.tasks.options import OptionKeywords, Options
from embedq.tasks.registration import register
from embedq.tasks.registry import REGISTRY
from embedq.tasks.task import Call, Enqueuer, Task

if TYPE_CHECKING:
    from embedq.flow.limits import Limit
    from embedq.storage.holds import Hold
    from embedq.storage.limit_use import LimitUse

P = ParamSpec("P")
R = TypeVar("R")
# What a call of an `async def` function returns; its job's result is the R in it.
Awaited = Coroutine[Any, Any, R]
When = str | Cron | Every | timedelta


class VerbsTarget(Enqueuer, Protocol):
    """An app, as the verbs need it."""

    _parts: AppParts


class EnqueueVerbs:
    """The verbs that enqueue one call."""

    __slots__ = ()

    def _app(self) -> VerbsTarget:
        """Return the app that the verbs act on."""
        raise NotImplementedError

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Return a call, which every verb takes in place of a function and its arguments.

        Its arguments may have any name, including those of a verb's own parameters:
        `job.then(embedq.call(switch, on=True), on="failure")`.

        Raises:
            SignatureError: the arguments do not fit.
        """
        return REGISTRY.call(function, args, kwargs)

    @overload
    def enqueue(self, function: Callable[P, Awaited[R]], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @overload
    def enqueue(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    def enqueue(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Run `function(*args, **kwargs)` in the background as soon as a worker is free.

        Durable when this returns.
        Raises:
            EnqueueError: the function or its arguments cannot be stored, or do not fit each other.
            StorageUncertainError: the connection was lost during the commit; the job may or may not be stored.
            StorageError: the database could not store the job. In all other cases nothing was written.
        """
        return self._app()._parts.enqueueing.submit(self.call(function, *args, **kwargs))

    @overload
    def enqueue_in(
        self, delay: timedelta | float, function: Callable[P, Awaited[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    def enqueue_in(
        self, delay: timedelta | float, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    def enqueue_in(
        self, delay: timedelta | float, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> JobHandle[Any]:
        """Run it `delay` (a timedelta, or seconds) from now."""
        enqueueing = self._app()._parts.enqueueing
        return enqueueing.submit(self.call(function, *args, **kwargs), run_at=enqueueing.due_in(delay))

    @overload
    def enqueue_at(
        self, moment: datetime, function: Callable[P, Awaited[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    def enqueue_at(
        self, moment: datetime, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    def enqueue_at(
        self, moment: datetime, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> JobHandle[Any]:
        """Run it at `moment`, an aware datetime; ValueError if naive. A moment in the past means now."""
        return self._app()._parts.enqueueing.submit(self.call(function, *args, **kwargs), run_at=moment)

    @overload
    async def aenqueue(
        self, function: Callable[P, Awaited[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    async def aenqueue(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    async def aenqueue(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Enqueue from `async def` request handlers: the event loop does not wait for the disk."""
        return await self._app()._parts.enqueueing.asubmit(self.call(function, *args, **kwargs))


class BoundOptions(EnqueueVerbs):
    """An app's verbs, with options."""

    __slots__ = ("_options", "_target")

    def __init__(self, target: VerbsTarget, options: Options) -> None:
        self._target = target
        self._options = options

    def _app(self) -> VerbsTarget:
        return self._target

    def task(self, function: Callable[P, R], /) -> Task[P, R]:
        """Return the function with these options, for verbs that take a function: `job.then`, `recurring`."""
        return REGISTRY.wrap(function).with_options(self._options)

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Return a call with these options; see `EmbedQ.call`."""
        call = super().call(function, *args, **kwargs)
        return replace(call, task=call.task.with_options(self._options))


class QueueVerbs(EnqueueVerbs):
    """All verbs that enqueue, register or schedule."""

    __slots__ = ()

    @overload
    def job(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def job(
        self, *, name: str | None = None, aliases: Sequence[str] = (), **options: Unpack[OptionKeywords]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    # mypy does not see that **options takes what an overload's Unpack[…] names.
    def job(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # type: ignore[misc]
        """Register a function as a job: `@embedq.job` or `@embedq.job(queue="mail", retry=…)`.

        Args:
            name: under which its jobs are stored; `module:qualname` unless given.
            aliases: names that it had before, so that jobs stored under them still find it.
            options: the fields of `embedq.Options`.
        Raises:
            ConfigurationError: an invalid option, or a name that another function has.
        """
        return register(REGISTRY, function, options, enqueuer=self._app)

    def by_name(self, name: str) -> Task[..., Any]:
        """Return the task of that name, to enqueue without importing its function.

            embedq.by_name("shop.mail:send").enqueue(7)

        Every verb that takes a function accepts it too. If the function is registered in this process, the arguments
        are checked against it; otherwise only that they can be stored. A process that has registered the name runs the
        job; until there is one, the job is `parked`.

        Args:
            name: `module:qualname` of a function with `@embedq.job`, or the name that the decorator was given.
        Raises:
            ConfigurationError: it is not a name.
        """
        return REGISTRY.by_name(name, self._app)

    def options(self, **given: Unpack[OptionKeywords]) -> BoundOptions:
        """Return the verbs with options for one enqueue: `embedq.options(queue="low", timeout=60).enqueue(f, 1)`."""
        return BoundOptions(self._app(), Options.parse(**given))

    @overload
    def enqueue_many(self, calls: Iterable[Call[Awaited[R]]]) -> list[JobHandle[R]]: ...
    @overload
    def enqueue_many(self, calls: Iterable[Call[R]]) -> list[JobHandle[R]]: ...
    def enqueue_many(self, calls: Iterable[Call[Any]]) -> list[JobHandle[Any]]:
        """Enqueue many calls, made by `embedq.call`, in one transaction: all of them, or none."""
        return self._app()._parts.enqueueing.submit_many(calls)

    def transaction(self, connection: Any) -> Block:
        """Enqueue in the application's own transaction: `with embedq.transaction(session): send.enqueue(1)`.

        Jobs that this code enqueues inside the `with` are written through that connection. They exist when the
        application commits, and never if it rolls back; embedq does neither. See docs/transactions.md.

        Args:
            connection: a driver's connection to the app's database (sqlite3, psycopg, psycopg2, PyMySQL, mysqlclient);
                SQLAlchemy's Connection, Session or scoped_session, or its asynchronous ones, with `aenqueue`; Django's.
        Raises:
            TransactionError: it is something else. Also raised by each enqueue if the connection is to another
                database, is closed, or has no open transaction and commits each statement by itself.
        """
        return self._app()._parts.enqueueing.transaction(connection)

    def on_commit(self, connection: Any) -> Block:
        """Enqueue after the open transaction has been committed, and not if it is rolled back.

        For an application that has its data in another database than the jobs. Until then the handles have no id. A
        process that dies between the two commits loses the jobs.

        Args:
            connection: a SQLAlchemy Session, or Django's connection. For others there is `hold`.
        """
        return self._app()._parts.enqueueing.on_commit(connection)

    def hold(self) -> Block:
        """Keep the jobs that are enqueued inside the `with`, and write them in one transaction at its end.

        An exception discards them. Put it around a transaction that has no commit hooks:
        `with embedq.hold(), connection:`. A process that dies between the two commits loses the jobs.
        """
        return self._app()._parts.enqueueing.hold()

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
        Raises:
            ScheduleError: a schedule that can never work.
            EnqueueError: the function or its arguments cannot be stored.
        """
        with own_keywords("recurring", function, "timezone", "misfire", "grace"):
            call = self.call(function, *args, **kwargs)
            self._put_recurring(name, when, call, timezone=timezone, misfire=misfire, grace=grace)

    def _put_recurring(
        self,
        name: str,
        when: When,
        call: Call[Any],
        *,
        timezone: str | tzinfo | None,
        misfire: str | Misfire,
        grace: timedelta | None,
    ) -> None:
        self._app()._parts.recurring.put(name, when, call, timezone=timezone, misfire=misfire, grace=grace)

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

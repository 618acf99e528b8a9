"""The app: one queue as this process sees it, and everything that can be asked of it.

    app = EmbedQ("sqlite:///app.db")
    app.start()                 # migrate, and run jobs on threads of this process
    app.connect()               # or: migrate, and only enqueue and read

The module-level functions of `embedq` are the methods of one default app. What the verbs do is in `engine` (life),
`enqueueing`, `control` (stored jobs) and `recurring`; here they are only put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar, Unpack, overload

from embedq.clock import Clock
from embedq.config import Settings
from embedq.control import Filters, JobControl, Progress
from embedq.drafting import Drafting
from embedq.engine import Engine
from embedq.enqueueing import Enqueueing
from embedq.handle import JobHandle
from embedq.job import Job, JobId, JobState, Trigger
from embedq.middleware import EnqueueMiddleware, Middleware
from embedq.misfire import Misfire
from embedq.options import OptionKeywords, Options
from embedq.recurring import RecurringJobs, Schedule
from embedq.schedule import Cron, Every
from embedq.storage import inspect
from embedq.storage.base import Database
from embedq.storage.engines import ApplicationEngine
from embedq.storage.inspect import COUNT_CAP, Occurrence, Server, Stats
from embedq.task import Call, Task
from embedq.transactions import Block

if TYPE_CHECKING:
    from embedq.actions import Actions
    from embedq.monitor import Monitor

P = ParamSpec("P")
R = TypeVar("R")


class EmbedQ:
    """A queue in one database. Several may live in one process.

    Args:
        url: `sqlite:///app.db`, or a SQLAlchemy engine; $EMBEDQ_URL, or `sqlite:///embedq.db`, when not given.
        clock: where the time comes from; tests give their own.
        enqueue_middleware, middleware: see `embedq.middleware`.
        settings: the fields of `embedq.Settings`.
    Raises:
        ConfigurationError: a setting that cannot work.
    """

    # The parts that `embedq.testing` has others for.
    _engine_type: ClassVar[type[Engine]] = Engine
    _control_type: ClassVar[type[JobControl]] = JobControl
    _enqueueing_type: ClassVar[type[Enqueueing]] = Enqueueing
    _recurring_type: ClassVar[type[RecurringJobs]] = RecurringJobs

    def __init__(
        self,
        url: str | Path | ApplicationEngine | None = None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> None:
        self.engine = self._engine_type(when_connected=lambda: self._recurring.write_pending())
        self._drafting = Drafting(self.engine)
        self._control = self._control_type(self.engine, self._enqueue_continuation)
        self._enqueueing = self._enqueueing_type(self.engine, self._drafting, self._control)
        self._recurring = self._recurring_type(self.engine, self._drafting)
        self._monitor: Monitor | None = None
        self._actions: Actions | None = None
        self.configure(url, clock=clock, enqueue_middleware=enqueue_middleware, middleware=middleware, **settings)

    def configure(
        self,
        url: str | Path | ApplicationEngine | None = None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> Self:
        """Set everything anew, as the constructor does; only before `start` or `connect`, or to what it is already."""
        self.engine.configure(
            url, clock=clock, enqueue_middleware=enqueue_middleware, middleware=middleware, **settings
        )
        return self

    def keywords(self) -> dict[str, Any]:
        """The keywords that make an app like this one, to enqueue from another process."""
        return {**self.engine.settings.keywords(), "enqueue_middleware": list(self.engine.enqueue_middleware)}

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start running jobs in this process. A second call changes nothing.

        Also a context manager: `with app.start(): …` stops at the end.
        Raises:
            StorageError: the database cannot be opened or brought up to date; nothing was started.
        """
        self.engine.start()
        return self

    def connect(self, *, migrate: bool = True) -> Self:
        """Open the database, bringing its schema up to date, to enqueue and read; no jobs run here.

        Args:
            migrate: False creates and changes nothing, and fails where that would be needed.
        Raises:
            StorageMissingError: `migrate=False`, and the database is not there or its schema is not up to date.
        """
        self.engine.connect(migrate=migrate)
        return self

    def migrate(self) -> list[str]:
        """Bring the schema up to date, creating the database if it is not there; return the migrations applied."""
        return self.engine.migrate()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop running jobs here, in good order. Nothing is lost: what does not end goes back to the queue.

        Args:
            timeout: how long running jobs may take to end; the setting `stop_timeout` when None.
        Returns:
            False when a job does not yield; it keeps running, and keeps its claim.
        """
        return self.engine.stop(timeout)

    def close(self) -> None:
        """`stop`, and close the database. The app can be connected or started again."""
        self.engine.close()

    @property
    def started(self) -> bool:
        """Whether jobs run in this process."""
        return self.engine.runtime is not None

    @property
    def settings(self) -> Settings:
        """What it was configured with."""
        return self.engine.settings

    @property
    def clock(self) -> Clock:
        """Where its time comes from."""
        return self.engine.clock

    @property
    def database(self) -> Database:
        """The open database. NotStartedError before `start` or `connect`."""
        return self.engine.database

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "started" if self.started else "connected" if self.engine.connected else "idle"
        return f"<EmbedQ {self.settings.database} {state}>"

    # -- enqueueing ----------------------------------------------------------------------------------------------------

    @overload
    def job(self, job_id: int, /) -> JobHandle: ...
    @overload
    def job(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def job(
        self, *, name: str | None = None, aliases: Sequence[str] = (), **options: Unpack[OptionKeywords]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    # mypy does not see that **options takes what an overload's Unpack[…] names.
    def job(self, target: int | Callable[..., Any] | None = None, /, **options: Any) -> Any:  # type: ignore[misc]
        """With a function, or as a decorator, register a job; with an id, a handle on the stored one.

            @app.job(queue="mail", retry=Retry(attempts=5))
            def send(user_id: int) -> None: ...

            app.job(42).retry()

        Args:
            name: under which its jobs are stored; `module:qualname` unless given.
            aliases: names it had before, so that jobs stored under them still find it.
            options: the fields of `embedq.Options`.
        Raises:
            ConfigurationError: an option that cannot work, or a name that another function has.
            JobNotFoundError: there is no job of that id.
        """
        if isinstance(target, int):
            job_id = JobId(target)
            self._control.job_state(job_id)
            return self._control.handle(job_id)
        return self.register(target, options, enqueuer=lambda: self)

    def register(
        self, function: Callable[..., Any] | None, options: dict[str, Any], *, enqueuer: Callable[[], EmbedQ]
    ) -> Any:
        """The body of `@job`: a task, or the decorator that makes one, that enqueues to the app `enqueuer` gives."""
        return self._drafting.register(function, options, enqueuer=enqueuer)

    def enqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run `function(*args, **kwargs)` in the background as soon as a worker is free.

        Durable when this returns.
        Raises:
            EnqueueError: the function or its arguments cannot be stored, or do not fit each other.
            StorageUncertainError: the connection was lost in the commit: it may or may not have been written.
            StorageError: the database could not take it. In all other cases nothing was written.
        """
        return self._enqueueing.submit(self.call(function, *args, **kwargs))

    def enqueue_in(
        self, delay: timedelta | float, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """Run it `delay` (a timedelta, or seconds) from now."""
        return self._enqueueing.submit(self.call(function, *args, **kwargs), run_at=self.due_in(delay))

    def enqueue_at(
        self, moment: datetime, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """Run it at `moment`, an aware datetime; ValueError if naive. One that has passed means now."""
        return self._enqueueing.submit(self.call(function, *args, **kwargs), run_at=moment)

    async def aenqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """`enqueue` for `async def` request handlers: the event loop is not blocked by the disk."""
        return await self._enqueueing.asubmit(self.call(function, *args, **kwargs))

    def enqueue_many(self, calls: Iterable[Call]) -> list[JobHandle]:
        """Enqueue many calls in one transaction: all of them, or none."""
        return self._enqueueing.submit_many(calls)

    def call(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call, to hand to `enqueue_many`. SignatureError if the arguments do not fit."""
        return self.engine.registry.wrap(function).call(*args, **kwargs)

    def options(self, **given: Unpack[OptionKeywords]) -> BoundOptions:
        """Options for one enqueue: `app.options(queue="low", timeout=60).enqueue(f, 1)`."""
        return BoundOptions(self, Options.parse(**given))

    def transaction(self, connection: Any) -> Block:
        """Enqueue in the application's own transaction: `with app.transaction(session): send.enqueue(1)`.

        Whatever this code enqueues inside the `with` is written through that connection. It exists when the application
        commits, and never if it rolls back; embedq does neither. See docs/transactions.md.

        Args:
            connection: a driver's connection to the app's database (sqlite3, psycopg, psycopg2, PyMySQL, mysqlclient);
                SQLAlchemy's Connection, Session or scoped_session, or its asynchronous ones, with `aenqueue`; Django's.
        Raises:
            TransactionError: something else. Also from each enqueue: the connection is to another database, closed, or
                has no transaction open and commits each statement by itself.
        """
        return self._enqueueing.transaction(connection)

    def on_commit(self, connection: Any) -> Block:
        """Enqueue after the transaction that is open has been committed, and not if it is rolled back.

        For an application whose data is in another database than the jobs. Until then the handles have no id. A process
        that dies between the two commits loses the jobs.

        Args:
            connection: a SQLAlchemy Session, or Django's connection. For others there is `hold`.
        """
        return self._enqueueing.on_commit(connection)

    def hold(self) -> Block:
        """Hold what is enqueued inside the `with`, and write it in one transaction when that is left.

        An exception drops it. Put it around a transaction whose commit nobody tells of: `with app.hold(), connection:`.
        A process that dies between the two commits loses the jobs.
        """
        return self._enqueueing.hold()

    def submit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """Enqueue one call, due at an aware datetime or now."""
        return self._enqueueing.submit(call, run_at=run_at)

    async def asubmit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """`submit` without blocking the event loop."""
        return await self._enqueueing.asubmit(call, run_at=run_at)

    def due_in(self, delay: timedelta | float) -> datetime:
        """The moment that is `delay` (a timedelta, or seconds) from now. ValueError if it is no duration."""
        return self._enqueueing.due_in(delay)

    def _enqueue_continuation(
        self,
        parent_id: JobId,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        trigger: Trigger,
    ) -> JobHandle:
        return self._enqueueing.submit_continuation(self.call(function, *args, **kwargs), parent_id, trigger)

    # -- recurring -----------------------------------------------------------------------------------------------------

    def recurring(
        self,
        name: str,
        when: str | Cron | Every | timedelta,
        function: Callable[..., Any],
        /,
        *args: Any,
        timezone: str | None = None,
        misfire: str | Misfire = "once",
        grace: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a recurring job, or bring it up to date. Call it in every process at every start.

        Called before `start` or `connect`, it is remembered until then.

        Args:
            name: identifies the schedule, for ever.
            when: a cron expression, `Cron`, `every(…)` or a timedelta.
            function: a function or task; `task.options(queue=…)` for options. Its arguments follow.
            timezone: an IANA name for a cron expression; UTC unless given.
            misfire: what becomes of occurrences that no process was there for: "once" (one late run), "skip", "all", or
                an `embedq.Misfire`.
            grace: how late a run may be at all.
        Raises:
            ScheduleError: a schedule that can never work.
            EnqueueError: the function or its arguments cannot be stored.
        """
        call = self.call(function, *args, **kwargs)
        self._recurring.put(name, when, call, timezone=timezone, misfire=misfire, grace=grace)

    def trigger_recurring(self, name: str) -> JobHandle:
        """Run a recurring job now, besides its schedule. ScheduleNotFoundError if there is none of that name."""
        return self._control.handle(self._recurring.trigger(name))

    def pause_recurring(self, name: str) -> None:
        """Let a recurring job rest until it is resumed. ScheduleNotFoundError if there is none of that name."""
        self._recurring.pause(name)

    def resume_recurring(self, name: str) -> None:
        """Let it fire again, from its next occurrence on. ScheduleNotFoundError if there is none of that name."""
        self._recurring.resume(name)

    def remove_recurring(self, name: str) -> None:
        """Forget a recurring job. Jobs that it has made stay. ScheduleNotFoundError if there is none of that name."""
        self._recurring.remove(name)

    # -- looking, and acting on what is found --------------------------------------------------------------------------

    def jobs(
        self,
        *,
        state: JobState | str | None = None,
        before: int | None = None,
        limit: int = 100,
        **filters: Unpack[Filters],
    ) -> list[Job]:
        """Stored jobs that match all that is given, newest first.

        Args:
            before: an id: only older jobs, for the next page.
            filters: `queue`, `name`, `tag`, `schedule`, `error` (a part of the last error's text), `argument` (a part
                of the stored arguments), `parent` (an id), `created_from`, `created_to`, `finished_from`,
                `finished_to` (aware datetimes).
        """
        return self._control.find(state, before=before, limit=limit, **filters)

    def count_jobs(
        self, *, state: JobState | str | None = None, cap: int = COUNT_CAP, **filters: Unpack[Filters]
    ) -> int:
        """How many jobs match, counted up to `cap`; filters as for `jobs`."""
        return self._control.count(state, cap=cap, **filters)

    def retry_all(
        self,
        *,
        state: JobState | str = JobState.DEAD,
        progress: Progress | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Retry every job that matches: dead letters unless another state is asked for; return how many.

        Args:
            progress: told, a few hundred jobs at a time, how many more have been dealt with.
            filters: as for `jobs`.
        """
        return self._control.retry_all(state, progress, **filters)

    def cancel_all(
        self,
        *,
        state: JobState | str | None = None,
        progress: Progress | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Cancel every job that matches and has not ended; return how many. Running ones are asked to stop.

        Args:
            progress: told, a few hundred jobs at a time, how many more have been dealt with.
            filters: as for `jobs`.
        """
        return self._control.cancel_all(state, progress, **filters)

    @property
    def monitor(self) -> Monitor:
        """All there is to see: searches by page, the overview, history, queues, functions, servers, a calendar."""
        # A test's stand-in has another engine.
        if self._monitor is None or self._monitor.engine is not self.engine:
            # Imported here: most processes never look.
            from embedq.monitor import Monitor

            self._monitor = Monitor(self.engine, self._recurring)
        return self._monitor

    @property
    def actions(self) -> Actions:
        """What people do to many jobs, in the background and on the record: retry, cancel, delete, move."""
        if self._actions is None or self._actions.engine is not self.engine:
            from embedq.actions import Actions

            self._actions = Actions(self.engine, self._control.tell)
        return self._actions

    def stats(self) -> Stats:
        """The queue at a glance."""
        return self.database.read(inspect.stats, now=self.clock.now())

    def servers(self) -> list[Server]:
        """The processes that run jobs."""
        return self.database.read(inspect.servers)

    def schedules(self) -> list[Schedule]:
        """The recurring jobs, by name."""
        return self._recurring.all()

    def occurrences(self, schedule: str, limit: int = 100) -> list[Occurrence]:
        """The latest lines of a schedule's ledger, newest first."""
        return self.database.read(inspect.occurrences, schedule, limit)


class BoundOptions:
    """An app's verbs, with options."""

    __slots__ = ("_app", "_options")

    def __init__(self, app: EmbedQ, options: Options) -> None:
        self._app = app
        self._options = options

    def task(self, function: Callable[P, R], /) -> Task[P, R]:
        """The function with these options, for verbs that take a function: `job.then`, `recurring`."""
        return self._app.engine.registry.wrap(function).with_options(self._options)

    def call(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call with these options, to hand to `enqueue_many`."""
        return self.task(function).call(*args, **kwargs)

    def enqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """As `EmbedQ.enqueue`."""
        return self._app.submit(self.call(function, *args, **kwargs))

    def enqueue_in(
        self, delay: timedelta | float, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """As `EmbedQ.enqueue_in`."""
        return self._app.submit(self.call(function, *args, **kwargs), run_at=self._app.due_in(delay))

    def enqueue_at(
        self, moment: datetime, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """As `EmbedQ.enqueue_at`."""
        return self._app.submit(self.call(function, *args, **kwargs), run_at=moment)

    async def aenqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """As `EmbedQ.aenqueue`."""
        return await self._app.asubmit(self.call(function, *args, **kwargs))

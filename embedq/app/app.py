"""The app: one queue as this process sees it, with everything that it can do.

    app = EmbedQ("sqlite:///app.db")
    app.start()                 # migrate, and run jobs on threads of this process
    app.connect()               # or: migrate, and only enqueue and read

The module-level functions of `embedq` are the methods of one default app. The verbs that enqueue are in `verbs.py`;
what all of them do is in `embedq/engine`, to which this class delegates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, overload

from embedq.app.parts import AppParts
from embedq.app.verbs import QueueVerbs
from embedq.clock import Clock
from embedq.config import Settings, check_limit
from embedq.engine.lifecycle import Engine
from embedq.engine.recurring import Schedule
from embedq.engine.stored_jobs import JobFilters, Progress
from embedq.job import Job, JobId, JobState
from embedq.storage import inspect
from embedq.storage.base import Database
from embedq.storage.engines import ApplicationEngine
from embedq.storage.inspect import COUNT_CAP, Occurrence, ScheduleState, Server, Stats
from embedq.tasks.handle import JobHandle
from embedq.tasks.middleware import EnqueueMiddleware, Middleware
from embedq.tasks.options import OptionKeywords, defaults_to_plain
from embedq.tasks.registration import register
from embedq.tasks.registry import REGISTRY
from embedq.tasks.task import Call, Task

if TYPE_CHECKING:
    from embedq.operations.actions import Actions
    from embedq.operations.monitor import Monitor

P = ParamSpec("P")
R = TypeVar("R")


class EmbedQ(QueueVerbs):
    """A queue in one database. Several may live in one process.

    Args:
        url: `sqlite:///app.db`, or a SQLAlchemy engine; $EMBEDQ_URL, or `sqlite:///embedq.db`, when not given.
        clock: the source of the time; tests pass their own.
        enqueue_middleware, middleware: see `embedq.tasks.middleware`.
        settings: the fields of `embedq.Settings`, and `default_options`: an `embedq.Options`, or its keywords as a
            dict, for everything that is enqueued through this app, unless the enqueue or the decorator sets them.
    Raises:
        ConfigurationError: an invalid setting.
    """

    def __init__(
        self,
        url: str | Path | ApplicationEngine | None = None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> None:
        # One attribute holds all that the app consists of: `embedq.testing` replaces it.
        self._parts = AppParts()
        self.configure(url, clock=clock, enqueue_middleware=enqueue_middleware, middleware=middleware, **settings)

    @property
    def engine(self) -> Engine:
        """The app's settings, database and threads."""
        return self._parts.engine

    def _app(self) -> EmbedQ:
        return self

    def configure(
        self,
        url: str | Path | ApplicationEngine | None = None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> Self:
        """Replace all settings. After `start` or `connect`, only settings equal to the present ones are accepted."""
        self.engine.configure(
            url, clock=clock, enqueue_middleware=enqueue_middleware, middleware=middleware, **settings
        )
        return self

    def keywords(self) -> dict[str, Any]:
        """Return keywords for `EmbedQ` that make an app like this one, to enqueue from another process."""
        return {
            **self.engine.settings.keywords(),
            "default_options": defaults_to_plain(self.engine.default_options),
            "enqueue_middleware": list(self.engine.enqueue_middleware),
        }

    # -- lifecycle -----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start running jobs in this process; nothing changes if they run already.

        Also a context manager: `with app.start(): …` stops them at the end.
        Raises:
            StorageError: the database cannot be opened or brought up to date; nothing was started.
        """
        self.engine.start()
        return self

    def connect(self, *, migrate: bool = True) -> Self:
        """Open the database, bringing its schema up to date, to enqueue and read; no jobs run here.

        Args:
            migrate: False creates and changes nothing, and fails if that is needed.
        Raises:
            StorageMissingError: `migrate=False`, and the database does not exist or its schema is not up to date.
        """
        self.engine.connect(migrate=migrate)
        return self

    def migrate(self) -> list[str]:
        """Bring the schema up to date, creating the database if it does not exist; return the migrations applied."""
        return self.engine.migrate()

    def stop(self, timeout: float | timedelta | None = None) -> bool:
        """Stop running jobs here, gracefully. Nothing is lost: a job that does not end goes back to the queue.

        Args:
            timeout: how long running jobs may take to end, in seconds or a timedelta; the setting `stop_timeout` when
                None.
        Returns:
            False when a job does not stop; it keeps running, and keeps its claim.
        Raises:
            ReentryError: it was called by a job of this app, and would wait for that job.
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
        """The settings of this app."""
        return self.engine.settings

    @property
    def clock(self) -> Clock:
        """The source of the time."""
        return self.engine.clock

    @property
    def database(self) -> Database:
        """The open database. NotStartedError before `start` or `connect`."""
        return self.engine.database

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        # In a job of this app the `with` has started nothing, so the app keeps running.
        if not self.engine.runs_this:
            self.stop()

    def __repr__(self) -> str:
        state = "started" if self.started else "connected" if self.engine.connected else "idle"
        return f"<EmbedQ {self.settings.database} {state}>"

    # -- jobs ----------------------------------------------------------------------------------------------------------

    @overload
    def job(self, job_id: int, /) -> JobHandle[Any]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def job(
        self, *, name: str | None = None, aliases: Sequence[str] = (), **options: Unpack[OptionKeywords]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    # mypy does not see that **options takes what an overload's Unpack[…] names.
    def job(self, target: int | Callable[..., Any] | None = None, /, **options: Any) -> Any:  # type: ignore[misc]
        """Register a function as a job, or, with an id, return a handle on a stored job.

            @app.job(queue="mail", retry=Retry(attempts=5))
            def send(user_id: int) -> None: ...

            app.job(42).retry()

        Args:
            name: under which its jobs are stored; `module:qualname` unless given.
            aliases: names that it had before, so that jobs stored under them still find it.
            options: the fields of `embedq.Options`.
        Raises:
            ConfigurationError: an invalid option, or a name that another function has.
            JobNotFoundError: there is no job of that id.
        """
        if isinstance(target, int):
            job_id = JobId(target)
            self._parts.stored.job_state(job_id)
            return self._parts.stored.handle(job_id)
        return register(REGISTRY, target, options, enqueuer=self._app)

    def register(
        self, function: Callable[..., Any] | None, options: dict[str, Any], *, enqueuer: Callable[[], EmbedQ]
    ) -> Any:
        """Do what `@job` does, for a task that enqueues to the app that `enqueuer` returns."""
        return register(REGISTRY, function, options, enqueuer=enqueuer)

    def submit(self, call: Call[Any], *, run_at: datetime | None = None, now: int | None = None) -> JobHandle[Any]:
        """Enqueue one call, due at an aware datetime or now.

        Args:
            now: the moment of the enqueue, in microseconds of the app's clock; read from the clock when None.
        """
        return self._parts.enqueueing.submit(call, run_at=run_at, now=now)

    async def asubmit(self, call: Call[Any], *, run_at: datetime | None = None) -> JobHandle[Any]:
        """`submit` without blocking the event loop."""
        return await self._parts.enqueueing.asubmit(call, run_at=run_at)

    def due_in(self, delay: timedelta | float) -> datetime:
        """Return the moment that is `delay` (a timedelta, or seconds) from now. ValueError if it is not a duration."""
        return self._parts.enqueueing.due_in(delay)

    # -- reading, and acting on many jobs ------------------------------------------------------------------------------

    def jobs(
        self,
        *,
        state: JobState | str | None = None,
        before: int | None = None,
        limit: int = 100,
        **filters: Unpack[JobFilters],
    ) -> list[Job]:
        """Return stored jobs that match all filters, newest first.

        Args:
            before: an id: return only older jobs, for the next page.
            filters: `queue`, `name`, `tag`, `schedule`, `error` (a part of the last error's text), `argument` (a part
                of the stored arguments), `parent` (an id), `created_from`, `created_to`, `finished_from`,
                `finished_to` (aware datetimes).
        """
        return self._parts.stored.find(state, before=before, limit=limit, **filters)

    def count_jobs(
        self, *, state: JobState | str | None = None, cap: int = COUNT_CAP, **filters: Unpack[JobFilters]
    ) -> int:
        """Count the jobs that match, up to `cap`; filters as for `jobs`."""
        return self._parts.stored.count(state, cap=cap, **filters)

    def retry_all(
        self,
        *,
        state: JobState | str = JobState.DEAD,
        progress: Progress | None = None,
        **filters: Unpack[JobFilters],
    ) -> int:
        """Retry every job that matches: dead ones unless another state is given; return how many.

        Args:
            progress: called every few hundred jobs with the number processed since the last call.
            filters: as for `jobs`.
        """
        return self._parts.stored.retry_all(state, progress, **filters)

    def cancel_all(
        self,
        *,
        state: JobState | str | None = None,
        progress: Progress | None = None,
        **filters: Unpack[JobFilters],
    ) -> int:
        """Cancel every job that matches and has not ended; return how many. Running ones are requested to stop.

        Args:
            progress: called every few hundred jobs with the number processed since the last call.
            filters: as for `jobs`.
        """
        return self._parts.stored.cancel_all(state, progress, **filters)

    @property
    def monitor(self) -> Monitor:
        """All that can be read: searches by page, the overview, history, queues, functions, servers, a calendar."""
        return self._parts.monitor

    @property
    def actions(self) -> Actions:
        """Actions on many jobs, in the background and in the audit log: retry, cancel, delete, move."""
        return self._parts.actions

    def stats(self) -> Stats:
        """Return the most important numbers of the queue."""
        return self.database.read(inspect.stats, now=self.clock.now())

    async def astats(self) -> Stats:
        """`stats` without blocking the event loop."""
        return await self.engine.offload.run(self.stats)

    async def ajob(self, job_id: int) -> JobHandle[Any]:
        """Return a handle on the job of that id without blocking the event loop. JobNotFoundError if there is none."""
        return await self.engine.offload.run(self.job, job_id)

    async def ajobs(
        self,
        *,
        state: JobState | str | None = None,
        before: int | None = None,
        limit: int = 100,
        **filters: Unpack[JobFilters],
    ) -> list[Job]:
        """`jobs` without blocking the event loop."""
        return await self.engine.offload.run(self.jobs, state=state, before=before, limit=limit, **filters)

    def servers(self) -> list[Server]:
        """Return the processes that run jobs."""
        return self.database.read(inspect.servers)

    def schedules(
        self,
        *,
        name: str | None = None,
        state: ScheduleState | str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Schedule]:
        """Return the recurring jobs, by name.

        Args:
            name: a part of their names.
            state: "active" (not paused), "paused", "failing" (the last attempt to fire failed) or "late" (by more than
                a minute).
            after: a name: return only those after it, for the next page.
            limit: how many at most; all when None.
        """
        return self._parts.recurring.find(name=name, state=state, after=after, limit=limit)

    def schedule(self, name: str) -> Schedule:
        """Return the recurring job of that name. ScheduleNotFoundError if there is none."""
        return self._parts.recurring.one(name)

    def occurrences(self, schedule: str, limit: int = 100) -> list[Occurrence]:
        """Return the latest occurrences of a schedule, newest first."""
        return self.database.read(inspect.occurrences, schedule, check_limit("occurrences", limit))

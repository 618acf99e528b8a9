"""The app: one queue as this process sees it, and everything that can be asked of it.

    app = EmbedQ("sqlite:///app.db")
    app.start()                 # migrate, and run jobs on threads of this process
    app.connect()               # or: migrate, and only enqueue and read

The module-level functions of `embedq` are the methods of one default app.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, overload

from embedq import shutdown
from embedq.clock import SECOND, Clock, SystemClock, to_datetime, to_micros, to_seconds
from embedq.config import Settings, sqlite_path
from embedq.drafting import Drafting
from embedq.errors import (
    ConfigurationError,
    JobCancelledError,
    JobDeadError,
    JobNotFoundError,
    NotStartedError,
    ResultUnavailableError,
    StorageMissingError,
    WaitTimeoutError,
)
from embedq.handle import JobHandle
from embedq.job import ENDED, Attempt, Job, JobId, JobState, LogLine, Trigger
from embedq.middleware import EnqueueMiddleware, Middleware
from embedq.misfire import Misfire
from embedq.options import OptionKeywords, Options
from embedq.recurring import RecurringJobs, Schedule
from embedq.schedule import Cron, Every
from embedq.serializers import loads_value
from embedq.signing import Key, load_or_create_key
from embedq.storage import inspect, jobs
from embedq.storage.base import Database
from embedq.storage.inspect import Occurrence, Server, Stats
from embedq.storage.rows import ClaimedJob, NewJob
from embedq.storage.sqlite import SQLiteDatabase
from embedq.task import REGISTRY, Call, Registry, Task
from embedq.version import VERSION

logger = logging.getLogger("embedq")

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from embedq.runtime import Runtime

# How often a waiter looks for itself, when the job runs in another process.
WAIT_POLL_SECONDS = 0.03
# enqueue_many writes this many rows at a time, in its one transaction.
CHUNK = 1000
# retry_all and cancel_all take this many jobs at a time.
PAGE = 500
# The order in which jobs move, so that one that moves while cancel_all is at work is met further on.
CANCEL_ORDER = (
    JobState.AWAITING, JobState.SCHEDULED, JobState.RETRYING, JobState.PARKED, JobState.READY, JobState.RUNNING,
)  # fmt: skip


class EmbedQ:
    """A queue in one database. Several may live in one process.

    Args:
        url: `sqlite:///app.db`; $EMBEDQ_URL, or `sqlite:///embedq.db`, when not given.
        clock: where the time comes from; tests give their own.
        enqueue_middleware, middleware: see `embedq.middleware`.
        settings: the fields of `embedq.Settings`.
    Raises:
        ConfigurationError: a setting that cannot work.
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> None:
        self.settings: Settings
        self.clock: Clock
        self.enqueue_middleware: list[EnqueueMiddleware]
        self.middleware: list[Middleware]
        self._lock = threading.RLock()
        self._key_lock = threading.Lock()
        self._database: Database | None = None
        self.registry: Registry = REGISTRY
        self.configure(url, clock=clock, enqueue_middleware=enqueue_middleware, middleware=middleware, **settings)
        self._runtime: Runtime | None = None
        self._key: Key | None = None
        self.drafting = Drafting(self)
        self._recurring = RecurringJobs(self)
        _APPS.add(self)

    def configure(
        self,
        url: str | Path | None = None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> Self:
        """Set everything anew, as the constructor does; only before `start` or `connect`, or to what it is already."""
        wanted = Settings.gather({"url": url, **settings})
        with self._lock:
            if self._database is not None:
                if (url is not None or settings) and wanted != self.settings:
                    raise ConfigurationError(
                        f"this app is connected to {self.settings.url} with other settings; start it once, with all of "
                        "them, or make another app: embedq.EmbedQ(url)"
                    )
                return self
            self.settings = wanted
            # It may lie beside another database now.
            self._key = None
            self.clock = clock or SystemClock()
            self.enqueue_middleware = list(enqueue_middleware)
            self.middleware = list(middleware)
        return self

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start running jobs in this process. A second call changes nothing.

        Also a context manager: `with app.start(): …` stops at the end.
        Raises:
            StorageError: the database cannot be opened or brought up to date; nothing was started.
        """
        with self._lock:
            if self._runtime is None:
                # Imported here: a process that only enqueues need not pay for the threads' code.
                from embedq.runtime import Runtime

                self.connect()
                runtime = Runtime(
                    settings=self.settings,
                    clock=self.clock,
                    database=self.database,
                    folder=self.folder / "servers",
                    registry=self.registry,
                    key=lambda: self.key,
                    middleware=self.middleware,
                    version=VERSION,
                )
                runtime.start()
                self._runtime = runtime
                if self.settings.sigterm:
                    shutdown.drain_on_sigterm()
                logger.info("started with %d workers on %s", self.settings.workers, self.settings.url)
        return self

    def connect(self, *, migrate: bool = True) -> Self:
        """Open the database, bringing its schema up to date, to enqueue and read; no jobs run here.

        Args:
            migrate: False creates and changes nothing, and fails where that would be needed.
        Raises:
            StorageMissingError: `migrate=False`, and the database is not there or its schema is not up to date.
        """
        with self._lock:
            if self._database is None:
                database = self._open()
                if migrate:
                    database.migrate()
                elif pending := database.pending_migrations():
                    raise StorageMissingError(
                        f"{self.settings.url} has not been migrated for this version of embedq ({', '.join(pending)}). "
                        "Check that it is the right database, then run: embedq migrate"
                    )
                self._database = database
                self._recurring.write_pending()
        return self

    def migrate(self) -> list[str]:
        """Bring the schema up to date, creating the database if it is not there; return the migrations applied."""
        return self._open().migrate()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop running jobs here, in good order. Nothing is lost: what does not end goes back to the queue.

        Args:
            timeout: how long running jobs may take to end; the setting `stop_timeout` when None.
        Returns:
            False when a job does not yield; it keeps running, and keeps its claim.
        """
        with self._lock:
            runtime, self._runtime = self._runtime, None
            if runtime is None:
                return True
            drained = runtime.stop(self.settings.stop_timeout if timeout is None else timeout)
            if drained and self._database is not None:
                self._database.close()
            return drained

    def close(self) -> None:
        """`stop`, and close the database. The app can be connected or started again."""
        if self.stop():
            with self._lock:
                database, self._database = self._database, None
            if database is not None:
                database.close()

    @property
    def started(self) -> bool:
        """Whether jobs run in this process."""
        return self._runtime is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "started" if self.started else "connected" if self._database is not None else "idle"
        return f"<EmbedQ {self.settings.url} {state}>"

    # -- what it stands on ---------------------------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        """The open database. NotStartedError before `start` or `connect`."""
        if self._database is None:
            raise NotStartedError(
                "embedq is not connected: call embedq.start() where the app starts up, or embedq.connect(url) in a "
                "process that only enqueues"
            )
        return self._database

    @property
    def folder(self) -> Path:
        """Where this database's lock files and key are kept: beside the SQLite file."""
        path = sqlite_path(self.settings.url).absolute()
        return path.with_name(path.name + ".embedq")

    @property
    def key(self) -> Key:
        """Signs the rows of functions that are not registered. ConfigurationError if its file cannot be trusted."""
        # A lock of its own: `stop` holds the other while it waits for jobs, and those may enqueue.
        with self._key_lock:
            if self._key is None:
                if self.settings.secret_key is not None:
                    self._key = Key.from_text(self.settings.secret_key)
                else:
                    self.folder.mkdir(mode=0o700, exist_ok=True)
                    self._key = load_or_create_key(self.folder / "key")
            return self._key

    def _open(self) -> Database:
        return SQLiteDatabase(
            sqlite_path(self.settings.url),
            durability=self.settings.durability,
            busy_timeout=self.settings.busy_timeout,
            allow_network_filesystem=self.settings.allow_network_filesystem,
        )

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
            self.job_state(JobId(target))
            return JobHandle(self, JobId(target))
        return self.drafting.register(target, options, enqueuer=lambda: self)

    def enqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run `function(*args, **kwargs)` in the background as soon as a worker is free.

        Durable when this returns.
        Raises:
            EnqueueError: the function or its arguments cannot be stored, or do not fit each other.
            StorageError: the database could not take it. In both cases nothing was written.
        """
        return self.submit(self.call(function, *args, **kwargs))

    def enqueue_in(
        self, delay: timedelta | float, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """Run it `delay` (a timedelta, or seconds) from now."""
        return self.submit(self.call(function, *args, **kwargs), run_at=self.due_in(delay))

    def enqueue_at(
        self, moment: datetime, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle:
        """Run it at `moment`, an aware datetime; ValueError if naive. One that has passed means now."""
        return self.submit(self.call(function, *args, **kwargs), run_at=moment)

    async def aenqueue(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """`enqueue` for `async def` request handlers: the event loop is not blocked by the disk."""
        return await self.asubmit(self.call(function, *args, **kwargs))

    def enqueue_many(self, calls: Iterable[Call]) -> list[JobHandle]:
        """Enqueue many calls in one transaction: all of them, or none."""
        now = self.clock.now()
        rows = [self.drafting.row(call, now=now) for call in calls]
        if not rows:
            return []
        inserted = self.database.write(_insert_chunks, rows)
        self._notify(min(row.run_at for row in rows))
        return [JobHandle(self, JobId(job_id), created=created) for job_id, created in inserted]

    def call(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call, to hand to `enqueue_many`. SignatureError if the arguments do not fit."""
        return self.registry.wrap(function).call(*args, **kwargs)

    def options(self, **given: Unpack[OptionKeywords]) -> BoundOptions:
        """Options for one enqueue: `app.options(queue="low", timeout=60).enqueue(f, 1)`."""
        return BoundOptions(self, Options.parse(**given))

    def submit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """Enqueue one call; the other verbs end here."""
        row = self.drafting.row(call, run_at=None if run_at is None else to_micros(run_at))
        runtime = self._runtime
        if runtime is not None and self._may_hand_over(row) and runtime.dispatcher.reserve():
            return self._hand_over(runtime, row)
        inserted = self.database.write(jobs.insert, row)
        self._notify(row.run_at)
        return JobHandle(self, JobId(inserted.id), created=inserted.created)

    async def asubmit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """`submit`, on a thread of the event loop's pool."""
        import asyncio

        return await asyncio.to_thread(self.submit, call, run_at=run_at)

    def due_in(self, delay: timedelta | float) -> datetime:
        """The moment that is `delay` (a timedelta, or seconds) from now. ValueError if it is no duration."""
        if isinstance(delay, bool) or not isinstance(delay, int | float | timedelta):
            raise ValueError(f"delay={delay!r} must be a timedelta or seconds")
        return to_datetime(self.clock.now() + int(to_seconds(delay) * SECOND))

    def _may_hand_over(self, row: NewJob) -> bool:
        queues = self.settings.queues
        return (
            row.state == "ready"
            and row.executor == "thread"
            and row.idempotency_key is None
            and (queues is None or row.queue in queues)
        )

    def _hand_over(self, runtime: Runtime, row: NewJob) -> JobHandle:
        """Insert a job as running here and give it to an idle worker: one transaction instead of two."""
        try:
            inserted = self.database.write(jobs.insert, row, claimed_by=runtime.membership.server_id)
        except BaseException:
            runtime.dispatcher.cancel_reservation()
            raise
        runtime.dispatcher.hand_over(
            ClaimedJob(
                id=inserted.id,
                claim=1,
                attempt=1,
                name=row.name,
                payload=row.payload,
                code=row.code,
                options=row.options,
                queue=row.queue,
                priority=row.priority,
                tags=row.tags,
                crashes=0,
                run_at=row.run_at,
                expires_at=row.expires_at,
                first_started_at=row.created_at,
                parent_id=None,
                executor=row.executor,
            )
        )
        return JobHandle(self, JobId(inserted.id))

    def _notify(self, run_at: int) -> None:
        runtime = self._runtime
        if runtime is not None:
            runtime.dispatcher.notify(run_at)

    # -- one job -------------------------------------------------------------------------------------------------------

    def job_snapshot(self, job_id: JobId) -> Job:
        return self.database.read(inspect.job, job_id)

    def job_state(self, job_id: JobId) -> JobState:
        return self._outcome(job_id)[0]

    def job_attempts(self, job_id: JobId) -> list[Attempt]:
        return self.database.read(inspect.attempts, job_id)

    def job_logs(self, job_id: JobId) -> list[LogLine]:
        return self.database.read(inspect.logs, job_id)

    def _outcome(self, job_id: JobId) -> tuple[JobState, str | None, str | None]:
        found = self.database.read(inspect.outcome, job_id)
        if found is None:
            raise JobNotFoundError(f"no job {job_id}; it may have been pruned after its retention time")
        return found

    def wait_for(self, job_id: JobId, timeout: float | None) -> JobState:
        deadline = None if timeout is None else time.monotonic() + timeout
        runtime = self._runtime
        wake = None if runtime is None else runtime.waiters.add(job_id)
        try:
            while True:
                state = self.job_state(job_id)
                if state in ENDED:
                    return state
                left = WAIT_POLL_SECONDS if deadline is None else min(WAIT_POLL_SECONDS, deadline - time.monotonic())
                if left <= 0:
                    raise WaitTimeoutError(f"job {job_id} is still {state.value} after {timeout:g} s")
                if wake is not None:
                    wake.sleep(left)
                else:
                    time.sleep(left)
        finally:
            if runtime is not None and wake is not None:
                runtime.waiters.remove(job_id, wake)

    def result_of(self, job_id: JobId, timeout: float | None) -> Any:
        self.wait_for(job_id, timeout)
        state, result, error = self._outcome(job_id)
        if state is JobState.DEAD:
            raise JobDeadError(
                f"job {job_id} failed for good: {error}", traceback=self.database.read(inspect.last_traceback, job_id)
            )
        if state is JobState.CANCELLED:
            raise JobCancelledError(f"job {job_id} was cancelled: {error}")
        if result is None and error is not None:
            raise ResultUnavailableError(f"job {job_id} succeeded, but {error}")
        return None if result is None else loads_value(result)

    async def aresult_of(self, job_id: JobId, timeout: float | None) -> Any:
        import asyncio

        deadline = None if timeout is None else time.monotonic() + timeout
        while (state := await asyncio.to_thread(self.job_state, job_id)) not in ENDED:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(f"job {job_id} is still {state.value} after {timeout:g} s")
            await asyncio.sleep(WAIT_POLL_SECONDS)
        return await asyncio.to_thread(self.result_of, job_id, None)

    def cancel_job(self, job_id: JobId) -> JobState:
        state = self.database.write(jobs.cancel, job_id, now=self.clock.now(), retention=self.settings.retention)
        if self._runtime is not None:
            self._runtime.waiters.ended([job_id])
            self._runtime.dispatcher.notify(0)
        return state

    def retry_job(self, job_id: JobId) -> None:
        self.database.write(jobs.retry, job_id, now=self.clock.now())
        self._notify(0)

    def retry_all(
        self,
        *,
        state: JobState | str = JobState.DEAD,
        queue: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        schedule: str | None = None,
        error: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Retry every job that matches: dead letters unless another state is asked for; return how many.

        Args:
            error: a part of the last error's text.
            progress: told, a few hundred jobs at a time, how many more have been dealt with.
        """

        def retry(job_ids: Sequence[JobId]) -> int:
            return self.database.write(jobs.retry_many, job_ids, now=self.clock.now())

        return self._page_by_page(
            retry, [state], progress, queue=queue, name=name, tag=tag, schedule=schedule, error=error
        )

    def cancel_all(
        self,
        *,
        state: JobState | str | None = None,
        queue: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        schedule: str | None = None,
        error: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Cancel every job that matches and has not ended; return how many. Running ones are asked to stop.

        Args:
            error: a part of the last error's text.
            progress: told, a few hundred jobs at a time, how many more have been dealt with.
        """

        def cancel(job_ids: Sequence[JobId]) -> int:
            done = self.database.write(
                jobs.cancel_many, job_ids, now=self.clock.now(), retention=self.settings.retention
            )
            if self._runtime is not None:
                self._runtime.waiters.ended(job_ids)
            return done

        states = CANCEL_ORDER if state is None else [state]
        return self._page_by_page(
            cancel, states, progress, queue=queue, name=name, tag=tag, schedule=schedule, error=error
        )

    def _page_by_page(
        self,
        act: Callable[[Sequence[JobId]], int],
        states: Iterable[JobState | str],
        progress: Callable[[int], None] | None,
        **filters: Any,
    ) -> int:
        """Do something to all that match, in transactions short enough for everybody else."""
        done = 0
        for state in states:
            before = None
            while page := self.jobs(state=state, before=before, limit=PAGE, **filters):
                done += act([job.id for job in page])
                before = page[-1].id
                self._notify(0)
                if progress is not None:
                    progress(len(page))
        return done

    def continue_job(
        self, job_id: JobId, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle:
        row = self.drafting.row(self.call(function, *args, **kwargs), parent_id=job_id, trigger=_trigger(on))
        inserted = self.database.write(jobs.insert_continuation, row, retention=self.settings.retention)
        self._notify(row.run_at)
        return JobHandle(self, JobId(inserted.id), created=inserted.created)

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
        job_id = self._recurring.trigger(name)
        self._notify(0)
        return JobHandle(self, JobId(job_id))

    def pause_recurring(self, name: str) -> None:
        """Let a recurring job rest until it is resumed. ScheduleNotFoundError if there is none of that name."""
        self._recurring.pause(name)

    def resume_recurring(self, name: str) -> None:
        """Let it fire again, from its next occurrence on. ScheduleNotFoundError if there is none of that name."""
        self._recurring.resume(name)

    def remove_recurring(self, name: str) -> None:
        """Forget a recurring job. Jobs that it has made stay. ScheduleNotFoundError if there is none of that name."""
        self._recurring.remove(name)

    def schedules_changed(self) -> None:
        """Let the leader look again, if it is here."""
        if self._runtime is not None:
            self._runtime.leader.look_again()

    # -- looking -------------------------------------------------------------------------------------------------------

    def jobs(
        self,
        *,
        state: JobState | str | None = None,
        queue: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        schedule: str | None = None,
        error: str | None = None,
        parent: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Stored jobs that match all that is given, newest first.

        Args:
            error: a part of the last error's text.
            parent: the id of the job that they continue.
            before: an id: only older jobs, for the next page.
        """
        return self.database.read(
            inspect.jobs,
            state=None if state is None else _state(state),
            queue=queue,
            name=name,
            tag=tag,
            schedule=schedule,
            error=error,
            parent=parent,
            before=before,
            limit=limit,
        )

    def count_jobs(
        self,
        *,
        state: JobState | str | None = None,
        queue: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        schedule: str | None = None,
        error: str | None = None,
        parent: int | None = None,
        cap: int = inspect.COUNT_CAP,
    ) -> int:
        """How many jobs match, counted up to `cap`; otherwise as `jobs`."""
        return self.database.read(
            inspect.count_jobs,
            state=None if state is None else _state(state),
            queue=queue,
            name=name,
            tag=tag,
            schedule=schedule,
            error=error,
            parent=parent,
            cap=cap,
        )

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

    # -- fork ----------------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In the child of a fork: threads are gone, locks may be held for ever, connections are not ours to touch."""
        was_started = self._runtime is not None
        _ABANDONED.append((self._runtime, self._lock))
        self._lock = threading.RLock()
        self._key_lock = threading.Lock()
        self._runtime = None
        self.registry.after_fork()
        if self._database is not None:
            self._database = self._database.inherited()
        if was_started:
            shutdown.start_again_soon(self)


class BoundOptions:
    """An app's verbs, with options."""

    __slots__ = ("_app", "_options")

    def __init__(self, app: EmbedQ, options: Options) -> None:
        self._app = app
        self._options = options

    def call(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call with these options, to hand to `enqueue_many`."""
        task = self._app.registry.wrap(function)
        return task.with_options(self._options).call(*args, **kwargs)

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


def _insert_chunks(tx: Any, rows: Sequence[NewJob]) -> list[jobs.Inserted]:
    return [done for at in range(0, len(rows), CHUNK) for done in jobs.insert_many(tx, rows[at : at + CHUNK])]


def _trigger(on: str) -> Trigger:
    try:
        return Trigger(on)
    except ValueError:
        raise ConfigurationError(f'on={on!r} must be "success", "failure" or "finished"') from None


def _state(state: JobState | str) -> JobState:
    try:
        return JobState(state)
    except ValueError:
        raise ConfigurationError(f"state={state!r} must be one of: {', '.join(JobState)}") from None


# Every app of this process, so that a fork reaches them.
_APPS: weakref.WeakSet[EmbedQ] = weakref.WeakSet()
# What came across a fork and must be neither used nor collected.
_ABANDONED: list[Any] = []


def _stop_at_exit() -> None:
    for app in list(_APPS):
        app.close()


def _after_fork_in_child() -> None:
    for app in list(_APPS):
        app.after_fork()


atexit.register(_stop_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

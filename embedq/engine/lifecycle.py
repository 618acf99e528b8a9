"""An app's lifecycle in this process: its settings, its open database, its key, and its threads while it is started.

The parts that implement the app's verbs (`enqueueing`, `stored_jobs`, `recurring`) share one `Engine`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedq.clock import Clock, SystemClock, patience
from embedq.config import Settings, idle_variables
from embedq.engine.waiting import JobWaiter
from embedq.errors import ConfigurationError, CopyError, NotStartedError, ReentryError, StorageMissingError
from embedq.flow.holds import Holds
from embedq.observability.log import get_logger
from embedq.process import hosting, job_process, shutdown
from embedq.process.offload import Offload
from embedq.process.own_folder import make_own_folder
from embedq.process.own_threads import refuse_to_wait
from embedq.storage import backends, copying, engines
from embedq.storage.base import Database
from embedq.tasks.context import current_job
from embedq.tasks.middleware import EnqueueMiddleware, Middleware
from embedq.tasks.options import NO_OPTIONS, Options, defaults_to_plain, parse_defaults
from embedq.tasks.registry import REGISTRY, Registry
from embedq.tasks.signing import Key, load_or_create_key
from embedq.version import VERSION

if TYPE_CHECKING:
    from embedq.engine.runtime import Runtime

logger = get_logger()


class Engine:
    """The settings, database, key and threads of one app.

    Attributes:
        configured: it has settings other than those of the environment.
        runtime: the threads; None while the app is not started here.
        offload: where calls from an event loop wait for the database.
        waiting: the waits for jobs in this process.
        when_connected: called each time the database has been opened.
        look_around: called a few seconds after the start; see `Runtime`.
        when_needed: called when the database is needed and not open; an integration connects it.
        block_around: returns the block of `transactions` that applies if no other is open; for an integration of a
            framework that manages transactions.
    """

    settings: Settings
    clock: Clock
    _own_clock: Clock
    enqueue_middleware: list[EnqueueMiddleware]
    middleware: list[Middleware]

    def __init__(self, when_connected: Callable[[], None], look_around: Callable[[Engine, Runtime], None]) -> None:
        self.registry: Registry = REGISTRY
        self.configured = False
        self.runtime: Runtime | None = None
        self.offload = Offload()
        self.waiting = JobWaiter(lambda: self.database, self._running_jobs, lambda database: self._database is database)
        self.when_needed: Callable[[], None] | None = None
        self.block_around: Callable[[], Any] | None = None
        self._when_connected = when_connected
        self._look_around = look_around
        self._lock = threading.RLock()
        # A lock of its own: `stop` has the other one while it waits for jobs, and those may enqueue.
        self._key_lock = threading.RLock()
        self._database: Database | None = None
        self._key: Key | None = None
        self._starts_in_children = False
        self._named_by_environment = False
        self._closed = False
        self.default_options = NO_OPTIONS
        self._opening = False
        shutdown.register(self)

    def configure(
        self,
        url: str | Path | engines.ApplicationEngine | None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        default_options: Options | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Replace all settings; once the database is open, only equal ones are accepted. See `EmbedQ`."""
        defaults = parse_defaults(default_options)
        given = {**engines.settings_of(url), **settings} if engines.is_engine(url) else {"url": url, **settings}
        requested = Settings.gather(given)
        with self._lock:
            if self._database is None:
                self.settings, self.default_options = requested, defaults
                self.configured = bool(
                    url is not None or settings or clock or enqueue_middleware or middleware or default_options
                )
                self._named_by_environment = "url" not in given or given["url"] is None
                # Its file may be beside another database now.
                self._key = None
                # The database's clock replaces a system clock, but not a test's own.
                self.clock = self._own_clock = clock or SystemClock()
                self.enqueue_middleware = list(enqueue_middleware)
                self.middleware = list(middleware)
                return
            others = {
                "settings": (url is not None or settings) and requested != self.settings,
                "clock": clock is not None and clock is not self._own_clock,
                "default_options": default_options is not None
                and defaults_to_plain(defaults) != defaults_to_plain(self.default_options),
                "enqueue_middleware": _differ(enqueue_middleware, self.enqueue_middleware),
                "middleware": _differ(middleware, self.middleware),
            }
            for name, other in others.items():
                if other:
                    raise ConfigurationError(
                        f"this app is connected to {self.settings.database} with other {name.replace('_', ' ')}; start "
                        "it once, with all settings, or make another app: embedq.EmbedQ(url)"
                    )

    # -- the database --------------------------------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        """The open database. NotStartedError before `start` or `connect`."""
        if self._database is None and self.when_needed is not None:
            self.when_needed()
        if job_process.reading_script:
            raise NotStartedError(
                "this process imports the script for its functions, and the script enqueues, or reads jobs, at import; "
                'put that code under: if __name__ == "__main__":'
            )
        if self._database is None and job_process.here():
            self.connect()
        if self._database is None and self._may_connect_by_itself():
            self.connect()
            logger.info(
                "connected to %s when it was first used; no jobs run in this process before embedq.start()",
                self.settings.database,
            )
        if self._database is None:
            raise NotStartedError(
                "embedq is not connected: call embedq.start() where the app starts up, or embedq.connect(url) in a "
                "process that only enqueues; where EMBEDQ_URL is set in the environment, a script connects by itself"
            )
        return self._database

    def _may_connect_by_itself(self) -> bool:
        """Whether EMBEDQ_URL names the database, so that a script that only enqueues need not connect.

        A file of the default name is never created by accident; a closed app stays closed; and a test without the
        fixture must not write to the database of the environment.
        """
        return (
            self._named_by_environment
            and not self._closed
            and bool(os.environ.get("EMBEDQ_URL"))
            and "PYTEST_CURRENT_TEST" not in os.environ
        )

    @property
    def connected(self) -> bool:
        """Whether the database is open."""
        return self._database is not None

    @property
    def configurable(self) -> bool:
        """Whether its settings can be changed."""
        return self._database is None

    @property
    def key(self) -> Key:
        """The key that signs rows of unregistered functions. ConfigurationError if its file cannot be trusted."""
        # If the database cannot be opened, neither can the key; and the code that opens it may read the key.
        if self._database is None and self.when_needed is not None:
            self.when_needed()
        with self._key_lock:
            if self._key is None:
                if self.settings.secret_key is not None:
                    self._key = Key.from_text(self.settings.secret_key)
                else:
                    file = backends.key_file(self.settings)
                    make_own_folder(file.parent)
                    self._key = load_or_create_key(file)
            return self._key

    def connect(self, *, migrate: bool = True) -> None:
        """Open the database. See `EmbedQ.connect`."""
        if job_process.reading_script:
            # It connects later, if a job enqueues.
            return
        with self._lock:
            if self._database is not None:
                return
            if self._opening:
                # The lock is re-entrant, so this is the same thread. The migration would wait for itself.
                raise ReentryError(
                    "this thread is connecting embedq to its database at the moment, and this call came from inside "
                    "that: from connect=, a finalizer (__del__), a signal handler or a logging handler. Make it later"
                )
            hosting.check_forks()
            hosting.fill_standard_descriptors()
            _warn_of_idle_variables()
            try:
                self._opening = True
                database = self._open_migrated(migrate)
            finally:
                self._opening = False
            self._database, self._closed = database, False
            if isinstance(self._own_clock, SystemClock):
                self.clock = database.clock(self._own_clock)
            try:
                self._when_connected()
            except BaseException:
                # The next attempt has to run this again.
                self._database = None
                database.close()
                raise

    def _open_migrated(self, migrate: bool) -> Database:
        database = self._open()
        if migrate:
            database.migrate()
        elif pending := database.pending_migrations():
            raise StorageMissingError(
                f"{self.settings.database} has not been migrated for this version of embedq "
                f"({', '.join(pending)}). Check that it is the right database, then run: embedq migrate"
            )
        return database

    def migrate(self) -> list[str]:
        """Bring the schema up to date, creating the database if it does not exist; return the migrations applied."""
        return self._open().migrate()

    def _open(self) -> Database:
        return backends.open_database(self.settings)

    # -- the threads ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and start the threads; in a job process, do nothing. See `EmbedQ.start`."""
        if job_process.here():
            logger.debug("not started: this process runs one job; the app connects when it is used")
            return
        with self._lock:
            if self.runtime is not None:
                return
            hosting.check_threads()
            if hosting.before_the_fork_of_uwsgi():
                self.connect()
                self._starts_in_children = True
                return
            # Imported here: a process that only enqueues does not need the threads' code.
            from embedq.engine.runtime import Runtime

            self.connect()
            self._refuse_half_a_copy()
            runtime = Runtime(
                settings=self.settings,
                clock=self.clock,
                database=self.database,
                folder=self.database.folder / "servers",
                registry=self.registry,
                key=lambda: self.key,
                middleware=self.middleware,
                version=VERSION,
                ended=self.waiting.ended,
                ended_all=self.waiting.ended_all,
                look_around=lambda runtime: self._look_around(self, runtime),
            )
            runtime.start()
            self.runtime = runtime
            shutdown.drain_at_exit(on_sigterm=self.settings.sigterm)
            logger.info("started with %d workers on %s", self.settings.workers, self.settings.database)

    def _refuse_half_a_copy(self) -> None:
        record = self.database.read(copying.record)
        if record is not None:
            raise CopyError(
                f"{self.settings.database} contains only a part of what `embedq copy` copies from {record.label}, and "
                "jobs that run here now would run again: let `embedq copy` end, or run the same command again if it "
                "was interrupted. To continue without the missing jobs, use another, empty database"
            )

    def stop(self, timeout: float | timedelta | None) -> bool:
        """Stop the threads. See `EmbedQ.stop`."""
        seconds = patience(timeout)
        self._refuse_in_job()
        self._refuse_to_stop_inside()
        with self._lock:
            self._starts_in_children = False
            runtime, self.runtime = self.runtime, None
            if runtime is None:
                return True
            drained = runtime.stop(self.settings.stop_timeout if seconds is None else seconds)
            self.waiting.end(waits_too=False)
            if drained and self._database is not None:
                self._database.close()
            return drained

    @property
    def runs_this(self) -> bool:
        """Whether the caller is a job that this app runs, on a thread or its event loop, or middleware around it."""
        job, runtime = current_job(None), self.runtime
        return job is not None and runtime is not None and runtime.runs(job)

    def _refuse_in_job(self) -> None:
        if self.runs_this:
            raise ReentryError(
                f"job {current_job().id} runs in the app that it stops, and the stop would wait for the job to end; "
                "nothing was stopped. Stop the app where it was started; to end the whole process gracefully, send it "
                "SIGTERM: os.kill(os.getpid(), signal.SIGTERM)"
            )

    def close(self) -> None:
        """Stop, and close the database. If a job does not end, the database stays open for its outcome."""
        self._refuse_in_job()
        self._refuse_to_stop_inside()
        self._closed = True
        if self.stop(None):
            with self._lock:
                database, self._database = self._database, None
            # Before the database is closed: a read in progress would open a connection again.
            self.waiting.end(waits_too=True)
            if database is not None:
                database.close()

    def _refuse_to_stop_inside(self) -> None:
        # It would wait for a call that this thread is in.
        refuse_to_wait()
        if self._database is not None:
            self._database.refuse_reentry()

    def notify(self, run_at: int) -> None:
        """Notify the dispatcher, if it is here, that a job due at `run_at` (microseconds) was written."""
        runtime = self.runtime
        if runtime is not None:
            runtime.dispatcher.notify(run_at)

    def hold(self, paused: Holds) -> None:
        """Notify the dispatcher, if it is here, of what this process has just paused or resumed."""
        runtime = self.runtime
        if runtime is not None:
            runtime.dispatcher.hold(paused)

    def _running_jobs(self) -> Collection[int]:
        runtime = self.runtime
        return () if runtime is None else runtime.dispatcher.claimed_job_ids()

    def after_fork(self) -> None:
        """Reset after a fork: there are no threads, locks may stay locked forever, connections belong to the parent."""
        runtime, self.runtime = self.runtime, None
        _INHERITED.append((runtime, self._lock, self._key_lock, self.offload, self.waiting))
        self.offload = Offload()
        self.waiting = JobWaiter(lambda: self.database, self._running_jobs, lambda database: self._database is database)
        self._lock = threading.RLock()
        self._key_lock = threading.RLock()
        self._opening = False
        self.registry.after_fork()
        if self._database is not None:
            self._database = self._database.inherited()
        # A process that a job forks has one purpose, and could be killed while it runs other jobs.
        if (runtime is not None or self._starts_in_children) and current_job(None) is None:
            shutdown.start_again_soon(self, on_sigterm=self.settings.sigterm)


_warned: set[str] = set()


def _warn_of_idle_variables() -> None:
    """Warn once in a process, and not in a job process, which has the environment of its parent process."""
    for line in [] if job_process.here() else idle_variables():
        if line not in _warned:
            _warned.add(line)
            logger.warning("%s", line)


def _differ(given: Iterable[object], there: list[Any]) -> bool:
    """Whether something was given that differs from the present value."""
    items = list(given)
    return bool(items) and items != there


# Objects that a fork copied, and that must be neither used nor collected.
_INHERITED: list[Any] = []

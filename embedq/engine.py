"""One app's stand in this process: its settings, its open database, its key, and its threads while it is started.

The parts that carry out the app's verbs (`enqueueing`, `control`, `recurring`) share one; it knows none of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedq import hosting, job_process, shutdown
from embedq.clock import Clock, SystemClock
from embedq.config import Settings
from embedq.errors import ConfigurationError, CopyError, NotStartedError, StorageMissingError
from embedq.middleware import EnqueueMiddleware, Middleware
from embedq.offload import Offload
from embedq.signing import Key, load_or_create_key
from embedq.storage import backends, copying, engines
from embedq.storage.base import Database
from embedq.task import REGISTRY, Registry
from embedq.version import VERSION

if TYPE_CHECKING:
    from embedq.runtime import Runtime

logger = logging.getLogger("embedq")


class Engine:
    """Settings, database, key and threads.

    Attributes:
        configured: it was told something other than the environment says.
        runtime: the threads; None while the app is not started here.
        offload: where calls from an event loop wait for the database.
        when_connected: called each time the database has been opened.
        when_needed: called when somebody wants the database and it is not open; an integration connects here.
        block_around: gives the block of `transactions` that is open where no other is; for an integration whose
            framework knows of transactions.
    """

    settings: Settings
    clock: Clock
    _own_clock: Clock
    enqueue_middleware: list[EnqueueMiddleware]
    middleware: list[Middleware]

    def __init__(self, when_connected: Callable[[], None]) -> None:
        self.registry: Registry = REGISTRY
        self.configured = False
        self.runtime: Runtime | None = None
        self.offload = Offload()
        self.when_needed: Callable[[], None] | None = None
        self.block_around: Callable[[], Any] | None = None
        self._when_connected = when_connected
        self._lock = threading.RLock()
        # A lock of its own: `stop` holds the other while it waits for jobs, and those may enqueue.
        self._key_lock = threading.Lock()
        self._database: Database | None = None
        self._key: Key | None = None
        self._starts_in_children = False
        shutdown.look_after(self)

    def configure(
        self,
        url: str | Path | engines.ApplicationEngine | None,
        *,
        clock: Clock | None = None,
        enqueue_middleware: Iterable[EnqueueMiddleware] = (),
        middleware: Iterable[Middleware] = (),
        **settings: Any,
    ) -> None:
        """Set everything; once the database is open, only to what it is already. See `EmbedQ`."""
        given = {**engines.settings_of(url), **settings} if engines.is_engine(url) else {"url": url, **settings}
        wanted = Settings.gather(given)
        with self._lock:
            if self._database is None:
                self.settings = wanted
                self.configured = bool(url is not None or settings or clock or enqueue_middleware or middleware)
                # It may lie beside another database now.
                self._key = None
                # A machine's clock gives way to a server's; one that a test made its own does not.
                self.clock = self._own_clock = clock or SystemClock()
                self.enqueue_middleware = list(enqueue_middleware)
                self.middleware = list(middleware)
                return
            others = {
                "settings": (url is not None or settings) and wanted != self.settings,
                "clock": clock is not None and clock is not self._own_clock,
                "enqueue_middleware": _differ(enqueue_middleware, self.enqueue_middleware),
                "middleware": _differ(middleware, self.middleware),
            }
            for name, other in others.items():
                if other:
                    raise ConfigurationError(
                        f"this app is connected to {self.settings.database} with other {name.replace('_', ' ')}; start "
                        "it once, with all of it, or make another app: embedq.EmbedQ(url)"
                    )

    # -- the database --------------------------------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        """The open database. NotStartedError before `start` or `connect`."""
        if self._database is None and self.when_needed is not None:
            self.when_needed()
        if job_process.reading_script:
            raise NotStartedError(
                "this process imports the code for the functions in it, and that enqueues, or asks for jobs; "
                'put what the script does under: if __name__ == "__main__":'
            )
        if self._database is None and job_process.here():
            self.connect()
        if self._database is None:
            raise NotStartedError(
                "embedq is not connected: call embedq.start() where the app starts up, or embedq.connect(url) in a "
                "process that only enqueues"
            )
        return self._database

    @property
    def connected(self) -> bool:
        """Whether the database is open."""
        return self._database is not None

    @property
    def configurable(self) -> bool:
        """Whether it can be given other settings than it has."""
        return self._database is None

    @property
    def key(self) -> Key:
        """Signs the rows of functions that are not registered. ConfigurationError if its file cannot be trusted."""
        # Beside a database that cannot be opened it can neither; and what waits for the opening may ask for the key.
        if self._database is None and self.when_needed is not None:
            self.when_needed()
        with self._key_lock:
            if self._key is None:
                if self.settings.secret_key is not None:
                    self._key = Key.from_text(self.settings.secret_key)
                else:
                    file = backends.key_file(self.settings)
                    file.parent.mkdir(mode=0o700, exist_ok=True)
                    self._key = load_or_create_key(file)
            return self._key

    def connect(self, *, migrate: bool = True) -> None:
        """Open the database. See `EmbedQ.connect`."""
        if job_process.reading_script:
            # Later, if a job enqueues.
            return
        with self._lock:
            if self._database is not None:
                return
            hosting.check_forks()
            database = self._open()
            if migrate:
                database.migrate()
            elif pending := database.pending_migrations():
                raise StorageMissingError(
                    f"{self.settings.database} has not been migrated for this version of embedq "
                    f"({', '.join(pending)}). Check that it is the right database, then run: embedq migrate"
                )
            self._database = database
            if isinstance(self._own_clock, SystemClock):
                self.clock = database.clock(self._own_clock)
            try:
                self._when_connected()
            except BaseException:
                # The next try has to come by here again.
                self._database = None
                database.close()
                raise

    def migrate(self) -> list[str]:
        """Bring the schema up to date, creating the database if it is not there; return the migrations applied."""
        return self._open().migrate()

    def _open(self) -> Database:
        return backends.open_database(self.settings)

    # -- the threads ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and start the threads; nothing in a job's own process. See `EmbedQ.start`."""
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
            # Imported here: a process that only enqueues need not pay for the threads' code.
            from embedq.runtime import Runtime

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
                look_around=self._look_around,
            )
            runtime.start()
            self.runtime = runtime
            shutdown.drain_at_exit(on_sigterm=self.settings.sigterm)
            logger.info("started with %d workers on %s", self.settings.workers, self.settings.database)

    def _refuse_half_a_copy(self) -> None:
        record = self.database.read(copying.record)
        if record is not None:
            raise CopyError(
                f"{self.settings.database} has only a part of what is to be copied there from {record.label}, and what "
                "runs here now would run again: let `embedq copy` end, or run the same command again if it was broken "
                "off. To go on without what is missing, use another, empty database"
            )

    def _look_around(self, runtime: Runtime) -> None:
        # Imported here, after the start: nobody waits for it.
        from embedq.doctor.first_look import look

        look(
            self.settings,
            self.clock,
            self.database,
            server_uuid=runtime.membership.presence.uuid,
            has=runtime.has,
        )

    def stop(self, timeout: float | None) -> bool:
        """Stop the threads. See `EmbedQ.stop`."""
        with self._lock:
            self._starts_in_children = False
            runtime, self.runtime = self.runtime, None
            if runtime is None:
                return True
            drained = runtime.stop(self.settings.stop_timeout if timeout is None else timeout)
            if drained and self._database is not None:
                self._database.close()
            return drained

    def close(self) -> None:
        """Stop, and close the database. Where a job does not yield, the database stays open for its outcome."""
        if self.stop(None):
            with self._lock:
                database, self._database = self._database, None
            if database is not None:
                database.close()

    def notify(self, run_at: int) -> None:
        """A job that is due at `run_at` (microseconds) was written: tell the dispatcher, if it is here."""
        runtime = self.runtime
        if runtime is not None:
            runtime.dispatcher.notify(run_at)

    def after_fork(self) -> None:
        """In the child of a fork: threads are gone, locks may be held for ever, connections are not ours to touch."""
        runtime, self.runtime = self.runtime, None
        _INHERITED.append((runtime, self._lock, self._key_lock, self.offload))
        self.offload = Offload()
        self._lock = threading.RLock()
        self._key_lock = threading.Lock()
        self.registry.after_fork()
        if self._database is not None:
            self._database = self._database.inherited()
        if runtime is not None or self._starts_in_children:
            shutdown.start_again_soon(self, on_sigterm=self.settings.sigterm)


def _differ(given: Iterable[object], there: list[Any]) -> bool:
    """Whether something was given, and is not what is there."""
    items = list(given)
    return bool(items) and items != there


# What came across a fork and must be neither used nor collected.
_INHERITED: list[Any] = []

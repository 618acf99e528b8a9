"""SQLite: one writing connection per process, a few for reading, and transactions that wait instead of failing.

Every write is `BEGIN IMMEDIATE`: a deferred transaction that writes later fails at once under contention, whatever the
busy timeout. Waiting for another process is done here rather than by SQLite's busy handler, whose steps grow to 100 ms
and starve the unlucky: short, jittered sleeps give every process its turn.
"""

from __future__ import annotations

import ctypes
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from embedq.clock import Clock
from embedq.errors import EmbedqError, StorageBusyError, StorageError
from embedq.interrupts import Shielded
from embedq.storage import jobs
from embedq.storage.base import ForeignTransaction, Lent, Transaction
from embedq.storage.group_commit import GroupCommit, Member
from embedq.storage.sqlite import failures, foreign, notify
from embedq.storage.sqlite.fork_gate import ForkGate
from embedq.storage.sqlite.transaction import SQLiteTransaction

P = ParamSpec("P")
T = TypeVar("T")

# Readers kept open for the next call; more are opened under load and closed after it.
IDLE_READERS = 3
# The longest pause between two attempts at a lock. Short while the lock changes hands quickly, longer when somebody
# holds it for long, so that waiting costs no CPU.
SHORT_PAUSE, LONG_PAUSE, LONG_AFTER = 0.0008, 0.01, 0.25
# For so long after it met another process at the lock, a process pauses before it writes again. Else one that writes in
# a loop takes the lock back before any of those that sleep can wake up: the slowest of a hundred writes then waits
# twice as long.
CROWDED_SECONDS = 0.05


# What writes by one statement, and reads nothing that this rests on.
BARE = {jobs.insert}


class SQLiteDatabase:
    """A SQLite file.

    Args:
        path: the file; its folder must exist.
        durability: "full" flushes at each commit and survives a power cut; "normal" flushes at checkpoints and survives
            a crash of the process.
        busy_timeout: seconds a write waits for a lock before StorageBusyError.
        allow_network_filesystem: do not refuse a file on a network disk.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: str = "full",
        busy_timeout: float = 30.0,
        allow_network_filesystem: bool = False,
    ) -> None:
        self.path = path.absolute()
        self.url = f"sqlite:///{path}"
        self.folder = self.path.with_name(self.path.name + ".embedq")
        self._durability = durability
        self._busy_timeout = busy_timeout
        self._crowded_until = 0.0
        self._allow_network_filesystem = allow_network_filesystem
        self._writer: sqlite3.Connection | None = None
        self._writer_transaction: SQLiteTransaction | None = None
        # Every connection of this process, those of watches included.
        self._open: set[sqlite3.Connection] = set()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._gate = ForkGate(self._close_everything)
        self._commits = GroupCommit(self._run_group)

    def clock(self, base: Clock) -> Clock:
        # One file, one machine, one clock.
        return base

    # -- schema ----------------------------------------------------------------------------------------------------

    def migrate(self) -> list[str]:
        failures.refuse_old_sqlite()
        if not self._allow_network_filesystem:
            failures.refuse_network_filesystem(self.path)
        from embedq.storage.sqlite import migrations

        with self._gate:
            connection = self._connect()
            try:
                return self._patiently(lambda: migrations.migrate(connection, self.path, self.folder))
            finally:
                self._forget(connection)

    def pending_migrations(self) -> list[str]:
        failures.refuse_old_sqlite()
        if not self.path.exists():
            raise failures.no_database(self.path)
        if not self._allow_network_filesystem:
            failures.refuse_network_filesystem(self.path)
        from embedq.storage.sqlite import migrations

        # rw: never creates the file. Nothing is configured: the file may be another program's.
        address = f"{self.path.as_uri()}?mode=rw"
        try:
            connection = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise failures.explain(error, self.path) from error
        try:
            return self._patiently(lambda: migrations.missing_versions(connection, self.path))
        finally:
            connection.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._commits.write(
            lambda: function(self._writer_transaction, *args, **kwargs),  # type: ignore[arg-type]
            bare=function in BARE,
        )
        return result

    def _run_group(self, group: list[Member]) -> None:
        with self._gate:
            self._run_inside(group)

    def _run_inside(self, group: list[Member]) -> None:
        try:
            self._in_one_transaction(group)
        except Exception as error:
            # A lock that was not freed in time is nobody's own fault, and would be waited for again by each in turn.
            if len(group) == 1 or isinstance(error, StorageBusyError):
                for member in group:
                    member.error, member.done = self._explained(error), True
                return
            for member in group:
                try:
                    self._in_one_transaction([member])
                except Exception as own_error:
                    member.error, member.done = self._explained(own_error), True

    def _in_one_transaction(self, members: list[Member]) -> None:
        if len(members) == 1 and members[0].bare:
            self._bare(members[0])
            return
        committing = False
        try:
            connection = self._begin()
            for member in members:
                member.result = member.body()
            committing = True
            connection.execute("COMMIT")
            for member in members:
                member.done = True
        except BaseException as error:
            # A signal handler may have raised anywhere, also between BEGIN and the next line.
            if committing and not connection.in_transaction and not isinstance(error, sqlite3.Error):
                # A signal handler raised just after the commit: it happened, and must not be done again.
                for member in members:
                    member.done = True
            else:
                self._roll_back()
            raise

    def _bare(self, member: Member) -> None:
        """Let SQLite commit the one statement that writes: each call gives up the interpreter's lock, and among busy
        threads it takes long to get it back."""
        self._ready()
        try:
            member.result = member.body()
        except sqlite3.OperationalError as error:
            if not failures.is_busy(error):
                raise
            self._crowded_until = time.monotonic() + CROWDED_SECONDS
            member.result = self._patiently(member.body)
        member.done = True

    def _ready(self) -> sqlite3.Connection:
        """The connection that writes, with no transaction open."""
        connection = self._writer
        if connection is None:
            connection = self._connect()
            self._writer_transaction = SQLiteTransaction(connection)
            self._writer = connection
        elif connection.in_transaction:
            # A second signal came before what the first one had interrupted was rolled back.
            connection.execute("ROLLBACK")
        if time.monotonic() < self._crowded_until:
            time.sleep(random.random() * SHORT_PAUSE)
        return connection

    def _begin(self) -> sqlite3.Connection:
        connection = self._ready()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not failures.is_busy(error):
                raise
            self._crowded_until = time.monotonic() + CROWDED_SECONDS
            self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        return connection

    def _roll_back(self) -> None:
        connection = self._writer
        if connection is None:
            return
        try:
            # A full disk or an I/O error has rolled back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # A connection that cannot roll back is of no more use; the next write opens another.
            self._writer = None
            self._forget(connection)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Shielded: a job that is interrupted between BEGIN and ROLLBACK would leave a snapshot open, for ever.
        with Shielded(), self._gate:
            connection = self._take_reader()
            try:
                return read_on(connection, self._patiently, function, *args, **kwargs)
            except sqlite3.Error as error:
                raise failures.explain(error, self.path) from error
            finally:
                self._give_back(connection)

    def _take_reader(self) -> sqlite3.Connection:
        with self._readers_lock:
            if self._readers:
                return self._readers.pop()
        return self._connect(read_only=True)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._readers_lock:
            if len(self._readers) < IDLE_READERS:
                self._readers.append(connection)
                return
        self._forget(connection)

    def foreign(self, lent: Lent) -> ForeignTransaction:
        return foreign.borrow(lent, self.path)

    def watch(self) -> SQLiteWatch:
        return SQLiteWatch(self)

    def listen(self, changed: Callable[[], None], *, rest: float) -> notify.FileListener | None:
        return notify.listen(self.path.with_name(self.path.name + "-wal"), changed, rest=rest)

    # -- connections -----------------------------------------------------------------------------------------------

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except sqlite3.Error as error:
            raise failures.explain(error, self.path) from error
        try:
            self._patiently(lambda: self._configure(connection, read_only))
        except BaseException:
            connection.close()
            raise
        self._open.add(connection)
        return connection

    def _forget(self, connection: sqlite3.Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def _configure(self, connection: sqlite3.Connection, read_only: bool) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        # After a long reader has let go, the write-ahead log shrinks back to this.
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    def _patiently(self, action: Callable[[], T]) -> T:
        """Run `action`, and again while somebody holds a lock, for up to `busy_timeout` seconds."""
        started = time.monotonic()
        while True:
            try:
                return action()
            except sqlite3.Error as error:
                if not failures.is_busy(error):
                    raise failures.explain(error, self.path) from error
                waited = time.monotonic() - started
                if waited > self._busy_timeout:
                    raise failures.busy(self.path, self._busy_timeout) from error
            time.sleep(random.random() * (SHORT_PAUSE if waited < LONG_AFTER else LONG_PAUSE))

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error) and not isinstance(error, EmbedqError):
            explained: StorageError = failures.explain(error, self.path)
            explained.__cause__ = error
            return explained
        return error

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        def close_writer() -> None:
            with self._gate:
                writer, self._writer = self._writer, None
                if writer is not None:
                    self._forget(writer)

        self._commits.alone(close_writer)
        with self._gate:
            with self._readers_lock:
                readers, self._readers = self._readers, []
            for connection in readers:
                self._forget(connection)

    def _close_everything(self) -> None:
        """For a fork: nobody is inside the gate."""
        self._writer, self._readers = None, []
        for connection in list(self._open):
            self._forget(connection)

    def inherited(self) -> SQLiteDatabase:
        # There are none, unless the fork could not wait. Closing an inherited connection could checkpoint or delete the
        # write-ahead log under the parent. So each gets a reference that is never given back: not even the
        # interpreter's exit collects it.
        for connection in self._open:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        _INHERITED.append(self)
        return SQLiteDatabase(
            self.path,
            durability=self._durability,
            busy_timeout=self._busy_timeout,
            allow_network_filesystem=self._allow_network_filesystem,
        )


# Databases that came across a fork, with their locks in whatever state the fork found them.
_INHERITED: list[SQLiteDatabase] = []


def read_on(
    connection: sqlite3.Connection,
    patiently: Callable[[Callable[[], T]], T],
    function: Callable[Concatenate[Transaction, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run `function` on one snapshot of `connection`."""

    def snapshot() -> T:
        connection.execute("BEGIN")
        try:
            return function(SQLiteTransaction(connection), *args, **kwargs)
        finally:
            connection.execute("ROLLBACK")

    return patiently(snapshot)


class SQLiteWatch:
    """Reads `PRAGMA data_version`, which changes when another connection commits."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._seen = -1

    def changed(self) -> bool:
        try:
            with self._database._gate:
                (version,) = self._open().execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            # Somebody recovers or checkpoints at this moment: look closely, rather than miss a change.
            return True
        if version == self._seen:
            return False
        self._seen = version
        return True

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with self._database._gate:
                return read_on(self._open(), self._database._patiently, function, *args, **kwargs)
        except sqlite3.Error as error:
            raise failures.explain(error, self._database.path) from error

    def found_work(self) -> None:
        """Looking costs next to nothing, and need not slow down."""

    def _open(self) -> sqlite3.Connection:
        # A fork may have closed it; another connection counts versions anew.
        if self._connection is None or self._connection not in self._database._open:
            self._connection = self._database._connect(read_only=True)
            self._seen = -1
        return self._connection

    def close(self) -> None:
        with self._database._gate:
            if self._connection is not None:
                self._database._forget(self._connection)
                self._connection = None

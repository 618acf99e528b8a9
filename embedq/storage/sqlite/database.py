"""SQLite: one writing connection per process, a few for reading, and transactions that wait instead of failing.

Every write is `BEGIN IMMEDIATE`: a deferred transaction that writes later fails at once under contention, whatever the
busy timeout.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from embedq.clock import Clock
from embedq.errors import EmbedqError, StorageBusyError, StorageError
from embedq.flow.unique import may_have_rule
from embedq.process.interrupts import Shielded
from embedq.storage import jobs
from embedq.storage.base import ExternalConnection, ExternalTransaction, Transaction
from embedq.storage.group_commit import GroupCommit, Member
from embedq.storage.heartbeat_connection import SharedHeartbeatConnection
from embedq.storage.reentry import ReentryGuard
from embedq.storage.sqlite import external, failures, notify
from embedq.storage.sqlite.connections import SHORT_PAUSE, Connections
from embedq.storage.sqlite.fork_gate import ForkGate
from embedq.storage.sqlite.large import is_large
from embedq.storage.sqlite.transaction import SQLiteTransaction
from embedq.storage.sqlite.watch import SQLiteWatch

P = ParamSpec("P")
T = TypeVar("T")

# For how long, after another process held the lock, this one pauses before each write. Without the pause, a process
# that writes in a loop takes the lock back before any sleeping process can wake up: the slowest of a hundred writes
# then waits twice as long.
CROWDED_SECONDS = 0.05


class SQLiteDatabase:
    """A SQLite file.

    Args:
        path: the file; its folder must exist.
        durability: "full" flushes at each commit and survives a power cut; "normal" flushes at checkpoints and survives
            a crash of the process.
        busy_timeout: seconds that a write waits for a lock before StorageBusyError.
        allow_network_filesystem: accept a file on a network disk.
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
        self._connections = Connections(self.path, durability=durability, busy_timeout=busy_timeout)
        self._gate = ForkGate(self._close_everything)
        self._reentry = ReentryGuard(self.url)
        self._commits = GroupCommit(self._run_group, self._reentry)

    @property
    def remote(self) -> bool:
        return False

    def clock(self, base: Clock) -> Clock:
        # One file, one machine, one clock.
        return base

    # -- schema ----------------------------------------------------------------------------------------------------

    def migrate(self) -> list[str]:
        failures.refuse_old_sqlite()
        if not self._allow_network_filesystem:
            failures.refuse_network_filesystem(self.path)
        return self._reentry.run(self._migrate)

    def _migrate(self) -> list[str]:
        from embedq.storage.sqlite import migrations

        with self._gate:
            connection = self._connections.connect()
            try:
                return self._connections.wait_for_lock(lambda: migrations.migrate(connection, self.path, self.folder))
            finally:
                self._connections.close(connection)

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
            return self._connections.wait_for_lock(lambda: migrations.missing_versions(connection, self.path))
        finally:
            connection.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._commits.write(
            lambda: function(self._writer_transaction, *args, **kwargs),  # type: ignore[arg-type]
            bare=function is jobs.insert and not self._is_large(*args),
        )
        return result

    @staticmethod
    def _is_large(job: Any) -> bool:
        """Return whether an insert takes more than one statement."""
        return is_large(job.payload, job.code) or may_have_rule(job.options)

    def _run_group(self, group: list[Member]) -> None:
        with self._gate:
            self._run_inside(group)

    def _run_inside(self, group: list[Member]) -> None:
        try:
            self._in_one_transaction(group)
        except Exception as error:
            # No member caused a lock that was not released in time, and each in turn would wait for it again.
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
            # A signal handler may raise anywhere, also between BEGIN and the next line.
            if committing and not connection.in_transaction and not isinstance(error, sqlite3.Error):
                # A signal handler raised just after the commit: the write happened, and must not be repeated.
                for member in members:
                    member.done = True
            else:
                self._roll_back()
            raise

    def _bare(self, member: Member) -> None:
        """Let SQLite commit the one statement that writes.

        Each further call would release the interpreter's lock, which among busy threads takes long to get back.
        """
        self._ready()
        try:
            member.result = member.body()
        except sqlite3.OperationalError as error:
            if not failures.is_busy(error):
                raise
            self._crowded_until = time.monotonic() + CROWDED_SECONDS
            member.result = self._connections.wait_for_lock(member.body)
        member.done = True

    def _ready(self) -> sqlite3.Connection:
        """Return the connection that writes, with no transaction open."""
        connection = self._writer
        if connection is None:
            connection = self._connections.connect()
            self._writer_transaction = SQLiteTransaction(connection)
            self._writer = connection
        elif connection.in_transaction:
            # A second signal arrived before the transaction that the first one interrupted was rolled back.
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
            self._connections.wait_for_lock(lambda: connection.execute("BEGIN IMMEDIATE"))
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
            # A connection that cannot roll back is unusable; the next write opens another.
            self._writer = None
            self._connections.close(connection)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Shielded: a job that is interrupted between BEGIN and ROLLBACK would leave a snapshot open.
        with Shielded():
            return self._reentry.run(self._read, function, *args, **kwargs)

    def _read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._gate:
            connection = self._connections.take_reader()
            try:
                return self._connections.read_on(connection, function, *args, **kwargs)
            finally:
                self._connections.release_reader(connection)

    def join_transaction(self, application: ExternalConnection) -> ExternalTransaction:
        self._reentry.refuse_reentry()
        return external.join_transaction(application, self.path)

    def watch(self) -> SQLiteWatch:
        return SQLiteWatch(self._connections, self._gate, self._reentry)

    def listen(self, changed: Callable[[], None], *, rest: float) -> notify.FileListener | None:
        return notify.listen(self.path.with_name(self.path.name + "-wal"), changed, rest=rest)

    def heartbeat_connection(self, *, limit: float) -> SharedHeartbeatConnection:
        return SharedHeartbeatConnection(self)

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error) and not isinstance(error, EmbedqError):
            explained: StorageError = failures.explain(error, self.path)
            explained.__cause__ = error
            return explained
        return error

    def refuse_reentry(self) -> None:
        self._reentry.refuse_reentry()

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        def close_writer() -> None:
            with self._gate:
                writer, self._writer = self._writer, None
                if writer is not None:
                    self._connections.close(writer)

        def close_readers() -> None:
            with self._gate:
                self._connections.close_readers()

        self._commits.alone(close_writer)
        self._reentry.run(close_readers)

    def _close_everything(self) -> None:
        """Before a fork, when no thread is inside the gate."""
        self._writer = None
        self._connections.close_all()

    def inherited(self) -> SQLiteDatabase:
        # There are open connections only if the fork could not wait for them to be closed.
        self._connections.abandon()
        _INHERITED.append(self)
        return SQLiteDatabase(
            self.path,
            durability=self._durability,
            busy_timeout=self._busy_timeout,
            allow_network_filesystem=self._allow_network_filesystem,
        )


# Databases inherited across a fork, with their locks in whatever state the fork found them.
_INHERITED: list[SQLiteDatabase] = []

"""The connections of one process to one SQLite file, and the waiting for its locks.

Waiting for another process is done here rather than by SQLite's busy handler, whose steps grow to 100 ms and starve
some waiters: short, jittered pauses give every process its turn.
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

from embedq.storage.base import Transaction
from embedq.storage.sqlite import failures
from embedq.storage.sqlite.transaction import SQLiteTransaction

P = ParamSpec("P")
T = TypeVar("T")

# Readers kept open for the next call; more are opened under load and closed after it.
IDLE_READERS = 3
# The longest pause between two attempts at a lock: short while the lock changes hands quickly, longer when one
# connection holds it for long, so that waiting costs no CPU.
SHORT_PAUSE, LONG_PAUSE, LONG_AFTER = 0.0008, 0.01, 0.25


class Connections:
    """Opens, keeps and closes connections.

    Args:
        durability, busy_timeout: see `SQLiteDatabase`.
    Attributes:
        open: every connection of this process, those of watches included.
        idle_readers: read-only connections that no thread uses.
    """

    def __init__(self, path: Path, *, durability: str, busy_timeout: float) -> None:
        self.path = path
        self.open: set[sqlite3.Connection] = set()
        self.idle_readers: list[sqlite3.Connection] = []
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        self._busy_timeout = busy_timeout
        self._readers_lock = threading.Lock()

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Open a connection and configure it."""
        try:
            connection = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except sqlite3.Error as error:
            raise failures.explain(error, self.path) from error
        try:
            self.wait_for_lock(lambda: self._configure(connection, read_only))
        except BaseException:
            connection.close()
            raise
        self.open.add(connection)
        return connection

    def _configure(self, connection: sqlite3.Connection, read_only: bool) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # After a long read has ended, the write-ahead log shrinks back to this size.
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection and forget it."""
        self.open.discard(connection)
        connection.close()

    def take_reader(self) -> sqlite3.Connection:
        """Return an idle read-only connection, or a new one."""
        with self._readers_lock:
            if self.idle_readers:
                return self.idle_readers.pop()
        return self.connect(read_only=True)

    def release_reader(self, connection: sqlite3.Connection) -> None:
        """Keep a read-only connection for the next read, or close it when there are enough."""
        with self._readers_lock:
            if len(self.idle_readers) < IDLE_READERS:
                self.idle_readers.append(connection)
                return
        self.close(connection)

    def close_readers(self) -> None:
        """Close the idle read-only connections."""
        with self._readers_lock:
            readers, self.idle_readers = self.idle_readers, []
        for connection in readers:
            self.close(connection)

    def close_all(self) -> None:
        """Close every connection. No thread may be using one."""
        self.idle_readers = []
        for connection in list(self.open):
            self.close(connection)

    def abandon(self) -> None:
        """In the child of a fork: keep every inherited connection open.

        Closing one could checkpoint or delete the write-ahead log under the parent. So each gets a reference that is
        never released: not even the interpreter's exit collects it.
        """
        for connection in self.open:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def wait_for_lock(self, action: Callable[[], T]) -> T:
        """Run `action`, and again while another connection holds a lock, for up to `busy_timeout` seconds."""
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

    def read_on(
        self,
        connection: sqlite3.Connection,
        function: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` on one snapshot of `connection`; damage in a text is read as `�`."""

        def snapshot() -> T:
            if connection.in_transaction:
                # An exception ended the last read between its lines, and left its snapshot open.
                connection.execute("ROLLBACK")
            connection.execute("BEGIN")
            try:
                return function(SQLiteTransaction(connection), *args, **kwargs)
            except sqlite3.OperationalError as error:
                if not failures.is_damaged_text(error):
                    raise
                connection.text_factory = _replace_damage
                return function(SQLiteTransaction(connection), *args, **kwargs)
            finally:
                connection.text_factory = str
                connection.execute("ROLLBACK")

        try:
            return self.wait_for_lock(snapshot)
        except sqlite3.Error as error:
            raise failures.explain(error, self.path) from error


def _replace_damage(text: bytes) -> str:
    return text.decode(errors="replace")

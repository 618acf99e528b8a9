"""A cheap way for one thread to notice that another connection has committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from embedq.storage.base import Transaction
from embedq.storage.reentry import ReentryGuard
from embedq.storage.sqlite.connections import Connections
from embedq.storage.sqlite.fork_gate import ForkGate

P = ParamSpec("P")
T = TypeVar("T")


class SQLiteWatch:
    """Reads `PRAGMA data_version`, which changes when another connection commits."""

    def __init__(self, connections: Connections, gate: ForkGate, reentry: ReentryGuard) -> None:
        self._connections = connections
        self._gate = gate
        self._reentry = reentry
        self._connection: sqlite3.Connection | None = None
        self._seen = -1

    def changed(self) -> bool:
        try:
            version = self._reentry.run(self._version)
        except sqlite3.Error:
            # Another connection is recovering or checkpointing: read again rather than miss a change.
            return True
        if version == self._seen:
            return False
        self._seen = version
        return True

    def _version(self) -> int:
        with self._gate:
            (version,) = self._open().execute("PRAGMA data_version").fetchone()
        return int(version)

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._reentry.run(self._read, function, *args, **kwargs)

    def _read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._gate:
            return self._connections.read_on(self._open(), function, *args, **kwargs)

    def found_work(self) -> None:
        """Do nothing: a check costs next to nothing and need not slow down."""

    def _open(self) -> sqlite3.Connection:
        # A fork may have closed the connection; a new one counts versions from its own beginning.
        if self._connection is None or self._connection not in self._connections.open:
            self._connection = self._connections.connect(read_only=True)
            self._seen = -1
        return self._connection

    def close(self) -> None:
        with self._gate:
            if self._connection is not None:
                self._connections.close(self._connection)
                self._connection = None

"""The driver for MySQL and MariaDB; see `storage.driver`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from embedq.errors import StorageError
from embedq.storage import named_sql
from embedq.storage.base import ExternalConnection, ExternalTransaction, Listener
from embedq.storage.driver import ErrorKind
from embedq.storage.mysql import external, failures, migrations, refusal
from embedq.storage.mysql.address import MysqlAddress
from embedq.storage.mysql.connection import connect, prepare_connection
from embedq.storage.mysql.dialect import dialect
from embedq.storage.mysql.session import MysqlSession
from embedq.storage.mysql.transaction import Statement, compiled, qualified, unlocked
from embedq.storage.retries import UNLIMITED, Timeouts

Statements = Mapping[str, tuple[Statement, ...]]
PROGRAM = "embedq"


@cache
def statements(qualifier: str) -> tuple[tuple[Statements, Statements], Mapping[str, str]]:
    """Every named statement: compiled for transactions that write, and that read; and as text."""
    named = named_sql.read(Path(__file__).parent, dialect)
    texts = {name: qualified(sql, qualifier) for name, sql in named.items()}
    writing = {name: compiled(sql) for name, sql in texts.items()}
    return (writing, {name: compiled(unlocked(sql)) for name, sql in texts.items()}), texts


class MysqlDriver:
    """Opens connections, and classifies errors.

    Args:
        connect: the application's function that opens them, if any.
    """

    def __init__(self, address: MysqlAddress, *, timeouts: Timeouts, connect: Callable[[], Any] | None = None) -> None:
        self.url = address.label
        self.address = address
        self._timeouts = timeouts
        self._connect = connect
        # Names this process's transactions; a fork is another process.
        self._writer = str(uuid.uuid4())
        self._sessions: WeakSet[MysqlSession] = WeakSet()
        # The application's connections that are to this database.
        self._foreign: WeakSet[Any] = WeakSet()

    @property
    def pipelines_inserts(self) -> bool:
        return False

    def after_fork(self) -> MysqlDriver:
        for session in list(self._sessions):
            session.let_go()
        return MysqlDriver(self.address, timeouts=self._timeouts, connect=self._connect)

    def connect(self, *, limit: float | None = None) -> MysqlSession:
        return self._connected(self._timeouts if limit is None else Timeouts.within(limit), limit)

    def refuses(self, error: Exception | None, *, seconds: float) -> bool:
        if self._connect is not None:
            return refusal.shows_refusal(error)
        return refusal.refuses(self.address, seconds=seconds)

    def _connected(self, timeouts: Timeouts, limit: float | None = None) -> MysqlSession:
        (both, texts) = statements(self.address.qualifier)
        connection = (
            connect(self.address, PROGRAM, limit) if self._connect is None else prepare_connection(self._connect)
        )
        session = MysqlSession(
            connection,
            self.address,
            timeouts=timeouts,
            writer=self._writer if limit is None else None,
            statements=both,
            parts=texts,
        )
        self._sessions.add(session)
        return session

    def classify(self, error: Exception, *, reading: bool) -> ErrorKind:
        return failures.classify(error, reading=reading)

    def explain(self, error: Exception) -> StorageError | None:
        return failures.explain(error, self.address.label)

    def migrate(self) -> list[str]:
        session = self._connected(UNLIMITED)
        try:
            return migrations.migrate(session, self.address)
        finally:
            session.close()

    def pending_migrations(self) -> list[str]:
        session = self._connected(UNLIMITED)
        try:
            return migrations.missing_versions(session, self.address)
        finally:
            session.close()

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        """Return None: neither server sends notifications, so they are polled (`ServerWatch`)."""
        return None

    def join_transaction(self, application: ExternalConnection, identity: str) -> ExternalTransaction:
        (writing, _), texts = statements(self.address.qualifier)
        return external.join_transaction(application, self.address, writing, texts, identity, self._foreign)

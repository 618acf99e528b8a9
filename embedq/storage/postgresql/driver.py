"""The driver for PostgreSQL; see `storage.driver`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import psycopg

from embedq.errors import StorageError
from embedq.observability.log import get_logger
from embedq.storage import named_sql
from embedq.storage.base import ExternalConnection, ExternalTransaction
from embedq.storage.driver import ErrorKind
from embedq.storage.postgresql import external, failures, migrations, refusal
from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.postgresql.dialect import dialect
from embedq.storage.postgresql.listener import PostgresListener
from embedq.storage.postgresql.session import PostgresSession
from embedq.storage.postgresql.transaction import qualified, unlocked
from embedq.storage.retries import UNLIMITED, Timeouts

logger = get_logger()


@cache
def statements(schema: str) -> tuple[dict[str, str], dict[str, str]]:
    """Every named statement on the tables of a (quoted) schema: for transactions that write, and that read."""
    named = named_sql.read(Path(__file__).parent, dialect)
    writing = {name: qualified(sql, schema) for name, sql in named.items()}
    return writing, {name: unlocked(sql) for name, sql in writing.items()}


class PostgresDriver:
    """Opens connections, and classifies errors.

    Args:
        connect: the application's function that opens them, if any.
    """

    def __init__(
        self, address: PostgresAddress, *, durability: str, timeouts: Timeouts, connect: Callable[[], Any] | None = None
    ) -> None:
        self.url = address.label
        self.address = address
        self._durability = durability
        self._timeouts = timeouts
        self._connect = connect
        self._pooled = address.pooled
        self._listener: PostgresListener | None = None
        self._sessions: WeakSet[PostgresSession] = WeakSet()
        # The application's connections that are to this database.
        self._foreign: WeakSet[Any] = WeakSet()

    @property
    def pipelines_inserts(self) -> bool:
        return not self._pooled

    def after_fork(self) -> PostgresDriver:
        for session in list(self._sessions):
            session.let_go()
        return PostgresDriver(self.address, durability=self._durability, timeouts=self._timeouts, connect=self._connect)

    def connect(self, *, limit: float | None = None) -> PostgresSession:
        return self._connected(self._timeouts if limit is None else Timeouts.within(limit), limit)

    def refuses(self, error: Exception | None, *, seconds: float) -> bool:
        if self._connect is not None:
            return refusal.shows_refusal(error)
        return refusal.refuses(self.address, seconds=seconds)

    def _connected(self, timeouts: Timeouts, limit: float | None = None) -> PostgresSession:
        try:
            session = self._open(timeouts, limit)
        except psycopg.OperationalError as error:
            if self._pooled or not failures.shows_a_pooler(error):
                raise
        else:
            if session.has_settings:
                return session
            session.close()
        self._share()
        return self._open(timeouts, limit)

    def _open(self, timeouts: Timeouts, limit: float | None) -> PostgresSession:
        session = PostgresSession(
            self.address,
            durability=self._durability,
            pooled=self._pooled,
            timeouts=timeouts,
            sql=statements(self.address.quoted_schema),
            connect=self._connect,
            connect_seconds=limit,
        )
        self._sessions.add(session)
        return session

    def _share(self) -> None:
        logger.info("a pooler shares the connections to %s; changes are polled", self.url)
        self._pooled = True
        if self._listener is not None:
            self._listener.end()

    def classify(self, error: Exception, *, reading: bool) -> ErrorKind:
        if not self._pooled and failures.shows_a_pooler(error):
            self._share()
        return failures.classify(error, reading=reading)

    def explain(self, error: Exception) -> StorageError | None:
        return failures.explain(error, self.address.label, self.address.schema)

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

    def listen(self, changed: Callable[[], None], *, rest: float) -> PostgresListener | None:
        if self._pooled:
            return None
        self._listener = PostgresListener(self.connect, self.address.channel, changed, self._is_own)
        return self._listener

    def join_transaction(self, application: ExternalConnection, identity: str) -> ExternalTransaction:
        writing, _ = statements(self.address.quoted_schema)
        return external.join_transaction(application, self.address, writing, identity, self._foreign)

    def _is_own(self, backend: int) -> bool:
        return any(session.backend == backend for session in list(self._sessions))

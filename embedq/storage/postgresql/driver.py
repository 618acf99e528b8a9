"""PostgreSQL as `server_database` wants it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import psycopg

from embedq.errors import StorageError
from embedq.storage import named_sql
from embedq.storage.base import ForeignTransaction, Lent
from embedq.storage.driver import Trouble
from embedq.storage.patience import ENDLESS, Patience
from embedq.storage.postgresql import failures, foreign, migrations
from embedq.storage.postgresql.address import Address
from embedq.storage.postgresql.listener import PostgresListener
from embedq.storage.postgresql.session import PostgresSession
from embedq.storage.postgresql.transaction import qualified, unlocked

logger = logging.getLogger("embedq")


@cache
def statements(schema: str) -> tuple[dict[str, str], dict[str, str]]:
    """Every named statement on the tables of a (quoted) schema: for transactions that write, and that read."""
    writing = {name: qualified(sql, schema) for name, sql in named_sql.read(Path(__file__).parent).items()}
    return writing, {name: unlocked(sql) for name, sql in writing.items()}


class PostgresDriver:
    """Opens connections, and knows what errors mean.

    Args:
        connect: opens them for it.
    """

    def __init__(
        self, address: Address, *, durability: str, patience: Patience, connect: Callable[[], Any] | None = None
    ) -> None:
        self.url = address.label
        self.address = address
        self._durability = durability
        self._patience = patience
        self._connect = connect
        self._pooled = address.pooled
        self._listener: PostgresListener | None = None
        self._sessions: WeakSet[PostgresSession] = WeakSet()
        # The application's connections that are to this database.
        self._foreign: WeakSet[Any] = WeakSet()

    @property
    def inserts_alone(self) -> bool:
        return not self._pooled

    def after_fork(self) -> PostgresDriver:
        for session in list(self._sessions):
            session.let_go()
        return PostgresDriver(self.address, durability=self._durability, patience=self._patience, connect=self._connect)

    def connect(self) -> PostgresSession:
        return self._connected(self._patience)

    def _connected(self, patience: Patience) -> PostgresSession:
        try:
            session = self._open(patience)
        except psycopg.OperationalError as error:
            if self._pooled or not failures.pooler_in_between(error):
                raise
        else:
            if session.obeys:
                return session
            session.close()
        self._share()
        return self._open(patience)

    def _open(self, patience: Patience) -> PostgresSession:
        session = PostgresSession(
            self.address,
            durability=self._durability,
            pooled=self._pooled,
            patience=patience,
            sql=statements(self.address.quoted_schema),
            connect=self._connect,
        )
        self._sessions.add(session)
        return session

    def _share(self) -> None:
        logger.info("a pooler shares the connections to %s; changes are polled", self.url)
        self._pooled = True
        if self._listener is not None:
            self._listener.end()

    def trouble(self, error: Exception, *, reading: bool) -> Trouble:
        if not self._pooled and failures.pooler_in_between(error):
            self._share()
        return failures.trouble(error, reading=reading)

    def explain(self, error: Exception) -> StorageError | None:
        return failures.explain(error, self.address.label, self.address.schema)

    def migrate(self) -> list[str]:
        session = self._connected(ENDLESS)
        try:
            return migrations.migrate(session, self.address)
        finally:
            session.close()

    def pending_migrations(self) -> list[str]:
        session = self._connected(ENDLESS)
        try:
            return migrations.missing_versions(session, self.address)
        finally:
            session.close()

    def listen(self, changed: Callable[[], None], *, rest: float) -> PostgresListener | None:
        if self._pooled:
            return None
        self._listener = PostgresListener(self.connect, self.address.channel, changed, self._is_own)
        return self._listener

    def foreign(self, lent: Lent, identity: str) -> ForeignTransaction:
        writing, _ = statements(self.address.quoted_schema)
        return foreign.borrow(lent, self.address, writing, identity, self._foreign)

    def _is_own(self, backend: int) -> bool:
        return any(session.backend == backend for session in list(self._sessions))

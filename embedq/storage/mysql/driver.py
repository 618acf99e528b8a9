"""MySQL and MariaDB as `server_database` wants them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from embedq.errors import StorageError
from embedq.storage import named_sql
from embedq.storage.base import ForeignTransaction, Lent, Listener
from embedq.storage.driver import Trouble
from embedq.storage.mysql import failures, foreign, migrations
from embedq.storage.mysql.address import Address
from embedq.storage.mysql.adopted import adopted
from embedq.storage.mysql.session import MysqlSession, Statement, compiled, connect, qualified, unlocked
from embedq.storage.patience import ENDLESS, Patience

Statements = Mapping[str, tuple[Statement, ...]]
PROGRAM = "embedq"


@cache
def statements(qualifier: str) -> tuple[tuple[Statements, Statements], Mapping[str, str]]:
    """Every named statement: compiled for transactions that write, and that read; and as text."""
    texts = {name: qualified(sql, qualifier) for name, sql in named_sql.read(Path(__file__).parent).items()}
    writing = {name: compiled(sql) for name, sql in texts.items()}
    return (writing, {name: compiled(unlocked(sql)) for name, sql in texts.items()}), texts


class MysqlDriver:
    """Opens connections, and knows what errors mean.

    Args:
        connect: opens them for it.
    """

    def __init__(self, address: Address, *, patience: Patience, connect: Callable[[], Any] | None = None) -> None:
        self.url = address.label
        self.address = address
        self._patience = patience
        self._connect = connect
        # Names this process's transactions; a fork is another process.
        self._writer = str(uuid.uuid4())
        self._sessions: WeakSet[MysqlSession] = WeakSet()
        # The application's connections that are to this database.
        self._foreign: WeakSet[Any] = WeakSet()

    @property
    def inserts_alone(self) -> bool:
        return False

    def after_fork(self) -> MysqlDriver:
        for session in list(self._sessions):
            session.let_go()
        return MysqlDriver(self.address, patience=self._patience, connect=self._connect)

    def connect(self) -> MysqlSession:
        return self._connected(self._patience)

    def _connected(self, patience: Patience) -> MysqlSession:
        (both, texts) = statements(self.address.qualifier)
        connection = connect(self.address, PROGRAM) if self._connect is None else adopted(self._connect)
        session = MysqlSession(
            connection, self.address, patience=patience, writer=self._writer, statements=both, parts=texts
        )
        self._sessions.add(session)
        return session

    def trouble(self, error: Exception, *, reading: bool) -> Trouble:
        return failures.trouble(error, reading=reading)

    def explain(self, error: Exception) -> StorageError | None:
        return failures.explain(error, self.address.label)

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

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        """Neither server tells; they are asked (`ServerWatch`)."""
        return None

    def foreign(self, lent: Lent, identity: str) -> ForeignTransaction:
        (writing, _), texts = statements(self.address.qualifier)
        return foreign.borrow(lent, self.address, writing, texts, identity, self._foreign)

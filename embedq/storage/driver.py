"""What a kind of database server has to supply: connections, and what its errors mean. See `server_database`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from embedq.errors import StorageError
from embedq.storage.base import ForeignTransaction, Lent, Listener, Transaction
from embedq.storage.server_clock import ServerClock


class Trouble(Enum):
    """What an error means for the transaction."""

    OWN = "run again, it fails again"
    CONFLICT = "another transaction was in the way"
    AWAY = "the connection or the server is gone"


class LoneInserts(Transaction, Protocol):
    """Inserts jobs with no transaction around them.

    Attributes:
        unanswered: the ids of rows that may or may not have been written.
    """

    unanswered: list[int]

    def send(self) -> list[int]:
        """Insert what was noted, all or nothing; the ids that were another's, so that their jobs are not there."""


class Session(Protocol):
    """One connection. Used by one thread at a time."""

    @property
    def transaction(self) -> Transaction:
        """For the statements between `begin` and `commit`."""

    @property
    def mark(self) -> str | None:
        """The server's number of the open transaction."""

    def lone(self, count: int, unanswered: Sequence[int]) -> LoneInserts | None:
        """For so many inserts by themselves, of these rows if they have been sent before; None where those need a
        transaction."""

    def begin(self, clock: ServerClock | None, *, read_only: bool) -> None:
        """Open a transaction, and let the clock know what time the server has."""

    def commit(self) -> None:
        """Commit, and wake those who listen if anything in it concerns them."""

    def rollback(self) -> bool:
        """Give the transaction up; False when the connection is of no more use."""

    def committed(self, mark: str) -> bool | None:
        """Whether the transaction of that number was committed. Waits while it is being so.

        None: this server cannot say, since another one gave that number.
        """

    def identity(self) -> str:
        """The same text in every process of this database, however it is reached."""

    def close(self) -> None:
        """Close the connection, in whatever state it is."""


class Driver(Protocol):
    """A kind of server."""

    url: str

    @property
    def inserts_alone(self) -> bool:
        """Whether its sessions insert with no transaction around it; one that finds a pooler may yet not."""

    def connect(self) -> Session:
        """Open a connection."""

    def after_fork(self) -> Driver:
        """In the child of a fork: leave every connection to the parent; one like this that knows of none."""

    def trouble(self, error: Exception, *, reading: bool) -> Trouble:
        """What an error means for a transaction that reads, or writes."""

    def explain(self, error: Exception) -> StorageError | None:
        """The error in words that say what to do; None for what is not the driver's."""

    def migrate(self) -> list[str]:
        """See `Database.migrate`."""

    def pending_migrations(self) -> list[str]:
        """See `Database.pending_migrations`."""

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        """See `Database.listen`."""

    def foreign(self, lent: Lent, identity: str) -> ForeignTransaction:
        """See `Database.foreign`. The database is the one of that identity."""

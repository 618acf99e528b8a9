"""The interface to a kind of database server: connections, and the meaning of its errors. See `server_database`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from embedq.errors import StorageError
from embedq.storage.base import ExternalConnection, ExternalTransaction, Listener, Transaction
from embedq.storage.server_clock import ServerClock


class ErrorKind(Enum):
    """What an error means for the transaction."""

    PERMANENT = "it would fail again"
    CONFLICT = "another transaction conflicted with it"
    UNAVAILABLE = "the connection or the server is lost"


class PipelinedInserts(Transaction, Protocol):
    """Inserts jobs in one pipeline, with no transaction around them.

    Attributes:
        unanswered: the ids of rows that may or may not have been written.
    """

    unanswered: list[int]

    def send(self) -> list[int]:
        """Insert the collected jobs, all or nothing; return the ids that other rows had; those jobs are missing."""


class ServerSession(Protocol):
    """One connection. Used by one thread at a time."""

    @property
    def transaction(self) -> Transaction:
        """For the statements between `begin` and `commit`."""

    @property
    def mark(self) -> str | None:
        """The number that the server gave the open transaction."""

    def pipelined_inserts(self, count: int, unanswered: Sequence[int]) -> PipelinedInserts | None:
        """Return a pipeline for `count` inserts; None where inserts need a transaction.

        Args:
            unanswered: the ids of the rows, if they have been sent before.
        """

    def begin(self, clock: ServerClock | None, *, read_only: bool) -> None:
        """Open a transaction, and give the clock the server's time."""

    def commit(self) -> None:
        """Commit, and notify listeners if something in it concerns them."""

    def rollback(self) -> bool:
        """Roll back; return False if the connection is unusable."""

    def committed(self, mark: str) -> bool | None:
        """Return whether the transaction of that number was committed; wait while its commit is in progress.

        None: this server cannot know, since another server gave that number.
        """

    def identity(self) -> str:
        """Return a text that is the same in every process of this database, whatever URL it uses."""

    def close(self) -> None:
        """Close the connection, in whatever state it is."""


class Driver(Protocol):
    """A kind of server."""

    url: str

    @property
    def pipelines_inserts(self) -> bool:
        """Whether its sessions insert in a pipeline; one that turns out to be behind a pooler does not."""

    def connect(self, *, limit: float | None = None) -> ServerSession:
        """Open a connection.

        Args:
            limit: how many seconds opening, and each answer, may take; such a session leaves no mark of its commits
                (`ServerSession.mark`). None for the driver's own settings.
        """

    def refuses(self, error: Exception | None, *, seconds: float) -> bool:
        """Return whether every address of the server refuses connections, those of other processes too.

        Args:
            error: of a failed connection; None if none was tried. Then False where only errors can show it.
            seconds: how long each address has to answer. An address that does not answer has not refused.
        """

    def after_fork(self) -> Driver:
        """In the child of a fork: leave all connections to the parent; return a like driver without any."""

    def classify(self, error: Exception, *, reading: bool) -> ErrorKind:
        """Return what an error means for a transaction that reads, or writes."""

    def explain(self, error: Exception) -> StorageError | None:
        """Return embedq's error, with advice, for one of the driver's; None for any other."""

    def migrate(self) -> list[str]:
        """See `Database.migrate`."""

    def pending_migrations(self) -> list[str]:
        """See `Database.pending_migrations`."""

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        """See `Database.listen`."""

    def join_transaction(self, application: ExternalConnection, identity: str) -> ExternalTransaction:
        """See `Database.join_transaction`. The database is the one of that identity."""

"""The interface between embedq and a database: how a transaction runs, and SQL by name.

A backend supplies a `Database`. Operations on jobs are written once, as plain functions whose first argument is a
`Transaction` (`jobs`, `claims`, `finishing`, `servers`, `schedules`, `inspect`):

    inserted = database.write(jobs.insert, job)
    claimed = database.write(claims.claim, request, now=now, retention=retention)

The one surprise: a function that is passed to `write` may be called twice. When one member of a group of writes fails,
the group is rolled back and each member runs again alone; so such a function changes nothing but the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from embedq.clock import Clock

P = ParamSpec("P")
T = TypeVar("T")

Row = tuple[Any, ...]
Params = Sequence[Any]


class Transaction(Protocol):
    """One open transaction. Statements are named as in the SQL files; parameters are positional."""

    def run(self, statement: str, params: Params = ()) -> int:
        """Execute, and return the number of rows changed."""

    def one(self, statement: str, params: Params = ()) -> Row | None:
        """Return the first row, or None."""

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        """Return every row."""

    def batch(self, statement: str, params: Params) -> Sequence[Sequence[Any]]:
        """Return every row of a statement that may return them as one JSON text, where that is cheaper than rows."""

    def insert(self, statement: str, params: Params) -> int | None:
        """Insert one row and return its id; None when the row was not inserted because of a conflict."""

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        """Insert a row for each of `values`, in order, with the shared parameters; return their ids.

        This takes as many statements as the size of the values requires.
        """

    def insert_each(self, statement: str, rows: Sequence[Row]) -> list[int]:
        """Insert whole rows with which nothing conflicts, in order and in few steps; return their ids."""

    def insert_keyed(self, rows: Sequence[Row]) -> list[int | None]:
        """Insert jobs (`NewJob`) of which some have idempotency keys; the ids, or None where a key is taken.

        The ids grow in the order of the rows. The keys are taken in their own order, so that two transactions with the
        same ones do not wait for each other.
        """

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        """Insert whole rows, as many as there are, in few round trips."""

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a query composed by the read model: `?` for its parameters, `{name}` for parts from the SQL files."""


class ExternalTransaction(Transaction, Protocol):
    """A transaction that the application has opened on its own connection, and will commit or roll back."""

    def announce(self) -> None:
        """Let the commit wake workers, where the database can do that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalConnection:
    """A connection of the application's; see `external.adapt`.

    Attributes:
        connection: the driver's own connection, whose state can be read.
        execute: runs a statement through the library that holds the connection, and returns a cursor or the like; None
            if there is no library.
        paramstyle: of `execute`, as the DB-API names them.
        autocommit: as the library reports it; None if the connection knows.
    """

    connection: Any
    execute: Callable[[str, tuple[Any, ...]], Any] | None = None
    paramstyle: str = ""
    autocommit: bool | None = None


class Database(Protocol):
    """One process's access to one database. Safe to share between threads, never across a fork."""

    url: str
    """For messages: without its password."""

    @property
    def remote(self) -> bool:
        """Whether it is on a server, which this process may lose contact with while others do not."""

    @property
    def folder(self) -> Path:
        """The folder for the lock files of this host's processes that share the database. Known once it is migrated."""

    def clock(self, base: Clock) -> Clock:
        """Return the clock that every process of this database shares: the server's if there is one, else `base`."""

    def migrate(self) -> list[str]:
        """Bring the schema up to this version's and return the migrations that were applied.

        Raises:
            SchemaTooNewError: a newer embedq has migrated it.
            StorageError: the database cannot be opened or written; the subclass and message give the reason.
        """

    def pending_migrations(self) -> list[str]:
        """Return the migrations that `migrate` would apply. Nothing is created or changed.

        Raises:
            StorageMissingError: there is no database.
            SchemaTooNewError, StorageError: as for `migrate`.
        """

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(transaction, *args, **kwargs)` in a transaction; durable when this returns.

        Raises:
            StorageUncertainError: it may or may not have been written.
            StorageError: nothing was written. StorageRefusedError if the values to write are the cause.
        """

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` on one consistent snapshot. It must not write."""

    def join_transaction(self, application: ExternalConnection) -> ExternalTransaction:
        """Return the application's own transaction, for writing jobs in it.

        Raises:
            TransactionError: the connection is to another database or closed, or has no transaction open and commits
                each statement by itself.
        """

    def watch(self) -> ChangeWatch:
        """Return a cheap way to notice that another connection wrote; for one thread."""

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        """Call `changed` soon after each write, at most every `rest` seconds; None where that is impossible."""

    def refuse_reentry(self) -> None:
        """Raise ReentryError if this thread is in the middle of a call; see `doorway`."""

    def heartbeat_connection(self, *, limit: float) -> HeartbeatConnection:
        """Return a connection for the heartbeat alone, so that it does not wait for other writes.

        Args:
            limit: how many seconds a server may take for each answer.
        """

    def close(self) -> None:
        """Close every connection except that of a `heartbeat_connection`. Later calls open new ones."""

    def inherited(self) -> Database:
        """After a fork, in the child: return a new Database on the same data. This one is kept, untouched."""


class HeartbeatConnection(Protocol):
    """For one thread, which writes the heartbeat there and nothing that takes long."""

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Database.write`, but with one attempt on a server: the caller must learn of a failure.

        Raises:
            StorageError: it may or may not have been written.
        """

    def refused(self) -> bool:
        """Return whether every address of the server refuses connections. For use after a failed write.

        It waits for each address to answer. False where one does not, and where there is no server.
        """

    def close(self) -> None:
        """Close the connection."""


class Listener(Protocol):
    """A thread that receives notifications of changes."""

    @property
    def works(self) -> bool:
        """Whether notifications arrive, so that polling is not needed."""

    def close(self) -> None:
        """End the thread."""


class ChangeWatch(Protocol):
    """Owned by one thread."""

    def changed(self) -> bool:
        """Return whether another connection may have committed since the last such answer. Costs microseconds."""

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Read as `Database.read` does, on the watch's own connection."""

    def found_work(self) -> None:
        """Report that the last read found work. Where the watch polls, it then polls quickly, and else ever slower."""

    def close(self) -> None:
        """Close the watch's connection."""

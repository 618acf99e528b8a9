"""The seam between embedq and a database: how a transaction runs, and SQL by name.

A backend supplies a `Database`. What happens to jobs is written once, as plain functions whose first argument is a
`Transaction` (`storage/jobs.py`, `servers.py`, `schedules.py`, `inspect.py`):

    ids = database.write(jobs.insert, drafts)
    claimed = database.write(jobs.claim, request)

The one surprise: a function handed to `write` may be called twice. When one member of a group of writes fails, the
group is rolled back and each member runs again alone; so such a function changes nothing but the database.
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
    """One open transaction. Statements are named as in the backend's SQL files; parameters are positional."""

    def run(self, statement: str, params: Params = ()) -> int:
        """Execute, and return the number of rows changed."""

    def one(self, statement: str, params: Params = ()) -> Row | None:
        """The first row, or None."""

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        """Every row."""

    def batch(self, statement: str, params: Params) -> Sequence[Sequence[Any]]:
        """Every row of a statement that may give them as one JSON text, where a text is cheaper than rows."""

    def insert(self, statement: str, params: Params) -> int | None:
        """Insert one row and return its id; None when the row was not inserted because of a conflict."""

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        """Insert a row for each of `values`, in order, with the shared parameters; return their ids."""

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        """Insert whole rows, as many as there are, in few round trips."""

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a query composed by the read model: `?` for its parameters, `{name}` for parts from the SQL files."""


class ForeignTransaction(Transaction, Protocol):
    """A transaction that the application has opened on a connection of its own, and will commit or roll back."""

    def announce(self) -> None:
        """Let workers be woken by the commit, where the database can do that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A connection that the application lends; see `foreign.lend`.

    Attributes:
        connection: the driver's own, to be asked how it is.
        execute: runs a statement through the library that holds it, and returns something like a cursor; None: there is
            no library.
        paramstyle: of `execute`, as the DB-API names them.
        autocommit: what the library says of it; None: the connection knows.
    """

    connection: Any
    execute: Callable[[str, tuple[Any, ...]], Any] | None = None
    paramstyle: str = ""
    autocommit: bool | None = None


class Database(Protocol):
    """One process's access to one database. Safe to share between threads, never across a fork."""

    url: str
    """For people: without its password."""

    @property
    def folder(self) -> Path:
        """Where the processes of this host that share the database keep their locks. Known once it is migrated."""

    def clock(self, base: Clock) -> Clock:
        """The clock that every process of this database shares: the server's where there is one, else `base`."""

    def migrate(self) -> list[str]:
        """Bring the schema up to this version's and return the migrations that were applied.

        Raises:
            SchemaTooNewError: a newer embedq has been here.
            StorageError: the database cannot be opened or written; the subclass and message say why.
        """

    def pending_migrations(self) -> list[str]:
        """The migrations that `migrate` would apply. Nothing is created or changed.

        Raises:
            StorageMissingError: there is no database.
            SchemaTooNewError, StorageError: as for `migrate`.
        """

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(transaction, *args, **kwargs)` in a transaction; durable when this returns.

        Raises:
            StorageUncertainError: it may or may not have been written.
            StorageError: nothing was written. StorageRefusedError if that is the fault of what was to be written.
        """

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` on one consistent snapshot. It must not write."""

    def foreign(self, lent: Lent) -> ForeignTransaction:
        """The application's own transaction, to write jobs in.

        Raises:
            TransactionError: the connection is to another database or closed, or has no transaction open and commits
                each statement by itself.
        """

    def watch(self) -> ChangeWatch:
        """A cheap way to notice that somebody wrote; for one thread."""

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        """Call `changed` soon after anybody has written, at most every `rest` seconds; None if that cannot be done."""

    def close(self) -> None:
        """Close every connection. Calls that come later open new ones."""

    def inherited(self) -> Database:
        """After a fork, in the child: a fresh Database on the same file. This one is kept, untouched, for ever."""


class Listener(Protocol):
    """A thread that is told of changes."""

    @property
    def works(self) -> bool:
        """Whether it has been told of one: then there is no need to ask."""

    def close(self) -> None:
        """End the thread."""


class ChangeWatch(Protocol):
    """Owned by one thread."""

    def changed(self) -> bool:
        """Whether somebody may have committed since the last call that said so. Costs microseconds."""

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Database.read`, on the watch's own connection."""

    def found_work(self) -> None:
        """What was read was worth it. Where asking is all there is, it goes on quickly then, and else slows down."""

    def close(self) -> None:
        """Close the watch's connection."""

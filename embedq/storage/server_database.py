"""What every database server needs: transactions that outlive a lost connection, for few connections.

One connection writes, for all threads of the process (`group_commit`); at most `READERS` read. A driver supplies the
connections (`Session`) and says what an error means (`Trouble`); `Retries` acts on it:

- lost to another transaction (a deadlock): the transaction runs again;
- the connection or the server is gone: it runs again on a new connection, for up to `busy_timeout` seconds of outage;
- anything else is the caller's to hear.

The surprise is a connection that is lost while it commits: whether that happened is then asked of the server, by the
number that it gave the transaction, so that nothing is written twice. A job that is inserted by itself may do without a
transaction, and is sent again under the id that it had.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from embedq.clock import Clock
from embedq.errors import EmbedqError, StorageError, StorageUncertainError
from embedq.interrupts import Shielded
from embedq.storage import jobs
from embedq.storage.base import ForeignTransaction, Lent, Listener, Transaction
from embedq.storage.driver import Driver, Session, Trouble
from embedq.storage.group_commit import GroupCommit, Member
from embedq.storage.patience import Retries
from embedq.storage.server_clock import ServerClock

P = ParamSpec("P")
T = TypeVar("T")

# Connections that read at a time. With the writer and the listener that makes four for a process.
READERS = 2
# How often a database that does not tell is asked for news: soon after there was some, and when nothing happens.
SHORTEST_ASK_SECONDS = 0.02
LONGEST_ASK_SECONDS = 0.2
# For so long after the application wrote a job in a transaction of its own it is asked without a rest.
EXPECTING_SECONDS = 2.0


class ServerDatabase:
    """A database on a server.

    Args:
        busy_timeout: how long a server that cannot be reached is waited for, from when it went away.
        locks: the folder in which each database has one for its processes' locks on this host.
    """

    def __init__(self, driver: Driver, *, busy_timeout: float, locks: Callable[[str], Path]) -> None:
        self.url = driver.url
        self._driver = driver
        self._busy_timeout = busy_timeout
        self._locks = locks
        self._folder: Path | None = None
        self._known_identity: str | None = None
        # Until when the application may commit a job at any moment (monotonic).
        self.expecting_until = 0.0
        self._clock: ServerClock | None = None
        self._writer: Session | None = None
        self._transaction: Transaction | None = None
        self._readers: list[Session] = []
        self._readers_lock = threading.Lock()
        self._may_read = threading.BoundedSemaphore(READERS)
        self._commits = GroupCommit(self._run_group)
        self._listener: Listener | None = None
        # A server that takes no writes may well answer who reads.
        self._reading = Retries(busy_timeout, trouble=partial(driver.trouble, reading=True), lost=self._drop_idle)
        self._writing = Retries(busy_timeout, trouble=partial(driver.trouble, reading=False), lost=self._drop_idle)

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = self._locks(self._identity())
        return self._folder

    def _identity(self) -> str:
        if self._known_identity is None:
            self._known_identity = self._on_reader(lambda session: session.identity())
        return self._known_identity

    def clock(self, base: Clock) -> Clock:
        self._clock = ServerClock(base)
        for _ in range(3):
            self.read(lambda tx: None)
        return self._clock

    def migrate(self) -> list[str]:
        return self._explaining(self._driver.migrate)

    def pending_migrations(self) -> list[str]:
        return self._explaining(self._driver.pending_migrations)

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._commits.write(
            lambda: function(self._transaction, *args, **kwargs),  # type: ignore[arg-type]
            bare=function is jobs.insert and args[0].idempotency_key is None,  # type: ignore[attr-defined]
        )
        return result

    def _run_group(self, group: list[Member]) -> None:
        if not self._driver.inserts_alone:
            self._run_part(group, self._in_one_transaction)
            return
        # Apart from the rest, though it takes two commits: of what went with a lost transaction it may never be known
        # whether it was written (after a failover), of these rows always.
        parts = [[member for member in group if member.bare], [member for member in group if not member.bare]]
        for part in parts if group[0].bare else reversed(parts):
            if part:
                self._run_part(part, self._insert if part[0].bare else self._in_one_transaction)

    def _run_part(self, part: list[Member], write: Callable[[list[Member]], None]) -> None:
        try:
            write(part)
        except Exception as error:
            # A server that did not come back is nobody's own fault, and would be waited for again by each in turn.
            away = self._driver.trouble(error, reading=False) is Trouble.AWAY
            if len(part) == 1 or isinstance(error, StorageError) or away:
                self._fail(part, error)
                return
            for member in part:
                try:
                    write([member])
                except Exception as own_error:
                    self._fail([member], own_error)

    def _fail(self, members: list[Member], error: Exception) -> None:
        for member in members:
            if not member.done:
                member.error, member.done = self._explained(error), True

    def _insert(self, members: list[Member]) -> None:
        """Insert jobs with no transaction around them, where that can be."""
        unanswered: list[int] = []

        def once() -> None:
            nonlocal unanswered
            session = self._writing_session()
            lone = None
            try:
                lone = session.lone(len(members), unanswered)
                if lone is None and unanswered:
                    raise self._uncertain()
                if lone is not None:
                    self._transaction = lone
                    for member in members:
                        member.result = member.body()
                    unwritten = lone.send()
            except BaseException as error:
                if lone is not None:
                    unanswered = lone.unanswered
                self._drop_writer(session, error, known=not unanswered)
                raise
            unanswered = []
            if lone is None:
                self._try_transaction(members)
                return
            for member in members:
                member.done = member.result.id not in unwritten

        try:
            self._writing.run(once)
        except Exception as error:
            if not unanswered:
                raise
            raise self._uncertain() from error
        for member in members:
            if not member.done:
                self._insert([member])

    def _writing_session(self) -> Session:
        if self._writer is None:
            self._writer = self._driver.connect()
        return self._writer

    def _in_one_transaction(self, members: list[Member]) -> None:
        self._writing.run(lambda: self._try_transaction(members))

    def _try_transaction(self, members: list[Member]) -> None:
        session = self._writing_session()
        mark = None
        try:
            session.begin(self._clock, read_only=False)
            self._transaction = session.transaction
            for member in members:
                member.result = member.body()
            mark = session.mark
            session.commit()
        except BaseException as error:
            self._drop_writer(session, error, known=mark is None)
            if mark is None or not self._was_committed(mark):
                raise
            for member in members:
                member.done = True
            if not isinstance(error, Exception):
                raise
        else:
            for member in members:
                member.done = True

    def _was_committed(self, mark: str) -> bool:
        """Whether a commit happened whose answer never came."""

        def ask() -> bool | None:
            session = self._driver.connect()
            try:
                return session.committed(mark)
            finally:
                session.close()

        try:
            committed = self._writing.run(ask)
        except Exception as unanswered:
            raise self._uncertain() from unanswered
        if committed is None:
            raise self._uncertain()
        return committed

    def _uncertain(self) -> StorageUncertainError:
        return StorageUncertainError(
            f"the connection to {self.url} was lost in the middle of a commit, and no server has come back that can "
            "say whether it happened. The last write may or may not be there: look before it is done again."
        )

    def _drop_writer(self, session: Session, error: BaseException, *, known: bool) -> None:
        """Keep the connection only if it is known to be in order, and to lead to the server that takes writes."""
        if not (known and self._is_there(error, reading=False) and session.rollback()):
            self._writer = None
            session.close()

    def _is_there(self, error: BaseException, *, reading: bool) -> bool:
        return not isinstance(error, Exception) or self._driver.trouble(error, reading=reading) is not Trouble.AWAY

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._on_reader(lambda session: function(session.transaction, *args, **kwargs))

    def _on_reader(self, function: Callable[[Session], T]) -> T:
        def once() -> T:
            with self._readers_lock:
                session = self._readers.pop() if self._readers else None
            if session is None:
                session = self._driver.connect()
            usable = False
            try:
                session.begin(self._clock, read_only=True)
                result = function(session)
                usable = session.rollback()
                return result
            except Exception as error:
                usable = self._is_there(error, reading=True) and session.rollback()
                raise
            finally:
                if usable:
                    with self._readers_lock:
                        self._readers.append(session)
                else:
                    session.close()

        # Shielded: an interrupted job would leave the connection in the middle of an answer.
        with Shielded(), self._may_read:
            return self._explaining(lambda: self._reading.run(once))

    def foreign(self, lent: Lent) -> ForeignTransaction:
        self.expecting_until = time.monotonic() + EXPECTING_SECONDS
        return self._driver.foreign(lent, self._identity())

    def watch(self) -> ServerWatch:
        return ServerWatch(self)

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        self._listener = self._driver.listen(changed, rest=rest)
        return self._listener

    @property
    def told(self) -> bool:
        """Whether the server tells this process of changes."""
        return self._listener is not None and self._listener.works

    def _drop_idle(self) -> None:
        """Idle connections are probably gone as well."""
        with self._readers_lock:
            readers, self._readers = self._readers, []
        for session in readers:
            session.close()

    def _explaining(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except Exception as error:
            explained = self._explained(error)
            if explained is error:
                raise
            raise explained from error

    def _explained(self, error: Exception) -> Exception:
        if not isinstance(error, EmbedqError):
            explained = self._driver.explain(error)
            if explained is not None:
                explained.__cause__ = error
                return explained
        return error

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        def close_writer() -> None:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

        self._commits.alone(close_writer)
        self._drop_idle()

    def inherited(self) -> ServerDatabase:
        # Kept, with its locks in whatever state the fork found them.
        _INHERITED.append(self)
        fresh = ServerDatabase(self._driver.after_fork(), busy_timeout=self._busy_timeout, locks=self._locks)
        fresh._folder = self._folder
        fresh._clock = self._clock
        return fresh


_INHERITED: list[ServerDatabase] = []


class ServerWatch:
    """Where the server tells of changes, every question is worth asking.

    Where it does not, questions follow one another quickly after one that found work, and then more and more slowly.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        self._asked_at = 0.0
        self._pause = SHORTEST_ASK_SECONDS

    def changed(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at < self._pause and not self._database.told and now > self._database.expecting_until:
            return False
        self._asked_at = now
        self._pause = min(LONGEST_ASK_SECONDS, self._pause * 1.1)
        return True

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.read(function, *args, **kwargs)

    def found_work(self) -> None:
        self._pause = SHORTEST_ASK_SECONDS

    def close(self) -> None:
        """It has no connection of its own."""

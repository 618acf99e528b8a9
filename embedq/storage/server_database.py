"""A database on a server: transactions that survive a lost connection, with few connections.

One connection writes, for all threads of the process (`group_commit`); at most `READERS` read; one belongs to the
heartbeat (`heartbeat_connection`). A driver supplies the connections (`ServerSession`) and classifies errors
(`ErrorKind`); `Retries` acts on the classification:

- a conflict with another transaction (a deadlock): the transaction runs again;
- the connection or the server is lost: it runs again on a new connection, for up to `busy_timeout` seconds of outage;
- anything else is raised to the caller.

The surprise is a connection that is lost during a commit: the server is then queried whether the commit happened, by
the number that it gave the transaction, so that nothing is written twice. A job that is inserted by itself may do
without a transaction, and is sent again under the id that it had.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from embedq.clock import Clock
from embedq.errors import EmbedqError, StorageError, StorageUncertainError
from embedq.process.interrupts import Shielded
from embedq.storage import jobs, lock_order
from embedq.storage.base import ExternalConnection, ExternalTransaction, Listener, Transaction
from embedq.storage.driver import Driver, ErrorKind, ServerSession
from embedq.storage.group_commit import GroupCommit, Member
from embedq.storage.heartbeat_connection import ServerHeartbeatConnection
from embedq.storage.reentry import ReentryGuard
from embedq.storage.retries import Retries
from embedq.storage.server_clock import ServerClock

P = ParamSpec("P")
T = TypeVar("T")

# Connections that read at a time. With the writer, the listener and the heartbeat that makes five for a process.
READERS = 2
# How often a database that sends no notifications is polled: soon after there was work, and when nothing happens.
SHORTEST_ASK_SECONDS = 0.02
LONGEST_ASK_SECONDS = 0.2
# For how long after the application wrote a job in its own transaction it is polled at every turn.
EXPECTING_SECONDS = 2.0


class ServerDatabase:
    """A database on a server.

    Args:
        busy_timeout: how many seconds of outage are waited for, from their beginning.
        locks: returns the folder for the lock files of a database's processes on this host.
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
        self._writer: ServerSession | None = None
        self._transaction: Transaction | None = None
        self._readers: list[ServerSession] = []
        # How often all idle readers were dropped: one that was in use then is not kept.
        self._dropped = 0
        self._readers_lock = threading.Lock()
        self._may_read = threading.BoundedSemaphore(READERS)
        self._reentry = ReentryGuard(self.url)
        self._commits = GroupCommit(self._run_group, self._reentry)
        self._listener: Listener | None = None
        # A server that accepts no writes may still answer reads.
        self._reading = Retries(busy_timeout, classify=partial(driver.classify, reading=True), lost=self._drop_idle)
        self._writing = Retries(busy_timeout, classify=partial(driver.classify, reading=False), lost=self._drop_idle)

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = self._locks(self._identity())
        return self._folder

    def _identity(self) -> str:
        if self._known_identity is None:
            self._known_identity = self._on_reader(lambda session: session.identity())
        return self._known_identity

    @property
    def remote(self) -> bool:
        return True

    def clock(self, base: Clock) -> Clock:
        self._clock = ServerClock(base)
        for _ in range(3):
            self.read(lambda tx: None)
        return self._clock

    def migrate(self) -> list[str]:
        return self._reentry.run(self._explaining, self._driver.migrate)

    def pending_migrations(self) -> list[str]:
        return self._explaining(self._driver.pending_migrations)

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._commits.write(
            lambda: function(self._transaction, *args, **kwargs),  # type: ignore[arg-type]
            bare=lock_order.is_bare(function, args),
            place=lock_order.place_of(function, args),
        )
        return result

    def _run_group(self, group: list[Member]) -> None:
        bare, rest = [], group
        if self._driver.pipelines_inserts:
            # Apart from the rest, though it takes two commits: after a failover it may never be known whether a lost
            # transaction was written, but it is always known of these rows.
            bare, rest = [member for member in group if member.bare], [member for member in group if not member.bare]
        writes = [(bare, self._insert)] if bare else []
        for part in lock_order.parts([member.place for member in rest]):
            members = [rest[number] for number in part.places]
            writes.append((members, partial(self._in_one_transaction, locking=part.parents)))
        # The leader need not wait for the other parts.
        for members, write in sorted(writes, key=lambda one: group[0] not in one[0]):
            self._run_part(members, write)

    def _run_part(self, part: list[Member], write: Callable[[list[Member]], None]) -> None:
        try:
            write(part)
        except Exception as error:
            # No member caused an outage, and each in turn would wait for the server again.
            away = self._driver.classify(error, reading=False) is ErrorKind.UNAVAILABLE
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
        """Insert jobs with no transaction around them, where that is possible."""
        self._insert_pipelined(members)
        for member in members:
            # Another row had its id: it is inserted with another one.
            while not member.done:
                self._insert_pipelined([member])

    def _insert_pipelined(self, members: list[Member]) -> None:
        """Insert jobs in one pipeline. A member whose id another row had is not done afterwards."""
        unanswered: list[int] = []

        def once() -> None:
            nonlocal unanswered
            session = self._writing_session()
            pipelined = None
            try:
                pipelined = session.pipelined_inserts(len(members), unanswered)
                if pipelined is None and unanswered:
                    raise self._uncertain()
                if pipelined is not None:
                    self._transaction = pipelined
                    for member in members:
                        member.result = member.body()
                    unwritten = pipelined.send()
            except BaseException as error:
                if pipelined is not None:
                    unanswered = pipelined.unanswered
                self._drop_writer(session, error, known=not unanswered)
                raise
            unanswered = []
            if pipelined is None:
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

    def _writing_session(self) -> ServerSession:
        if self._writer is None:
            self._writer = self._driver.connect()
        return self._writer

    def _in_one_transaction(self, members: list[Member], *, locking: Collection[int] = ()) -> None:
        self._writing.run(lambda: self._try_transaction(members, locking))

    def _try_transaction(self, members: list[Member], locking: Collection[int] = ()) -> None:
        session = self._writing_session()
        mark = None
        try:
            session.begin(self._clock, read_only=False)
            self._transaction = session.transaction
            jobs.lock(session.transaction, locking)
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
        """Return whether a commit happened whose answer was lost."""

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
            "show whether it happened. The last write may or may not be there: look before you repeat it."
        )

    def _drop_writer(self, session: ServerSession, error: BaseException, *, known: bool) -> None:
        """Keep the connection only if it is known to be sound, and to lead to the server that accepts writes."""
        if not (known and self._is_there(error, reading=False) and session.rollback()):
            self._writer = None
            session.close()

    def _is_there(self, error: BaseException, *, reading: bool) -> bool:
        if not isinstance(error, Exception):
            return True
        return self._driver.classify(error, reading=reading) is not ErrorKind.UNAVAILABLE

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._on_reader(lambda session: function(session.transaction, *args, **kwargs))

    def _on_reader(self, function: Callable[[ServerSession], T]) -> T:
        def once() -> T:
            with self._readers_lock:
                session = self._readers.pop() if self._readers else None
                dropped = self._dropped
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
                with self._readers_lock:
                    kept = usable and dropped == self._dropped
                    if kept:
                        self._readers.append(session)
                if not kept:
                    session.close()

        # Shielded: an interrupted job would leave the connection in the middle of an answer.
        def shared() -> T:
            with self._may_read:
                return self._explaining(lambda: self._reading.run(once))

        with Shielded():
            return self._reentry.run(shared)

    def join_transaction(self, application: ExternalConnection) -> ExternalTransaction:
        self._reentry.refuse_reentry()
        self.expecting_until = time.monotonic() + EXPECTING_SECONDS
        return self._driver.join_transaction(application, self._identity())

    def watch(self) -> ServerWatch:
        return ServerWatch(self)

    def listen(self, changed: Callable[[], None], *, rest: float) -> Listener | None:
        self._listener = self._driver.listen(changed, rest=rest)
        return self._listener

    def heartbeat_connection(self, *, limit: float) -> ServerHeartbeatConnection:
        return ServerHeartbeatConnection(
            self._driver, clock=lambda: self._clock, limit=limit, explaining=self._explained
        )

    @property
    def notified(self) -> bool:
        """Whether the server notifies this process of changes."""
        return self._listener is not None and self._listener.works

    def _drop_idle(self) -> None:
        """Close idle connections, which are probably lost as well."""
        with self._readers_lock:
            readers, self._readers = self._readers, []
            self._dropped += 1
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

    def refuse_reentry(self) -> None:
        self._reentry.refuse_reentry()

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        def close_writer() -> None:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

        self._commits.alone(close_writer)
        self._reentry.run(self._drop_idle)

    def inherited(self) -> ServerDatabase:
        # Kept, with its locks in whatever state the fork found them.
        _INHERITED.append(self)
        fresh = ServerDatabase(self._driver.after_fork(), busy_timeout=self._busy_timeout, locks=self._locks)
        fresh._folder = self._folder
        fresh._clock = self._clock
        return fresh


_INHERITED: list[ServerDatabase] = []


class ServerWatch:
    """Polls a server at every call where the server sends notifications.

    Where it sends none, polls are frequent after one that found work, and then become rarer.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        self._asked_at = 0.0
        self._pause = SHORTEST_ASK_SECONDS

    def changed(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at < self._pause and not self._database.notified and now > self._database.expecting_until:
            return False
        self._asked_at = now
        self._pause = min(LONGEST_ASK_SECONDS, self._pause * 1.1)
        return True

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.read(function, *args, **kwargs)

    def found_work(self) -> None:
        self._pause = SHORTEST_ASK_SECONDS

    def close(self) -> None:
        """Do nothing: it has no connection of its own."""

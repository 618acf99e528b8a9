"""Enqueueing as a part of the application's own transaction, through its own connection.

    with embedq.transaction(session):        # a block: jobs that are enqueued in here …
        send_mail.enqueue(order.id)
    session.commit()                         # … exist from here on, and never if this is a rollback

A block applies to the code that runs in it: this thread, or this asyncio task with what it awaits. embedq does not
begin, commit or roll back anything. The innermost open block of an app counts; `hold` and `on_commit` (`deferred.py`)
are blocks too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from embedq.config import Retention
from embedq.engine import commit_hooks
from embedq.engine.lifecycle import Engine
from embedq.engine.stored_jobs import StoredJobs
from embedq.errors import TransactionError
from embedq.storage import external, jobs
from embedq.storage.base import Transaction
from embedq.storage.jobs import Inserted
from embedq.storage.reentry import ReentryGuard
from embedq.storage.rows import NewJob
from embedq.tasks.context import JobContext, job_here
from embedq.tasks.handle import JobHandle

P = ParamSpec("P")
T = TypeVar("T")


class Block:
    """Receives the jobs that are enqueued inside it. A context manager that can be entered once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._open: bool | None = None
        self._outer: Block | None = None
        self._job: JobContext | None = None

    def __enter__(self) -> Self:
        if self._open is not None:
            raise TransactionError("a block can be entered once: call transaction(), on_commit() or hold() for each")
        # A block may be left in another context, as in the `finally` of a generator; it must not be kept here.
        self._outer = _innermost_open(_innermost.get())
        self._job = job_here()
        self._open = True
        _innermost.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if _innermost.get() is self:
            _innermost.set(self._outer)
        self.left(error)

    @property
    def _applies_here(self) -> bool:
        # A job is a separate piece of work, even if it runs in this thread. And a job that was interrupted between two
        # steps of a `with` may not have left its block when the next job begins.
        return bool(self._open) and self._job is job_here()

    def left(self, error: BaseException | None) -> None:
        """Called after the block was left, with the exception that left it, if any."""

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        """Enqueue jobs: all of them, or none."""
        raise NotImplementedError

    async def aadd(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        """Do the same in an event loop, and in its thread, since the application uses its connection there."""
        return self.add(rows)

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in this block's transaction."""
        raise NotImplementedError


_innermost: ContextVar[Block | None] = ContextVar("embedq_block", default=None)
# While a driver waits for an answer, its connection is locked, or, without a lock, would mix up the answers.
_EXTERNAL = ReentryGuard("the connection of the application")


def current(engine: Engine) -> Block | None:
    """Return the innermost open block of an app for the calling code, else the integration's, else None."""
    block = _innermost.get()
    while block is not None and not (block._applies_here and block.engine is engine):
        block = block._outer
    if block is None and engine.block_around is not None:
        around: Block | None = engine.block_around()
        return around
    return block


def writing(engine: Engine) -> Callable[..., Any]:
    """Return the function to write other things than jobs with.

    It writes in the application's transaction if one is open and can be used synchronously, since another connection
    could wait forever for a lock that this thread holds; else in a transaction of embedq's own.
    """
    block = current(engine)
    if isinstance(block, TransactionBlock) and block.can_write:
        return block.write
    return engine.database.write


def _innermost_open(block: Block | None) -> Block | None:
    while block is not None and not block._applies_here:
        block = block._outer
    return block


class TransactionBlock(Block):
    """Writes each job at once, in the transaction that the application has open.

    Args:
        target: the application's connection or session; see `external.adapt`.
    """

    def __init__(self, engine: Engine, stored: StoredJobs, target: Any) -> None:
        super().__init__(engine)
        external.check_supported(target)
        # Raises NotStartedError already here if the app is not connected.
        self._database = engine.database
        self._stored = stored
        self._target = target
        self._wrote = False

    @property
    def can_write(self) -> bool:
        """Whether the connection can be used without awaiting it."""
        return not external.is_asynchronous(self._target)

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        return self._as_handles(self.write(jobs.insert_all, rows, retention=self._retention))

    async def aadd(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        if self.can_write:
            return self.add(rows)
        # Calling an async_scoped_session returns the session.
        target = self._target if hasattr(self._target, "run_sync") else self._target()
        inserted = await target.run_sync(lambda _: self._write(jobs.insert_all, rows, retention=self._retention))
        return self._as_handles(inserted)

    @property
    def _retention(self) -> Retention:
        return self.engine.settings.retention

    def _as_handles(self, inserted: list[Inserted]) -> list[JobHandle[Any]]:
        return [self._stored.handle(job_id, created=created) for job_id, created in inserted]

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self.can_write:
            raise TransactionError(
                "this connection must be awaited: `await embedq.aenqueue(…)`; or pass its synchronous side to a "
                "function, `await session.run_sync(work)`, and open the transaction block in that function"
            )
        return self._write(function, *args, **kwargs)

    def _write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return _EXTERNAL.run(self._write_inside, function, *args, **kwargs)

    def _write_inside(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        adapted = external.adapt(self._target)
        external.refuse_reentry(adapted.connection)
        transaction = self._database.join_transaction(adapted)
        result = function(transaction, *args, **kwargs)
        transaction.announce()
        if not self._wrote:
            self._wrote = True
            commit_hooks.after_commit(self._target, self._wake)
        return result

    def left(self, error: BaseException | None) -> None:
        if self._wrote:
            # Committed by now if the transaction was inside the block. Otherwise the database announces the jobs.
            self._wake()

    def _wake(self) -> None:
        self.engine.notify(0)

"""Enqueueing as a part of the application's own transaction, through its own connection.

    with embedq.transaction(session):        # a block: what is enqueued in here …
        send_mail.enqueue(order.id)
    session.commit()                         # … exists from here on, and never if this is a rollback

A block holds for the code that runs in it: this thread, or this asyncio task with what it awaits. embedq begins,
commits and rolls back nothing. The innermost open block of an app counts; `hold` and `on_commit` (`held.py`) are blocks
too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from embedq import commit_hooks
from embedq.config import Retention
from embedq.context import JobContext, job_here
from embedq.engine import Engine
from embedq.errors import TransactionError
from embedq.handle import JobHandle
from embedq.storage import foreign, jobs
from embedq.storage.base import Transaction
from embedq.storage.jobs import Inserted
from embedq.storage.rows import NewJob

P = ParamSpec("P")
T = TypeVar("T")


class MakesHandles(Protocol):
    """What a block needs of the one that answers for stored jobs."""

    def handle(self, job_id: int, *, created: bool = True) -> JobHandle: ...


class Block:
    """Takes the jobs that are enqueued inside it. A context manager, to be entered once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._open: bool | None = None
        self._outer: Block | None = None
        self._job: JobContext | None = None

    def __enter__(self) -> Self:
        if self._open is not None:
            raise TransactionError("a block is entered once: call transaction(), on_commit() or hold() for each")
        # A block may be left where nobody sees it go, as in the `finally` of a generator; it must not be kept here.
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
    def _holds_here(self) -> bool:
        # A job is another piece of work, though it be run in this thread. And one that is interrupted between two steps
        # of a `with` may not have left its block when the next job begins.
        return bool(self._open) and self._job is job_here()

    def left(self, error: BaseException | None) -> None:
        """Called when it has been left, with the exception that left it."""

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle]:
        """Enqueue jobs, all or none."""
        raise NotImplementedError

    async def aadd(self, rows: Sequence[NewJob]) -> list[JobHandle]:
        """The same, from an event loop. In its thread: that is where the application uses its connection."""
        return self.add(rows)

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in this block's transaction."""
        raise NotImplementedError


_innermost: ContextVar[Block | None] = ContextVar("embedq_block", default=None)


def current(engine: Engine) -> Block | None:
    """The innermost open block of an app, as the code that calls this sees it; else what an integration says."""
    block = _innermost.get()
    while block is not None and not (block._holds_here and block.engine is engine):
        block = block._outer
    if block is None and engine.block_around is not None:
        around: Block | None = engine.block_around()
        return around
    return block


def writing(engine: Engine) -> Callable[..., Any]:
    """How to write what is no job: in the application's transaction where one is open and can be written in, as another
    connection could wait in vain for the lock that this thread holds; else as ever.
    """
    block = current(engine)
    if isinstance(block, TransactionBlock) and block.can_write:
        return block.write
    return engine.database.write


def _innermost_open(block: Block | None) -> Block | None:
    while block is not None and not block._holds_here:
        block = block._outer
    return block


class TransactionBlock(Block):
    """Writes each job at once, in the transaction that the application has open.

    Args:
        target: its connection or session; see `foreign.lend`.
    """

    def __init__(self, engine: Engine, handles: MakesHandles, target: Any) -> None:
        super().__init__(engine)
        foreign.refuse_strangers(target)
        # Whoever is not connected learns it here.
        self._database = engine.database
        self._handles = handles
        self._target = target
        self._wrote = False

    @property
    def can_write(self) -> bool:
        """Whether it can be written in without waiting for an event loop."""
        return not foreign.is_asynchronous(self._target)

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle]:
        return self._as_handles(self.write(jobs.insert_all, rows, retention=self._retention))

    async def aadd(self, rows: Sequence[NewJob]) -> list[JobHandle]:
        if self.can_write:
            return self.add(rows)
        # An async_scoped_session gives the session when it is called.
        target = self._target if hasattr(self._target, "run_sync") else self._target()
        inserted = await target.run_sync(lambda _: self._write(jobs.insert_all, rows, retention=self._retention))
        return self._as_handles(inserted)

    @property
    def _retention(self) -> Retention:
        return self.engine.settings.retention

    def _as_handles(self, inserted: list[Inserted]) -> list[JobHandle]:
        return [self._handles.handle(job_id, created=created) for job_id, created in inserted]

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self.can_write:
            raise TransactionError(
                "this connection must be awaited: `await embedq.aenqueue(…)`; or hand its synchronous side to a "
                "function, `await session.run_sync(work)`, and open the transaction block in there"
            )
        return self._write(function, *args, **kwargs)

    def _write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        transaction = self._database.foreign(foreign.lend(self._target))
        result = function(transaction, *args, **kwargs)
        transaction.announce()
        if not self._wrote:
            self._wrote = True
            commit_hooks.after_commit(self._target, self._wake)
        return result

    def left(self, error: BaseException | None) -> None:
        if self._wrote:
            # Committed by now, if the transaction was inside the block. Else the database tells of it.
            self._wake()

    def _wake(self) -> None:
        self.engine.notify(0)

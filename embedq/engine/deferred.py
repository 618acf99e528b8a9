"""Deferred enqueueing: after the application's transaction, for jobs that are stored in another database.

    with embedq.on_commit(session):      # SQLAlchemy and Django report their commits
        send_mail.enqueue(order.id)

    with embedq.hold():                  # around anything: written when the block is left without an exception
        with connection:
            send_mail.enqueue(order.id)

Jobs are checked when they are enqueued, kept in memory, and written after the commit. If the process dies between the
two, the transaction is committed and the jobs are lost: they run at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from embedq.config import Retention
from embedq.engine import commit_hooks
from embedq.engine.job_builder import JobBuilder
from embedq.engine.lifecycle import Engine
from embedq.engine.transactions import Block, current
from embedq.errors import ConfigurationError, JobNotFoundError, TransactionError
from embedq.job import JobId, Trigger
from embedq.observability.log import get_logger
from embedq.storage import external, jobs
from embedq.storage.base import Transaction
from embedq.storage.jobs import Inserted
from embedq.storage.rows import NewJob
from embedq.tasks.handle import JobHandle, JobOwner

logger = get_logger()
# The parent_id in a row whose parent has no id yet.
NOT_YET = JobId(0)


class DeferredHandle(JobHandle[Any]):
    """A handle on a job that is written after a commit. It has an id from then on."""

    __slots__ = ("_block", "_id", "_name")

    def __init__(self, block: HoldBlock, owner: JobOwner, name: str) -> None:
        self._id: JobId | None = None
        self._owner = owner
        self._block = block
        self._name = name
        self.created = True

    @property
    def id(self) -> JobId:  # type: ignore[override]
        """The job's id. TransactionError before it is written."""
        if self._id is None:
            raise TransactionError(
                f"this job ({self._name}) is not written yet, and has no id: it will be when the transaction has "
                "committed, or never"
            )
        return self._id

    @property
    def written(self) -> bool:
        """Whether the job is stored by now."""
        return self._id is not None

    def set_written(self, inserted: Inserted) -> None:
        """Give the handle the id of its job, which is written now."""
        self._id, self.created = JobId(inserted.id), inserted.created

    def _continue(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle[Any]:
        if self._id is not None:
            return super()._continue(function, args, kwargs, on)
        return self._block.add_continuation(self, function, args, kwargs, on)

    def __eq__(self, other: object) -> bool:
        return self is other or (self._id is not None and super().__eq__(other))

    def __hash__(self) -> int:
        # The same before and after the job is written; in a set, a plain handle on the same job is a second element.
        return object.__hash__(self)

    def __repr__(self) -> str:
        return f"<DeferredHandle {self._name}{'' if self._id is None else f' {self._id}'}>"


class DeferredEnqueue(NamedTuple):
    """Jobs that were enqueued together; with `parent`, the continuation of a job that was not written yet either."""

    rows: Sequence[NewJob]
    handles: Sequence[DeferredHandle]
    parent: DeferredHandle | None


class HoldBlock(Block):
    """Keeps the jobs enqueued in it, and writes them in one transaction when it is left without an exception."""

    def __init__(self, engine: Engine, builder: JobBuilder, owner: JobOwner) -> None:
        super().__init__(engine)
        self._builder = builder
        self._owner = owner
        self._deferred: list[DeferredEnqueue] = []
        # The outer block, once it has taken them over.
        self._passed_to: HoldBlock | None = None

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        handles = [DeferredHandle(self, self._owner, row.name) for row in rows]
        self.keep(DeferredEnqueue(rows, handles, None))
        return list(handles)

    def add_continuation(
        self,
        parent: DeferredHandle,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        on: str,
    ) -> JobHandle[Any]:
        """Keep a continuation of a job that is kept here."""
        if on not in list(Trigger):
            raise ConfigurationError(f'on={on!r} must be "success", "failure" or "finished"')
        call = self.engine.registry.call(function, args, kwargs)
        row = self._builder.row(call, parent_id=NOT_YET, trigger=Trigger(on))
        handle = DeferredHandle(self, self._owner, row.name)
        self.keep(DeferredEnqueue([row], [handle], parent))
        return handle

    def keep(self, one: DeferredEnqueue) -> None:
        """Keep it until it is to be written."""
        if self._passed_to is not None:
            self._passed_to.keep(one)
            return
        if self._open is False:
            raise TransactionError("the block that this job was enqueued in has ended without writing it")
        self._deferred.append(one)

    def left(self, error: BaseException | None) -> None:
        if error is None and self._deferred:
            outer = current(self.engine)
            if isinstance(outer, HoldBlock):
                self._passed_to = outer
                for one in self._deferred:
                    outer.keep(one)
            else:
                write(self.engine, self._deferred, outer)


class OnCommitBlock(HoldBlock):
    """Keeps the jobs that are enqueued in it until the transaction that is open then has been committed.

    Args:
        target: a SQLAlchemy Session or a Django connection.
    """

    def __init__(self, engine: Engine, builder: JobBuilder, owner: JobOwner, target: Any) -> None:
        super().__init__(engine, builder, owner)
        if external.sqlalchemy_session(target) is None and external.django_wrapper(target) is None:
            raise TransactionError(
                f"a {type(target).__module__.split('.')[0]} {type(target).__qualname__} does not report its "
                "commits (SQLAlchemy's Session and Django's connection do): put `with embedq.hold():` around the "
                "transaction"
            )
        self._target = target

    def keep(self, one: DeferredEnqueue) -> None:
        commit_hooks.after_commit(self._target, lambda: write(self.engine, [one], None))

    def left(self, error: BaseException | None) -> None:
        """Do nothing: the end of the transaction decides about the jobs."""


def write(engine: Engine, batch: Sequence[DeferredEnqueue], block: Block | None) -> None:
    """Write deferred jobs in one transaction of embedq's, or in that of `block`.

    Raises:
        StorageError: nothing was written; the jobs' names are in the log.
    """
    engine_write = engine.database.write if block is None else block.write
    try:
        done = engine_write(_insert_deferred, batch, retention=engine.settings.retention)
    except Exception:
        names = [row.name for one in batch for row in one.rows]
        logger.error(
            "%d jobs could not be enqueued after a commit, and are lost: %s", len(names), ", ".join(names[:10])
        )
        raise
    for handle, inserted in done.items():
        handle.set_written(inserted)
    engine.notify(min(row.run_at for one in batch for row in one.rows))


def _insert_deferred(
    tx: Transaction, batch: Iterable[DeferredEnqueue], *, retention: Retention
) -> dict[DeferredHandle, Inserted]:
    # Not stored in the handles yet: this function may run twice.
    done: dict[DeferredHandle, Inserted] = {}
    for rows, handles, parent in batch:
        if parent is not None:
            if parent not in done and not parent.written:
                raise JobNotFoundError(f"{parent!r} was never written, so it cannot have a continuation")
            parent_id = done[parent].id if parent in done else parent.id
            rows = [row._replace(parent_id=parent_id) for row in rows]
        done.update(zip(handles, jobs.insert_all(tx, rows, retention=retention), strict=True))
    return done

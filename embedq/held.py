"""Enqueueing after the application's transaction, where the jobs cannot be a part of it: they are in another database.

    with embedq.on_commit(session):      # SQLAlchemy and Django say when they have committed
        send_mail.enqueue(order.id)

    with embedq.hold():                  # around anything: written when the block is left without an exception
        with connection:
            send_mail.enqueue(order.id)

Jobs are checked when they are enqueued, held in memory, and written after the commit. A process that dies in between
has committed, and loses them: at most once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from embedq import commit_hooks
from embedq.config import Retention
from embedq.drafting import Drafting
from embedq.engine import Engine
from embedq.errors import ConfigurationError, JobNotFoundError, TransactionError
from embedq.handle import JobHandle, JobOwner
from embedq.job import JobId, Trigger
from embedq.storage import foreign, jobs
from embedq.storage.base import Transaction
from embedq.storage.jobs import Inserted
from embedq.storage.rows import NewJob
from embedq.transactions import Block, current

logger = logging.getLogger("embedq")
# Stands in a row until the parent has an id.
NOT_YET = JobId(0)


class HeldJob(JobHandle):
    """A handle on a job that will be written after a commit. It has an id from then on."""

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
        """Whether it is a job by now."""
        return self._id is not None

    def become(self, inserted: Inserted) -> None:
        """It is written."""
        self._id, self.created = JobId(inserted.id), inserted.created

    def then(self, function: Callable[..., Any], /, *args: Any, on: str = "success", **kwargs: Any) -> JobHandle:
        if self._id is not None:
            return super().then(function, *args, on=on, **kwargs)
        return self._block.add_continuation(self, function, args, kwargs, on)

    def __eq__(self, other: object) -> bool:
        return self is other or (self._id is not None and super().__eq__(other))

    def __hash__(self) -> int:
        # The same before and after it is written; a set that holds it and a plain handle on the job holds two.
        return object.__hash__(self)

    def __repr__(self) -> str:
        return f"<HeldJob {self._name}{'' if self._id is None else f' {self._id}'}>"


class Held(NamedTuple):
    """Jobs that were enqueued together; with `parent`, one that continues a job that was not yet written either."""

    rows: Sequence[NewJob]
    handles: Sequence[HeldJob]
    parent: HeldJob | None


class HoldBlock(Block):
    """Holds what is enqueued in it, and writes it in one transaction when it is left without an exception."""

    def __init__(self, engine: Engine, drafting: Drafting, owner: JobOwner) -> None:
        super().__init__(engine)
        self._drafting = drafting
        self._owner = owner
        self._held: list[Held] = []
        # The block around it, which has them now.
        self._passed_to: HoldBlock | None = None

    def add(self, rows: Sequence[NewJob]) -> list[JobHandle]:
        handles = [HeldJob(self, self._owner, row.name) for row in rows]
        self.keep(Held(rows, handles, None))
        return list(handles)

    def add_continuation(
        self, parent: HeldJob, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle:
        """Hold a job that continues one which is held here."""
        if on not in list(Trigger):
            raise ConfigurationError(f'on={on!r} must be "success", "failure" or "finished"')
        call = self.engine.registry.wrap(function).call(*args, **kwargs)
        row = self._drafting.row(call, parent_id=NOT_YET, trigger=Trigger(on))
        handle = HeldJob(self, self._owner, row.name)
        self.keep(Held([row], [handle], parent))
        return handle

    def keep(self, held: Held) -> None:
        """Hold it until its time."""
        if self._passed_to is not None:
            self._passed_to.keep(held)
            return
        if self._open is False:
            raise TransactionError("the block that this job was enqueued in has been left, and did not write it")
        self._held.append(held)

    def left(self, error: BaseException | None) -> None:
        if error is None and self._held:
            outer = current(self.engine)
            if isinstance(outer, HoldBlock):
                self._passed_to = outer
                for held in self._held:
                    outer.keep(held)
            else:
                write(self.engine, self._held, outer)


class OnCommitBlock(HoldBlock):
    """Holds what is enqueued in it until the transaction that is open then has been committed.

    Args:
        target: a SQLAlchemy Session or a Django connection.
    """

    def __init__(self, engine: Engine, drafting: Drafting, owner: JobOwner, target: Any) -> None:
        super().__init__(engine, drafting, owner)
        if foreign.sqlalchemy_session(target) is None and foreign.django_wrapper(target) is None:
            raise TransactionError(
                f"a {type(target).__module__.split('.')[0]} {type(target).__qualname__} does not tell of its commits "
                "(SQLAlchemy's Session and Django's connection do): put `with embedq.hold():` around the transaction"
            )
        self._target = target

    def keep(self, held: Held) -> None:
        commit_hooks.after_commit(self._target, lambda: write(self.engine, [held], None))

    def left(self, error: BaseException | None) -> None:
        """What becomes of the jobs is for the transaction to say."""


def write(engine: Engine, batch: Sequence[Held], block: Block | None) -> None:
    """Write what was held: in one transaction of embedq's, or in that of `block`.

    Raises:
        StorageError: nothing was written; the jobs' names are in the log.
    """
    engine_write = engine.database.write if block is None else block.write
    try:
        done = engine_write(_insert_held, batch, retention=engine.settings.retention)
    except Exception:
        names = [row.name for held in batch for row in held.rows]
        logger.error(
            "%d jobs could not be enqueued after a commit, and are lost: %s", len(names), ", ".join(names[:10])
        )
        raise
    for handle, inserted in done.items():
        handle.become(inserted)
    engine.notify(min(row.run_at for held in batch for row in held.rows))


def _insert_held(tx: Transaction, batch: Iterable[Held], *, retention: Retention) -> dict[HeldJob, Inserted]:
    # Kept apart from the handles: it may be run twice.
    done: dict[HeldJob, Inserted] = {}
    for rows, handles, parent in batch:
        if parent is not None:
            if parent not in done and not parent.written:
                raise JobNotFoundError(f"{parent!r} was never written, so nothing can continue it")
            parent_id = done[parent].id if parent in done else parent.id
            rows = [row._replace(parent_id=parent_id) for row in rows]
        done.update(zip(handles, jobs.insert_all(tx, rows, retention=retention), strict=True))
    return done

"""Enqueueing that reports the calls that make no job of their own, since an earlier job stands for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from embedq.engine import commit_hooks
from embedq.engine.deferred import DeferredEnqueue, HoldBlock, OnCommitBlock
from embedq.engine.enqueueing import Enqueueing
from embedq.engine.transactions import Block, current
from embedq.errors import JobNotFoundError, UniqueConflictError
from embedq.flow.unique import rule_of
from embedq.storage import inspect
from embedq.storage.rows import NewJob
from embedq.tasks.handle import JobHandle

KeepOut = Callable[[NewJob, int, object], None]
"""Called with what a call would have stored, the id of the job that stands for it, and the block that it was in."""


class WatchedEnqueueing(Enqueueing):
    """Reports calls that were kept out.

    Attributes:
        keep_out: called with each.
    """

    keep_out: KeepOut | None = None

    def _submit(self, row: NewJob) -> JobHandle[Any]:
        __tracebackhide__ = True
        with self.refusals([row]):
            return self._told([row], [super()._submit(row)])[0]

    async def _asubmit(self, row: NewJob, block: Block) -> JobHandle[Any]:
        __tracebackhide__ = True
        with self.refusals([row]):
            return self._told([row], [await super()._asubmit(row, block)])[0]

    def _submit_all(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        __tracebackhide__ = True
        with self.refusals(rows):
            return self._told(rows, super()._submit_all(rows))

    def _submit_child(self, row: NewJob) -> JobHandle[Any]:
        __tracebackhide__ = True
        with self.refusals([row]):
            return self._told([row], [super()._submit_child(row)])[0]

    def hold(self) -> Block:
        return WatchedHoldBlock(self, self._engine, self._builder, self._stored)

    def on_commit(self, target: Any) -> Block:
        return WatchedOnCommitBlock(self, self._engine, self._builder, self._stored, target)

    def _told(self, rows: Sequence[NewJob], handles: list[JobHandle[Any]]) -> list[JobHandle[Any]]:
        for row, handle in zip(rows, handles, strict=True):
            # A deferred one counts as created until it is written.
            if not handle.created:
                self._tell(row, handle.id)
        return handles

    def written(self, deferred: Iterable[DeferredEnqueue]) -> None:
        """Report those among deferred calls that are written now and made no job."""
        for rows, handles, _ in deferred:
            for row, handle in zip(rows, handles, strict=True):
                if handle.written and not handle.created:
                    self._tell(row, handle.id)

    @contextmanager
    def refusals(self, rows: Sequence[NewJob]) -> Iterator[None]:
        """Inside, report the call that is refused, with the job for which it is."""
        __tracebackhide__ = True
        try:
            yield
        except UniqueConflictError as error:
            if error.job_id is not None:
                for row in self._refused(rows, error.job_id):
                    self._tell(row, error.job_id)
            raise

    def _refused(self, rows: Sequence[NewJob], job_id: int) -> Sequence[NewJob]:
        """Return those with the unique key of a job."""
        if len(rows) == 1:
            return rows
        try:
            rule = rule_of(self._engine.database.read(inspect.options, job_id))
        except JobNotFoundError:
            # It is a part of a transaction that is not committed.
            return ()
        own = [(row, rule_of(row.options)) for row in rows]
        return [row for row, of_row in own if rule is not None and of_row is not None and of_row.key == rule.key]

    def _tell(self, row: NewJob, job_id: int) -> None:
        if self.keep_out is not None:
            self.keep_out(row, job_id, current(self._engine))


class WatchedHoldBlock(HoldBlock):
    """Reports calls that were kept out when they were written."""

    def __init__(self, watch: WatchedEnqueueing, *given: Any) -> None:
        super().__init__(*given)
        self._watch = watch

    def left(self, error: BaseException | None) -> None:
        __tracebackhide__ = True
        with self._watch.refusals([row for one in self._deferred for row in one.rows]):
            super().left(error)
        self._watch.written(self._deferred)


class WatchedOnCommitBlock(OnCommitBlock):
    """Reports calls that were kept out when they were written."""

    def __init__(self, watch: WatchedEnqueueing, *given: Any) -> None:
        super().__init__(*given)
        self._watch = watch

    def keep(self, one: DeferredEnqueue) -> None:
        super().keep(one)
        commit_hooks.after_commit(self._target, lambda: self._watch.written([one]))

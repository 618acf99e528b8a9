"""Writes the row of a call in a transaction, and wakes the dispatcher or gives the job to an idle worker."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from embedq.clock import later, to_datetime, to_micros
from embedq.display.units import brief
from embedq.engine.deferred import HoldBlock, OnCommitBlock
from embedq.engine.job_builder import JobBuilder
from embedq.engine.lifecycle import Engine
from embedq.engine.stored_jobs import StoredJobs
from embedq.engine.transactions import Block, TransactionBlock, current
from embedq.flow.unique import may_have_rule
from embedq.job import JobId, Trigger
from embedq.observability.log import get_logger
from embedq.process.interrupts import Shielded
from embedq.storage import jobs
from embedq.storage.jobs import Inserted
from embedq.storage.rows import NewJob
from embedq.tasks.handle import JobHandle
from embedq.tasks.task import Call

logger = get_logger()


class Enqueueing:
    """Writes jobs, for one app."""

    def __init__(self, engine: Engine, builder: JobBuilder, stored: StoredJobs) -> None:
        self._engine = engine
        self._builder = builder
        self._stored = stored

    def submit(self, call: Call[Any], *, run_at: datetime | None = None, now: int | None = None) -> JobHandle[Any]:
        """Enqueue one call; durable when this returns, or, in a block, when the application has committed."""
        return self._submit(self._builder.row(call, run_at=None if run_at is None else to_micros(run_at), now=now))

    def _submit(self, row: NewJob) -> JobHandle[Any]:
        engine = self._engine
        block = current(engine)
        if block is not None:
            return block.add([row])[0]
        # Shielded: an interrupt of the calling job at this point would leave a worker reserved forever, or a job that
        # is running in the database and nowhere else.
        with Shielded():
            runtime = engine.runtime
            if runtime is not None and self._can_hand_over(row):
                inserted, started = runtime.dispatcher.hand_over.insert(row)
                return self._handle(row, inserted) if started else self._announced(row, inserted)
            return self._announced(row, engine.database.write(jobs.insert, row))

    async def asubmit(self, call: Call[Any], *, run_at: datetime | None = None) -> JobHandle[Any]:
        """`submit`, without blocking the event loop."""
        block = current(self._engine)
        if block is not None:
            row = self._builder.row(call, run_at=None if run_at is None else to_micros(run_at))
            return await self._asubmit(row, block)
        return await self._engine.offload.run(self.submit, call, run_at=run_at)

    async def _asubmit(self, row: NewJob, block: Block) -> JobHandle[Any]:
        return (await block.aadd([row]))[0]

    def submit_many(self, calls: Iterable[Call[Any]]) -> list[JobHandle[Any]]:
        """Enqueue calls in one transaction: all of them, or none."""
        rows = self._builder.rows(calls)
        return self._submit_all(rows) if rows else []

    def _submit_all(self, rows: Sequence[NewJob]) -> list[JobHandle[Any]]:
        block = current(self._engine)
        if block is not None:
            return block.add(rows)
        inserted = self._engine.database.write(jobs.insert_all, rows, retention=self._engine.settings.retention)
        self._engine.notify(min(row.run_at for row in rows))
        return [self._handle(row, one) for row, one in zip(rows, inserted, strict=True)]

    def submit_continuation(self, call: Call[Any], parent_id: JobId, trigger: Trigger) -> JobHandle[Any]:
        """Enqueue a call that starts when the parent job has ended that way."""
        return self._submit_child(self._builder.row(call, parent_id=parent_id, trigger=trigger))

    def _submit_child(self, row: NewJob) -> JobHandle[Any]:
        block = current(self._engine)
        if block is not None:
            return block.add([row])[0]
        retention = self._engine.settings.retention
        return self._announced(row, self._engine.database.write(jobs.insert_continuation, row, retention=retention))

    def due_in(self, delay: timedelta | float) -> datetime:
        """Return the moment that is `delay` (a timedelta, or seconds) from now. ValueError if it is not a duration."""
        if isinstance(delay, bool) or not isinstance(delay, int | float | timedelta):
            raise ValueError(f"delay={delay!r} must be a timedelta or seconds")
        try:
            return to_datetime(later(self._engine.clock.now(), delay))
        except ValueError as error:
            raise ValueError(f"delay={brief(delay)} is too long: {error}") from None

    def _announced(self, row: NewJob, inserted: Inserted) -> JobHandle[Any]:
        self._engine.notify(row.run_at)
        return self._handle(row, inserted)

    def _handle(self, row: NewJob, inserted: Inserted) -> JobHandle[Any]:
        """Return the handle, and log the first step of a job at DEBUG."""
        handle: JobHandle[Any] = JobHandle(self._stored, JobId(inserted.id), created=inserted.created)
        if logger.isEnabledFor(logging.DEBUG):
            step = "enqueued" if handle.created else "existed already under its key"
            logger.debug(
                "job %s (%s) %s", handle.id, row.name, step,
                extra={"job_id": handle.id, "job_name": row.name, "job_queue": row.queue},
            )  # fmt: skip
        return handle

    # -- with the application's own transaction ------------------------------------------------------------------------

    def transaction(self, target: Any) -> Block:
        """See `EmbedQ.transaction`."""
        return TransactionBlock(self._engine, self._stored, target)

    def on_commit(self, target: Any) -> Block:
        """See `EmbedQ.on_commit`."""
        return OnCommitBlock(self._engine, self._builder, self._stored, target)

    def hold(self) -> Block:
        """See `EmbedQ.hold`."""
        return HoldBlock(self._engine, self._builder, self._stored)

    # -- without the queue ---------------------------------------------------------------------------------------------

    def _can_hand_over(self, row: NewJob) -> bool:
        queues = self._engine.settings.queues
        return (
            row.state == "ready"
            and row.executor == "thread"  # which a job in a lane has not
            and row.idempotency_key is None
            and not may_have_rule(row.options)
            and (queues is None or row.queue in queues)
        )

"""From a call to a stored job: the row, its transaction, and telling, or handing it to, a worker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from embedq.clock import SECOND, to_datetime, to_micros, to_seconds
from embedq.drafting import Drafting
from embedq.engine import Engine
from embedq.errors import StorageUncertainError
from embedq.handle import JobHandle, JobOwner
from embedq.held import HoldBlock, OnCommitBlock
from embedq.interrupts import Shielded
from embedq.job import JobId, Trigger
from embedq.storage import jobs
from embedq.storage.jobs import Inserted
from embedq.storage.rows import ClaimedJob, NewJob
from embedq.task import Call
from embedq.transactions import Block, TransactionBlock, current

if TYPE_CHECKING:
    from embedq.runtime import Runtime


class StoredJobs(JobOwner, Protocol):
    """What this needs of the one that answers for stored jobs."""

    def handle(self, job_id: int, *, created: bool = True) -> JobHandle: ...


class Enqueueing:
    """Writes jobs, for one app."""

    def __init__(self, engine: Engine, drafting: Drafting, handles: StoredJobs) -> None:
        self._engine = engine
        self._drafting = drafting
        self._handles = handles

    def submit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """Enqueue one call; durable when this returns, or, in a block, when the application has committed."""
        row = self._row(call, run_at)
        block = current(self._engine)
        if block is not None:
            return block.add([row])[0]
        # Shielded: a job that is interrupted right here would keep a worker promised for ever, or leave a job that is
        # running in the database and nowhere else.
        with Shielded():
            runtime = self._engine.runtime
            if runtime is not None and self._may_hand_over(row):
                return self._insert_and_start(runtime, row)
            return self._announce(row.run_at, self._engine.database.write(jobs.insert, row))

    async def asubmit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """`submit`, without blocking the event loop."""
        block = current(self._engine)
        if block is not None:
            return (await block.aadd([self._row(call, run_at)]))[0]
        return await self._engine.offload.run(self.submit, call, run_at=run_at)

    def _row(self, call: Call, run_at: datetime | None) -> NewJob:
        return self._drafting.row(call, run_at=None if run_at is None else to_micros(run_at))

    def submit_many(self, calls: Iterable[Call]) -> list[JobHandle]:
        """Enqueue calls in one transaction: all of them, or none."""
        rows = self._drafting.rows(calls)
        if not rows:
            return []
        block = current(self._engine)
        if block is not None:
            return block.add(rows)
        inserted = self._engine.database.write(jobs.insert_all, rows, retention=self._engine.settings.retention)
        self._engine.notify(min(row.run_at for row in rows))
        return [self._handles.handle(job_id, created=created) for job_id, created in inserted]

    def submit_continuation(self, call: Call, parent_id: JobId, trigger: Trigger) -> JobHandle:
        """Enqueue a call that starts when the parent has ended so."""
        row = self._drafting.row(call, parent_id=parent_id, trigger=trigger)
        block = current(self._engine)
        if block is not None:
            return block.add([row])[0]
        retention = self._engine.settings.retention
        return self._announce(
            row.run_at, self._engine.database.write(jobs.insert_continuation, row, retention=retention)
        )

    def due_in(self, delay: timedelta | float) -> datetime:
        """The moment that is `delay` (a timedelta, or seconds) from now. ValueError if it is no duration."""
        if isinstance(delay, bool) or not isinstance(delay, int | float | timedelta):
            raise ValueError(f"delay={delay!r} must be a timedelta or seconds")
        return to_datetime(self._engine.clock.now() + int(to_seconds(delay) * SECOND))

    def _announce(self, run_at: int, inserted: Inserted) -> JobHandle:
        self._engine.notify(run_at)
        return self._handles.handle(inserted.id, created=inserted.created)

    # -- with the application's own transaction ------------------------------------------------------------------------

    def transaction(self, target: Any) -> Block:
        """See `EmbedQ.transaction`."""
        return TransactionBlock(self._engine, self._handles, target)

    def on_commit(self, target: Any) -> Block:
        """See `EmbedQ.on_commit`."""
        return OnCommitBlock(self._engine, self._drafting, self._handles, target)

    def hold(self) -> Block:
        """See `EmbedQ.hold`."""
        return HoldBlock(self._engine, self._drafting, self._handles)

    # -- without the queue ---------------------------------------------------------------------------------------------

    def _may_hand_over(self, row: NewJob) -> bool:
        queues = self._engine.settings.queues
        return (
            row.state == "ready"
            and row.executor == "thread"
            and row.idempotency_key is None
            and (queues is None or row.queue in queues)
        )

    def _insert_and_start(self, runtime: Runtime, row: NewJob) -> JobHandle:
        """Insert a job as running here and give it to an idle worker, if one is: one transaction instead of two."""
        dispatcher, promise = runtime.dispatcher, runtime.dispatcher.promise()
        given: bool | None = None

        def server_id() -> int | None:
            # Asked for when it is the job's turn to be written, since what waits is known then; once, however often the
            # insert is tried.
            nonlocal given
            if given is None:
                given = dispatcher.reserve(promise)
            return runtime.membership.server_id if given else None

        try:
            inserted = self._engine.database.write(jobs.insert, row, claimed_by=server_id)
        except BaseException as error:
            # What comes from elsewhere, such as Ctrl-C, may come when the job is written, or before another thread does
            # that.
            uncertain = isinstance(error, StorageUncertainError) or not isinstance(error, Exception)
            dispatcher.cancel(promise, uncertain=uncertain)
            raise
        if not given:
            return self._announce(row.run_at, inserted)
        dispatcher.hand_over(
            promise,
            ClaimedJob(
                id=inserted.id,
                claim=1,
                attempt=1,
                name=row.name,
                payload=row.payload,
                code=row.code,
                options=row.options,
                queue=row.queue,
                priority=row.priority,
                tags=row.tags,
                crashes=0,
                run_at=row.run_at,
                expires_at=row.expires_at,
                first_started_at=row.created_at,
                parent_id=None,
                executor=row.executor,
            ),
        )
        return self._handles.handle(inserted.id)

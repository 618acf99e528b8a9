"""Inserting single jobs in one round trip, with no transaction around them. Most enqueues are such.

With a transaction around them it would be three and more: one for its number, by which the server could be asked
whether a commit happened whose answer was lost, and one for each job. Here the rows' ids do that. They are taken from
the sequence beforehand, each insert brings one for the next, and so the inserts can be sent again on another
connection: either the rows are there, or they are now.

What is sent up to a synchronisation point is one transaction, so that a group of enqueues shares a flush of the disk.
The wake-up call goes along behind it, in a transaction of its own (see `PostgresSession.commit`). Its answer is not
waited for: it is read before the connection is next used.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import RawCursor
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus

from embedq.storage.base import Params, Row
from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.postgresql.transaction import FOR_OTHERS, PostgresTransaction, exact_texts
from embedq.storage.postgresql.wire import Wire, checked
from embedq.storage.rows import CREATED_AT, PLAIN

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

# Jobs of one priority start in the order of their ids. Ids that were put by for longer than this are let go, since
# others have inserted meanwhile.
SPARE_SECONDS = 0.05
# Where the moment stands at which a job was made, in the parameters of the statement that inserts it.
_CREATED_AT = {"insert_plain": PLAIN.index("created_at"), "insert_job": CREATED_AT}


class _Row(NamedTuple):
    """A job that is to be inserted: its id, the statement with its parameters, and what never changes of it."""

    id: int
    statement: bytes
    values: Sequence[bytes | None]
    unchanging: Params


class PostgresPipelinedInserts(PostgresTransaction):
    """Statements with no transaction around them. What `insert` is given is kept until `send`, which can come again.

    Attributes:
        unanswered: the ids of rows that may or may not have been written.
    """

    __slots__ = (
        "_again",
        "_channel",
        "_notify",
        "_rows",
        "_sequence",
        "_spare",
        "_spare_until",
        "_unread_syncs",
        "unanswered",
    )

    def __init__(
        self, connection: psycopg.Connection, wire: Wire, address: PostgresAddress, sql: Mapping[str, str]
    ) -> None:
        super().__init__(connection, wire, address, sql, True)
        self.unanswered: list[int] = []
        self._again: list[int] = []
        self._channel = address.channel
        self._unread_syncs = 0
        self._rows: list[_Row] = []
        self._notify = False
        self._sequence = b""
        self._spare: list[int] = []
        self._spare_until = 0.0

    def prepare(self, count: int, unanswered: Sequence[int]) -> None:
        """Make ready for so many inserts; of these rows, in their order, if they have been sent before."""
        self.unanswered, self._again = list(unanswered), list(unanswered)
        self._rows.clear()
        self._notify = False
        if not self._sequence:
            [(sequence,)] = self.all("job_ids")
            self._sequence = b"%d" % sequence
        if not self._again and (len(self._spare) < count or time.monotonic() > self._spare_until):
            taken = self.all("take_job_ids", (self._sequence.decode(), count))
            self._spare = [job_id for (job_id,) in taken]

    def insert(self, statement: str, params: Params) -> int | None:
        """Collect a job that has no idempotency key; return the id that it will have."""
        values = [None if value is None else value.encode() for value in exact_texts(params)]
        name = self._ready(f"{statement}_as")
        job_id = self._again.pop(0) if self._again else self._spare.pop(0)
        unchanging = (job_id, params[4], params[5], params[_CREATED_AT[statement]])
        self._rows.append(_Row(job_id, name, [*values, b"%d" % job_id, self._sequence], unchanging))
        self._notify = self._notify or params[0] in FOR_OTHERS
        return job_id

    def send(self) -> list[int]:
        """Insert the collected jobs, all of them or none.

        Returns:
            the ids that other rows had, whose jobs are not inserted. A standby that has become the primary may not know
            that an id was taken.
        """
        tell_jobs = self._ready("tell_jobs") if self._notify else b""
        wire, libpq, before = self._wire, self._wire.libpq, self.unanswered
        # While nothing has been sent, all is known.
        wire.check_alive()
        if libpq.pipeline_status == PipelineStatus.OFF:
            libpq.enter_pipeline_mode()
        self.unanswered = [row.id for row in self._rows]
        for row in self._rows:
            libpq.send_query_prepared(row.statement, row.values)
        libpq.pipeline_sync()
        points = self._unread_syncs = self._unread_syncs + 1
        if self._notify:
            libpq.send_query_prepared(tell_jobs, [self._channel.encode()])
            libpq.pipeline_sync()
            self._unread_syncs += 1
        wire.flush()
        results = self._answers(points)
        # If one of them is an error, nothing was written this time.
        self.unanswered = before
        for result in results:
            checked(wire, result)
        self.unanswered = []
        self._spare = [int(result.get_value(0, 0) or 0) for result in results if result.ntuples]
        self._spare_until = time.monotonic() + SPARE_SECONDS
        if len(self._spare) == len(self._rows):
            return []
        # Taken by these very jobs, if they had been sent before.
        met = [row for row, result in zip(self._rows, results, strict=True) if not result.ntuples]
        return [row.id for row in met if self.one("job_is_there", row.unchanging) is None]

    def others_inserted(self) -> None:
        """Take fresh ids for the next insert: they must be higher than those of the other inserts."""
        self._spare_until = 0.0

    def drain(self) -> None:
        """Read the outstanding results, so that the connection can be used for other statements."""
        if self._unread_syncs:
            self._answers(self._unread_syncs)
        libpq = self._wire.libpq
        if libpq.pipeline_status != PipelineStatus.OFF:
            libpq.exit_pipeline_mode()

    def _answers(self, points: int) -> list[PGresult]:
        """Read up to so many synchronisation points; the results before the last one.

        What was sent before a point is committed when that is reached, and not before.
        """
        libpq = self._wire.libpq
        results: list[PGresult] = []
        while True:
            while not libpq.is_busy():
                result = libpq.get_result()
                if result is None:
                    if libpq.status == ConnStatus.BAD:
                        raise psycopg.OperationalError("the connection is lost")
                elif result.status != ExecStatus.PIPELINE_SYNC:
                    results.append(result)
                else:
                    self._unread_syncs -= 1
                    points -= 1
                    if not points:
                        return results
                    results.clear()
            self._wire.receive()

    def _execute(self, statement: str, params: Params) -> RawCursor[Row]:
        self.drain()
        return super()._execute(statement, params)

    def _ready(self, statement: str) -> bytes:
        if statement not in self._prepared:
            self.drain()
        return super()._ready(statement)

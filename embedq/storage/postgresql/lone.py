"""A job that is inserted by itself, in one round trip: most enqueues are.

With a transaction around it, it would be three: one for its number, by which the server could be asked whether a commit
happened whose answer was lost. Here the row's id does that. It is taken from the sequence beforehand, one with each
insert for the next, so that the insert can be sent again on another connection: either the row is there, or it is now.

The wake-up call goes along behind the insert, in a transaction of its own (see `PostgresSession.commit`). Its answer is
not waited for: it is read before the connection is next used.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import psycopg
from psycopg import RawCursor
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus

from embedq.storage.base import Params, Row
from embedq.storage.postgresql.address import Address
from embedq.storage.postgresql.line import Line, answered
from embedq.storage.postgresql.transaction import FOR_OTHERS, PostgresTransaction, exact_texts

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

# Jobs of one priority start in the order of their ids. An id that was put by for longer than this is let go, since
# others have inserted meanwhile.
SPARE_SECONDS = 0.05
# Where the moment stands at which a job was made, in the parameters of the statement that inserts it.
_CREATED_AT = {"insert_plain": 6, "insert_job": 13}


class LoneInsert(PostgresTransaction):
    """Statements with no transaction around them, of which `insert` can be sent again.

    Attributes:
        unanswered: the id of a row that may or may not have been written.
    """

    __slots__ = ("_channel", "_owed", "_sequence", "_spare", "_spare_until", "unanswered")

    def __init__(self, connection: psycopg.Connection, line: Line, address: Address, sql: Mapping[str, str]) -> None:
        super().__init__(connection, line, address, sql, True)
        self.unanswered: int | None = None
        self._channel = address.channel
        self._owed = 0
        self._sequence = b""
        self._spare, self._spare_until = 0, 0.0

    def insert(self, statement: str, params: Params) -> int | None:
        """Insert a job that has no idempotency key, and return its id."""
        values = [None if value is None else value.encode() for value in exact_texts(params)]
        name = self._ready(f"{statement}_as")
        if not self._sequence:
            [(sequence,)] = self.all("job_ids")
            self._sequence = b"%d" % sequence
        while True:
            job_id = self.unanswered or self._take_id()
            spare = self._send(name, [*values, b"%d" % job_id, self._sequence], job_id, tell=params[0] in FOR_OTHERS)
            if spare is not None:
                self._spare, self._spare_until = spare, time.monotonic() + SPARE_SECONDS
                return job_id
            # The id is taken: by this very job, when its insert was sent before. Or by another's, where a standby that
            # has become the primary has not heard that its number was given away.
            row = (job_id, params[4], params[5], params[_CREATED_AT[statement]])
            if self.one("job_is_there", row) is not None:
                return job_id

    def others_inserted(self) -> None:
        """The next id is taken anew: it must be higher than theirs."""
        self._spare_until = 0.0

    def settle(self) -> None:
        """Read what is still to be answered, so that the connection can be used for something else."""
        if self._owed:
            self._answers(self._owed)
        libpq = self._line.libpq
        if libpq.pipeline_status != PipelineStatus.OFF:
            libpq.exit_pipeline_mode()

    def _send(self, name: bytes, values: Sequence[bytes | None], job_id: int, *, tell: bool) -> int | None:
        """Insert the row under that id; the next id, or None when this one is taken."""
        tell_jobs = self._ready("tell_jobs") if tell else b""
        line, libpq, before = self._line, self._line.libpq, self.unanswered
        # While nothing has been sent, all is known.
        line.notice_the_end()
        if libpq.pipeline_status == PipelineStatus.OFF:
            libpq.enter_pipeline_mode()
        self.unanswered = job_id
        libpq.send_query_prepared(name, values)
        libpq.pipeline_sync()
        answers = self._owed = self._owed + 1
        if tell:
            libpq.send_query_prepared(tell_jobs, [self._channel.encode()])
            libpq.pipeline_sync()
            self._owed += 1
        line.flush()
        result = self._answers(answers)
        # If it is an error, nothing was written this time.
        self.unanswered = before
        answered(line, result)
        self.unanswered = None
        return int(result.get_value(0, 0) or 0) if result.ntuples else None

    def _answers(self, number: int) -> PGresult:
        """Read the answers to so many statements; the last one's.

        A statement is committed when its synchronisation point is reached, and not before.
        """
        libpq, last = self._line.libpq, None
        while True:
            while not libpq.is_busy():
                result = libpq.get_result()
                if result is None:
                    if libpq.status == ConnStatus.BAD:
                        raise psycopg.OperationalError("the connection is lost")
                elif result.status != ExecStatus.PIPELINE_SYNC:
                    last = result
                else:
                    self._owed -= 1
                    number -= 1
                    if not number:
                        assert last is not None
                        return last
            self._line.hear()

    def _execute(self, statement: str, params: Params) -> RawCursor[Row]:
        self.settle()
        return super()._execute(statement, params)

    def _ready(self, statement: str) -> bytes:
        if statement not in self._prepared:
            self.settle()
        return super()._ready(statement)

    def _take_id(self) -> int:
        if time.monotonic() < self._spare_until:
            self._spare_until = 0.0
            return self._spare
        [(job_id,)] = self.all("take_job_id", (self._sequence.decode(),))
        return int(job_id)

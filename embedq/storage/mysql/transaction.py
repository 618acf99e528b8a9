"""Named statements on one cursor, inside an open transaction.

PyMySQL writes parameters into the text of a statement, so one statement can hold lists of any length.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pymysql
import pymysql.cursors
from pymysql.constants import ER

from embedq.errors import EnqueueError
from embedq.storage import named_sql
from embedq.storage.base import Params, Row
from embedq.storage.batching import batched
from embedq.storage.columns import TABLES
from embedq.storage.mysql.queues import ready_queues, visit_lanes
from embedq.storage.rows import KEY, json_ids

# The most bytes that one statement of a batch may have, and the part of max_allowed_packet that it may be: 16 MB or
# more as a rule, and 1 MB on some servers.
BATCH_BYTES = 1_000_000
OF_A_PACKET = 0.9
# So many idempotency keys are taken by one statement.
KEYS_AT_ONCE = 1000
_BULK = named_sql.marked("bulk")


class DriverCursor(Protocol):
    """What is used of a DB-API cursor whose placeholder is %s."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    @property
    def description(self) -> Any: ...
    def execute(self, sql: str, params: Any) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


class Statement(NamedTuple):
    """SQL with %s, and which parameter goes where: a number, and whether it is a list."""

    sql: str
    order: tuple[tuple[int, bool], ...]

    def arrange(self, params: Params) -> list[object]:
        """The parameters for the placeholders, from those of the statement."""
        return [_listed(params[number]) if is_list else params[number] for number, is_list in self.order]


def compiled(sql: str) -> tuple[Statement, ...]:
    """The statements that a name stands for."""
    return tuple(_statement(part) for part in re.split(r";\s*\n", sql))


def _statement(sql: str) -> Statement:
    order = tuple((int(number) - 1, bool(listed)) for number, listed in re.findall(r"\$(\d+)(\[\])?", sql))
    return Statement(re.sub(r"\$\d+(\[\])?", "%s", sql.replace("%", "%%")), order)


def _listed(text: object) -> tuple[object, ...]:
    # (NULL) is the list that nothing is in.
    return tuple(json.loads(text)) or (None,) if isinstance(text, str) else (None,)


class MysqlTransaction:
    """Named statements on one cursor, inside an open transaction.

    Args:
        statements: see `compiled`.
        parts: pieces of SQL that the read model composes queries of.
        qualify: completes the names of tables in such a query.
    Attributes:
        wrote: something has been changed.
    """

    __slots__ = ("_cursor", "_packet", "_parts", "_qualify", "_statements", "wrote")

    def __init__(
        self,
        cursor: DriverCursor,
        statements: Mapping[str, tuple[Statement, ...]],
        parts: Mapping[str, str],
        qualify: Callable[[str], str],
    ) -> None:
        self._cursor = cursor
        self._statements = statements
        self._parts = parts
        self._qualify = qualify
        self._packet: int | None = None
        self.wrote = False

    @property
    def _most(self) -> int:
        """The most bytes that one statement of a batch may have."""
        if isinstance(self._cursor, SizedCursor):
            limit = self._cursor.limit
        else:
            if self._packet is None:
                self._cursor.execute("SELECT @@max_allowed_packet", ())
                self._packet = int(self._cursor.fetchone()[0])
            limit = self._packet
        return min(BATCH_BYTES, int(limit * OF_A_PACKET))

    def run(self, statement: str, params: Params = ()) -> int:
        if statement in _BULK:
            return sum(self._last(statement, (batch,)) for batch in _json_lots(str(params[0]), self._most))
        return self._last(statement, params)

    def _last(self, statement: str, params: Params) -> int:
        try:
            for part in self._statements[statement]:
                self._cursor.execute(part.sql, part.arrange(params))
        except pymysql.err.DataError as error:
            raise _too_long(error) from error
        changed = self._cursor.rowcount
        self.wrote = self.wrote or changed > 0
        return changed

    def one(self, statement: str, params: Params = ()) -> Row | None:
        rows = self.all(statement, params)
        return rows[0] if rows else None

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        if statement == "ready_queues":
            return list(ready_queues(self._rows, *params))
        if statement == "visit_lanes":
            return list(visit_lanes(self._rows, *params))
        return self._rows(statement, params)

    def _rows(self, statement: str, params: Params) -> list[Row]:
        rows: list[Row] = []
        for part in self._statements[statement]:
            self._cursor.execute(part.sql, part.arrange(params))
            if self._cursor.description is not None:
                rows = list(self._cursor.fetchall())
            else:
                self.wrote = True
        return rows

    def batch(self, statement: str, params: Params) -> list[Row]:
        return self.all(statement, params)

    def insert(self, statement: str, params: Params) -> int | None:
        self.wrote = True
        [part] = self._statements[statement]
        try:
            self._cursor.execute(part.sql, part.arrange(params))
        except Exception as error:
            # By its number: an application's connection may be another driver's.
            if error.args and error.args[0] == ER.DUP_ENTRY:
                return None
            if error.args and error.args[0] == ER.DATA_TOO_LONG:
                raise _too_long(error) from error
            raise
        return self._cursor.lastrowid

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        self.wrote = True
        [part] = self._statements[statement]
        head, _, row = part.sql.partition("VALUES ")
        ids: list[int] = []
        filled, fill = self._alike(part._replace(sql=row), shared)
        for batch in batched(values, lambda payload: len(filled) + _text_bytes(payload), most=self._most):
            params = [value for payload in batch for value in fill(payload)]
            self._cursor.execute(f"{head}VALUES {', '.join([filled] * len(batch))}", params)
            [(first, step)] = self.all("inserted_ids")
            ids += range(first, first + step * len(batch), step)
        return ids

    def insert_each(self, statement: str, rows: Sequence[Row]) -> list[int]:
        ids: list[int] = []
        for batch in self._in_batches(statement, rows):
            [(first, step)] = self.all("inserted_ids")
            ids += range(first, first + step * len(batch), step)
        return ids

    def insert_keyed(self, rows: Sequence[Row]) -> list[int | None]:
        # No id can be had beforehand, so that the rows come first and their keys are taken afterwards.
        ids = self.insert_each("insert_unkeyed", rows)
        keyed = sorted((row[KEY], job_id) for row, job_id in zip(rows, ids, strict=True) if row[KEY] is not None)
        refused: set[int] = set()
        for at in range(0, len(keyed), KEYS_AT_ONCE):
            some = json_ids([job_id for _, job_id in keyed[at : at + KEYS_AT_ONCE]])
            self.run("take_keys", (some,))
            refused.update(job_id for (job_id,) in self.all("refused_keys", (some,)))
        if refused:
            self.run("delete_jobs", (json_ids(sorted(refused)),))
        return [None if job_id in refused else job_id for job_id in ids]

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        for _ in self._in_batches(statement, rows):
            pass

    def _in_batches(self, statement: str, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Insert, and tell after each statement which rows it was for."""
        self.wrote = True
        [part] = self._statements[statement]
        head, _, marks = part.sql.partition("VALUES ")
        for batch in batched(rows, _row_bytes, most=self._most):
            params = [value for row in batch for value in part.arrange(row)]
            self._cursor.execute(f"{head}VALUES {', '.join([marks] * len(batch))}", params)
            yield batch

    def _alike(self, row: Statement, shared: Params) -> tuple[str, Callable[[str], Sequence[object]]]:
        """A row of values in which what all have in common is written out, and the parameters of one of them."""
        mogrify = getattr(self._cursor, "mogrify", None)
        if mogrify is None:
            return row.sql, lambda payload: row.arrange((*shared, payload))
        marker = uuid.uuid4().hex
        return mogrify(row.sql, row.arrange((*shared, marker))).replace("%", "%%").replace(f"'{marker}'", "%s"), _only

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        text = self._qualify(sql.format_map(self._parts))
        self._cursor.execute(text.replace("%", "%%").replace("?", "%s"), tuple(params))
        return list(self._cursor.fetchall())


class SizedCursor(pymysql.cursors.Cursor):
    """A cursor that refuses statements longer than the server accepts.

    The server closes the connection in the middle of such a statement, which looks like an outage.
    Attributes:
        limit: the server's max_allowed_packet, in bytes.
    """

    limit = 1 << 20

    def execute(self, query: str, args: Any = None) -> int:
        text = query if args is None else self.mogrify(query, args)
        # A character has four bytes at most; one byte is the command's.
        if 4 * len(text) >= self.limit and len(text.encode("utf-8", "replace")) >= self.limit:
            raise pymysql.err.OperationalError(ER.NET_PACKET_TOO_LARGE, f"{len(text):,} characters are too many")
        return super().execute(text)


_TABLE = re.compile(r"(?<![\w.`])embedq_(?=(?:" + "|".join(TABLES) + r")\b)")


def qualified(sql: str, qualifier: str) -> str:
    """A statement with its tables' full names, so that no connection's current database decides."""
    return _TABLE.sub(lambda _: f"{qualifier}embedq_", sql)


def unlocked(sql: str) -> str:
    """A statement as it reads without writing."""
    return re.sub(r"\s+(?:FOR UPDATE(?: SKIP LOCKED)?|LOCK IN SHARE MODE)", "", sql)


def _json_lots(text: str, most: int) -> Iterator[str]:
    """Split a JSON list into lists that fit one statement, in a form that the server reads."""
    if "\\ud" not in text and _text_bytes(text) <= most:
        yield text
        return
    for batch in batched(
        [json.dumps(_clean(row), separators=(",", ":")) for row in json.loads(text)], _text_bytes, most=most
    ):
        yield f"[{','.join(batch)}]"


def _text_bytes(text: str) -> int:
    """Return how many bytes a text takes in a statement, with its escapes."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return length + text.count('"') + text.count("\\") + text.count("'") + text.count("\n") + 3


def _row_bytes(row: Sequence[object]) -> int:
    return sum(_text_bytes(value) if isinstance(value, str) else 22 for value in row)


def _clean(row: list[object]) -> list[object]:
    # Half of a surrogate pair is no JSON text for the servers.
    return [
        value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
        for value in row
    ]


def _only(payload: str) -> tuple[str]:
    return (payload,)


def _too_long(error: Exception) -> EnqueueError:
    return EnqueueError(
        f"MySQL and MariaDB keep names of jobs up to 400 characters, and names of schedules up to 255: {error.args[-1]}"
    )

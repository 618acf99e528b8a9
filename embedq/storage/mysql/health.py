"""The state of a MySQL or MariaDB server, for `embedq doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from embedq.storage.base import Transaction

_SERVER = "SELECT VERSION(), @@max_connections, @@innodb_flush_log_at_trx_commit"
_CONNECTIONS = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"
# These two need the privilege PROCESS. The times are in the server's own zone, and the session is in UTC.
_HISTORY = "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'"
_OPEN = """
SELECT t.trx_mysql_thread_id, coalesce(p.USER, ''), coalesce(p.HOST, ''), coalesce(p.COMMAND, ''),
    TIMESTAMPDIFF(SECOND, CONVERT_TZ(t.trx_started, 'SYSTEM', '+00:00'), UTC_TIMESTAMP())
FROM information_schema.INNODB_TRX AS t LEFT JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id
WHERE CONVERT_TZ(t.trx_started, 'SYSTEM', '+00:00') < UTC_TIMESTAMP() - INTERVAL ? SECOND
  AND t.trx_mysql_thread_id <> CONNECTION_ID()
ORDER BY t.trx_started LIMIT 20
"""


class OpenTransaction(NamedTuple):
    """A transaction that has been open for `seconds`; `command` is Sleep when its client is idle."""

    thread: int
    user: str
    host: str
    command: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlHealth:
    """The server's report on itself.

    Attributes:
        flush: innodb_flush_log_at_trx_commit; 1 survives a power cut.
    """

    version: str
    connections: int
    limit: int
    flush: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionHealth:
    """Values that need the privilege PROCESS.

    Attributes:
        history: how many changes are still to be purged.
    """

    history: int
    open: list[OpenTransaction]


def examine(tx: Transaction) -> MysqlHealth:
    """Read what every user may read."""
    [(version, limit, flush)] = tx.select(_SERVER)
    [(_, connections)] = tx.select(_CONNECTIONS)
    return MysqlHealth(version=version, connections=int(connections), limit=int(limit), flush=int(flush))


def transactions(tx: Transaction, *, open_seconds: int) -> TransactionHealth:
    """Read the transactions that have been open for longer than `open_seconds`.

    Raises:
        StorageReadOnlyError: this user lacks the privilege PROCESS.
    """
    rows = tx.select(_HISTORY)
    found = tx.select(_OPEN, (open_seconds,))
    return TransactionHealth(history=int(rows[0][0]) if rows else 0, open=[OpenTransaction._make(row) for row in found])

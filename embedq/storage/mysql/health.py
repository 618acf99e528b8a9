"""The state of a MySQL or MariaDB server, for `embedq doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from embedq.storage.base import Transaction

_SERVER = "SELECT VERSION(), @@max_connections, @@innodb_flush_log_at_trx_commit"
_CONNECTIONS = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"
# These two need the privilege PROCESS.
_HISTORY = "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'"
_OPEN = """
SELECT t.trx_mysql_thread_id, coalesce(p.USER, ''), coalesce(p.HOST, ''), coalesce(p.COMMAND, ''),
    TIMESTAMPDIFF(SECOND, t.trx_started, NOW())
FROM information_schema.INNODB_TRX AS t LEFT JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id
WHERE t.trx_started < NOW() - INTERVAL ? SECOND AND t.trx_mysql_thread_id <> CONNECTION_ID()
ORDER BY t.trx_started LIMIT 20
"""


class OpenTransaction(NamedTuple):
    """A transaction that has been open for `seconds`; `command` is Sleep when its client says nothing."""

    thread: int
    user: str
    host: str
    command: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    """What the server says of itself.

    Attributes:
        flush: innodb_flush_log_at_trx_commit; 1 survives a power cut.
    """

    version: str
    connections: int
    limit: int
    flush: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionHealth:
    """What a user with the privilege PROCESS may see.

    Attributes:
        history: how many changes are still to be purged.
    """

    history: int
    open: list[OpenTransaction]


def examine(tx: Transaction) -> ServerHealth:
    """Ask what every user may know."""
    [(version, limit, flush)] = tx.select(_SERVER)
    [(_, connections)] = tx.select(_CONNECTIONS)
    return ServerHealth(version=version, connections=int(connections), limit=int(limit), flush=int(flush))


def transactions(tx: Transaction, *, open_seconds: int) -> TransactionHealth:
    """Ask for transactions that have been open for longer than `open_seconds`.

    Raises:
        StorageReadOnlyError: this user lacks the privilege PROCESS.
    """
    rows = tx.select(_HISTORY)
    found = tx.select(_OPEN, (open_seconds,))
    return TransactionHealth(history=int(rows[0][0]) if rows else 0, open=[OpenTransaction._make(row) for row in found])

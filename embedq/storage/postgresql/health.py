"""The state of a PostgreSQL server, for `embedq doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from embedq.storage.base import Transaction

# Sessions that have a transaction open for longer than so many seconds. A user that may not see
# other sessions sees no xact_start.
_SESSIONS = """
SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(state, ''),
    extract(epoch FROM clock_timestamp() - xact_start)
FROM pg_stat_activity
WHERE xact_start < clock_timestamp() - ?::float8 * interval '1 second' AND pid <> pg_backend_pid()
    AND coalesce(backend_type, 'client backend') = 'client backend'
ORDER BY xact_start LIMIT 20
"""
_PREPARED = """
SELECT gid, extract(epoch FROM clock_timestamp() - prepared) FROM pg_prepared_xacts
WHERE prepared < clock_timestamp() - ?::float8 * interval '1 second' ORDER BY prepared LIMIT 20
"""
_SETTINGS = """
SELECT current_setting('server_version'), current_setting('autovacuum'), current_setting('fsync'),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    (SELECT sum(numbackends) FROM pg_stat_database),
    pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER')
"""
# Of embedq's own tables: whether vacuuming was forbidden, and what there is to clean up.
_TABLES = """
SELECT c.relname, coalesce('autovacuum_enabled=false' = ANY (c.reloptions), false),
    coalesce(pg_stat_get_live_tuples(c.oid), 0), coalesce(pg_stat_get_dead_tuples(c.oid), 0)
FROM pg_class AS c
WHERE c.relkind = 'r' AND starts_with(c.relname, 'embedq_') AND c.relnamespace = (
    SELECT relnamespace FROM pg_class WHERE oid = (SELECT tableoid FROM embedq_identity LIMIT 1))
ORDER BY c.relname
"""


class OpenSession(NamedTuple):
    """A session with a transaction that has been open for `seconds`."""

    pid: int
    user: str
    application: str
    state: str
    seconds: float


class TableHealth(NamedTuple):
    """A table's rows as the server's statistics have them."""

    name: str
    vacuum_off: bool
    live: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresHealth:
    """The server's report on itself.

    Attributes:
        connections, limit: how many are open, and how many an ordinary user may have.
        sees_others: this user may see what others' sessions do.
        prepared: names and ages (seconds) of two-phase transactions that are still open.
    """

    version: str
    autovacuum: bool
    fsync: bool
    connections: int
    limit: int
    sees_others: bool
    sessions: list[OpenSession]
    prepared: list[tuple[str, float]]
    tables: list[TableHealth]


def examine(tx: Transaction, *, open_seconds: float) -> PostgresHealth:
    """Query the server; sessions with a transaction open for longer than `open_seconds` are listed."""
    [(version, autovacuum, fsync, limit, connections, sees)] = tx.select(_SETTINGS)
    return PostgresHealth(
        version=version,
        autovacuum=autovacuum == "on",
        fsync=fsync == "on",
        connections=int(connections or 0),
        limit=limit,
        sees_others=sees,
        sessions=[
            OpenSession(pid, user, program, state, float(age))
            for pid, user, program, state, age in tx.select(_SESSIONS, (open_seconds,))
        ],
        prepared=[(gid, float(age)) for gid, age in tx.select(_PREPARED, (open_seconds,))],
        tables=[TableHealth._make(row) for row in tx.select(_TABLES)],
    )

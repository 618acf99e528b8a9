"""The database: the SQLite file and its surroundings, or the server."""

from __future__ import annotations

import stat
from pathlib import Path

from embedq.config import Settings, scheme_of, sqlite_path
from embedq.display.units import counted, size, span
from embedq.doctor import checks, proc
from embedq.doctor.findings import Section, Severity
from embedq.errors import ConfigurationError, StorageReadOnlyError
from embedq.storage import backends
from embedq.storage.base import Database
from embedq.storage.mysql import health as mysql
from embedq.storage.postgresql import health as postgresql
from embedq.storage.sqlite import failures
from embedq.storage.sqlite import health as sqlite
from embedq.tasks.signing import load_or_create_key

# embedq truncates the write-ahead log to 64 MiB, so a larger one is kept by a reader.
LOG_LIMIT = 96 * 2**20
MIN_FREE, LOW_FREE = 100 * 10**6, 10**9
# A transaction that is open longer than any of embedq's.
OPEN_SECONDS = 300
# A shorter one that slows down claims, since many rows have changed in the meantime.
BUSY_SECONDS = 30
BUSY_DEAD_ROWS = 20_000
CONNECTIONS_HIGH, CONNECTIONS_FULL = 0.8, 0.95
LONG_HISTORY = 1_000_000
MANY_DEAD_ROWS = 100_000


def check(settings: Settings, database: Database) -> Section:
    """Check the database of an app."""
    section = Section("Database")
    scheme = scheme_of(settings.url)
    if scheme == "sqlite":
        _check_file(section, settings)
    elif scheme == "postgresql":
        _check_postgresql(section, database)
    else:
        _check_mysql(section, database)
    return section


# -- SQLite ------------------------------------------------------------------------------------------------------------


def _check_file(section: Section, settings: Settings) -> None:
    path = sqlite_path(settings.url).absolute()
    health = sqlite.examine(path)
    disk = f" on {health.filesystem}" if health.filesystem else ""
    section.fine.append(f"SQLite {health.version}, {size(health.size)}{disk} with {size(health.free)} free")
    _check_network(section, health.filesystem)
    if health.journal != "wal":
        section.add(checks.NO_WRITE_AHEAD_LOG, journal=health.journal)
    check_free_space(section, health.free, path.parent)
    _check_locks(section, health, path)
    _check_permissions(section, path, health.mode)
    _check_key(section, settings)


def check_filesystem(settings: Settings) -> Section:
    """Check whether a SQLite file is on a reliable file system; the cheapest part of the section."""
    section = Section("Database")
    _check_network(section, failures.filesystem(sqlite_path(settings.url).absolute()))
    return section


def _check_network(section: Section, filesystem: str | None) -> None:
    if filesystem in failures.NETWORK_FILESYSTEMS:
        section.add(checks.NETWORK_FILESYSTEM, filesystem=filesystem)


def check_free_space(section: Section, free: int, folder: Path) -> None:
    """Check whether the disk has space for new jobs; `free` is bytes."""
    if free < LOW_FREE:
        section.add(
            checks.DISK_FULL if free < MIN_FREE else checks.DISK_NEARLY_FULL, folder=folder, free=size(free)
        )  # fmt: skip


def _check_locks(section: Section, health: sqlite.FileHealth, path: Path) -> None:
    shared_memory = path.with_name(path.name + "-shm")
    if health.log_size > LOG_LIMIT:
        readers = proc.lock_holders(shared_memory, sqlite.READ_LOCKS)
        details = tuple(f"process {pid} is reading: {proc.command(pid) or 'unknown'}" for pid in readers)
        section.add(checks.LOG_GROWS, size=size(health.log_size), details=details)
    for pid in proc.lock_holders(shared_memory, range(sqlite.WRITE_LOCK, sqlite.WRITE_LOCK + 1)):
        section.add(checks.WRITE_LOCK_HELD, pid=pid, details=(proc.command(pid) or "unknown",))


def _check_permissions(section: Section, path: Path, mode: int) -> None:
    if mode & stat.S_IWOTH:
        section.add(checks.FILE_OPEN_TO_ALL, path=path, mode=stat.S_IMODE(mode))
    folder = path.with_name(path.name + ".embedq")
    if folder.is_dir() and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        section.add(checks.FOLDER_OPEN, folder=folder)


def _check_key(section: Section, settings: Settings) -> None:
    key = backends.key_file(settings)
    if settings.secret_key is None and key.exists():
        try:
            load_or_create_key(key)
        except ConfigurationError as error:
            section.add(checks.KEY_FILE, error=error)


# -- servers -----------------------------------------------------------------------------------------------------------


def _check_postgresql(section: Section, database: Database) -> None:
    health = database.read(postgresql.examine, open_seconds=min(BUSY_SECONDS, OPEN_SECONDS))
    section.fine.append(
        f"PostgreSQL {health.version.split()[0]}, {health.connections} of {health.limit} connections in use"
    )
    if not health.fsync:
        section.add(checks.NO_FSYNC)
    if not health.autovacuum:
        section.add(checks.AUTOVACUUM_OFF)
    for table in health.tables:
        if table.vacuum_off:
            section.add(checks.TABLE_AUTOVACUUM_OFF, table=table.name)
        if table.dead > MANY_DEAD_ROWS and table.dead > table.live:
            section.add(checks.DEAD_ROWS, table=table.name, dead=table.dead, live=table.live)
    _check_connections(section, health.connections, health.limit, "put PgBouncer in between, or raise max_connections")
    most_dead = max((table.dead for table in health.tables), default=0)
    for session in health.sessions:
        if _is_long(session.seconds, most_dead):
            section.add(
                checks.TRANSACTION_OPEN,
                session=session.pid,
                user=session.user,
                duration=span(session.seconds),
                idle=_idle(session.state.startswith("idle in transaction")),
                details=(session.application,) if session.application else (),
            )
    for name, seconds in health.prepared:
        section.add(checks.TRANSACTION_PREPARED, name=name, duration=span(seconds))
    if not health.sees_others:
        section.add(checks.SESSIONS_UNSEEN)


def _check_mysql(section: Section, database: Database) -> None:
    health = database.read(mysql.examine)
    name = "MariaDB" if "MariaDB" in health.version else "MySQL"
    version = health.version.partition("-")[0]
    section.fine.append(f"{name} {version}, {health.connections} of {health.limit} connections in use")
    if health.flush != 1:
        section.add(checks.NO_FLUSH, flush=health.flush)
    _check_connections(section, health.connections, health.limit, "raise max_connections")
    try:
        transactions = database.read(mysql.transactions, open_seconds=min(BUSY_SECONDS, OPEN_SECONDS))
    except StorageReadOnlyError:
        section.add(checks.TRANSACTIONS_UNSEEN)
        return
    for one in transactions.open:
        if _is_long(one.seconds, transactions.history):
            section.add(
                checks.MYSQL_TRANSACTION_OPEN,
                session=one.thread,
                user=one.user,
                duration=span(one.seconds),
                idle=_idle(one.command == "Sleep"),
                details=(f"from {one.host}",) if one.host else (),
            )
    if transactions.history > LONG_HISTORY:
        section.add(checks.HISTORY_LONG, changes=transactions.history)


def _idle(idle: bool) -> str:
    return ", idle" if idle else ""


def _is_long(seconds: float, dead: int) -> bool:
    """Return whether a transaction of that age is a problem, given the number of rows that wait for removal."""
    return seconds > OPEN_SECONDS or (dead > BUSY_DEAD_ROWS and seconds > BUSY_SECONDS)


def _check_connections(section: Section, used: int, limit: int, remedy: str) -> None:
    share = used / max(1, limit)
    if share >= CONNECTIONS_HIGH:
        severity = Severity.ERROR if share >= CONNECTIONS_FULL else None
        connections = counted(limit, "connection")
        section.add(checks.CONNECTIONS, severity=severity, limit=connections, used=used, remedy=remedy)

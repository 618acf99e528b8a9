"""The database: the SQLite file and what is around it, or the server."""

from __future__ import annotations

import stat
from pathlib import Path

from embedq.config import Settings, scheme_of, sqlite_path
from embedq.doctor import proc
from embedq.doctor.findings import Section
from embedq.errors import ConfigurationError, StorageReadOnlyError
from embedq.signing import load_or_create_key
from embedq.storage import backends
from embedq.storage.base import Database
from embedq.storage.mysql import health as mysql
from embedq.storage.postgresql import health as postgresql
from embedq.storage.sqlite import failures
from embedq.storage.sqlite import health as sqlite
from embedq.wording import counted, size, span

# embedq cuts the write-ahead log back to 64 MiB, so a larger one is being held on to.
LOG_LIMIT = 96 * 2**20
NO_ROOM, LITTLE_ROOM = 100 * 10**6, 10**9
# A transaction that is open for longer than any job of embedq's own.
OPEN_SECONDS = 300
CROWDED, FULL = 0.8, 0.95
LONG_HISTORY = 1_000_000
MANY_DEAD_ROWS = 100_000


def check(settings: Settings, database: Database) -> Section:
    """The database of an app."""
    section = Section("Database")
    scheme = scheme_of(settings.url)
    if scheme == "sqlite":
        _file(section, settings)
    elif scheme == "postgresql":
        _postgresql(section, database.read(postgresql.examine, open_seconds=OPEN_SECONDS))
    else:
        _mysql(section, database)
    return section


# -- SQLite ------------------------------------------------------------------------------------------------------------


def _file(section: Section, settings: Settings) -> None:
    path = sqlite_path(settings.url).absolute()
    health = sqlite.examine(path)
    where = f" on {health.filesystem}" if health.filesystem else ""
    section.fine.append(f"SQLite {health.version}, {size(health.size)}{where} with {size(health.free)} free")
    _network(section, health.filesystem)
    if health.journal != "wal":
        section.error(
            "no-write-ahead-log",
            f"the journal mode is {health.journal}, and not wal: readers and writers are in each other's way",
            "something else opens this file and changes that; stop it, and give embedq a file of its own",
        )
    check_room(section, health.free, path.parent)
    _log(section, health, path)
    _locked(section, path)
    _secrets(section, settings, path, health.mode)


def check_filesystem(settings: Settings) -> Section:
    """Whether a SQLite file is where it can be trusted; of the whole section this asks the least."""
    section = Section("Database")
    _network(section, failures.filesystem(sqlite_path(settings.url).absolute()))
    return section


def _network(section: Section, filesystem: str | None) -> None:
    if filesystem in failures.NETWORK_FILESYSTEMS:
        section.error(
            "network-filesystem",
            f"the file is on a network file system ({filesystem}), where SQLite's locks and shared memory are "
            "not to be trusted: it can be destroyed",
            "put it on a local disk, or use PostgreSQL or MySQL: embedq copy",
        )


def check_room(section: Section, free: int, folder: Path) -> None:
    """Whether the disk has room for what is enqueued; `free` is bytes."""
    if free < NO_ROOM:
        section.error(
            "disk-full",
            f"the disk of {folder} has {size(free)} left: soon nothing can be enqueued",
            "free space; what runs is kept and recorded when there is room",
        )
    elif free < LITTLE_ROOM:
        section.warning("disk-nearly-full", f"the disk of {folder} has {size(free)} left", "free space")


def _log(section: Section, health: sqlite.FileHealth, path: Path) -> None:
    if health.log_size <= LOG_LIMIT:
        return
    readers = proc.lasting(path.with_name(path.name + "-shm"), sqlite.READ_LOCKS)
    section.warning(
        "log-grows",
        f"the write-ahead log has grown to {size(health.log_size)}: some reader's transaction does not end, and "
        "reading gets slower",
        "end that transaction: a shell, a backup, a request that never closed its cursor. Then the log shrinks",
        tuple(f"process {pid} is reading: {proc.command(pid) or 'unknown'}" for pid in readers),
    )


def _locked(section: Section, path: Path) -> None:
    offsets = range(sqlite.WRITE_LOCK, sqlite.WRITE_LOCK + 1)
    for pid in proc.lasting(path.with_name(path.name + "-shm"), offsets):
        section.warning(
            "write-lock-held",
            f"process {pid} keeps the file locked for writing; nobody else can enqueue or finish jobs meanwhile",
            "commit or roll back its transaction (a shell, a migration, a long import), or end it",
            (proc.command(pid) or "unknown",),
        )


def _secrets(section: Section, settings: Settings, path: Path, mode: int) -> None:
    if mode & stat.S_IWOTH:
        section.warning(
            "file-open-to-all",
            f"every user of this machine may write to {path} (mode {stat.S_IMODE(mode):o})",
            f"chmod o-w {path}",
        )
    folder = path.with_name(path.name + ".embedq")
    if folder.is_dir() and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        section.warning(
            "folder-open",
            f"other users may write to {folder}, where the key and the locks are",
            f"chmod go-w {folder}",
        )
    key = backends.key_file(settings)
    if settings.secret_key is None and key.exists():
        try:
            load_or_create_key(key)
        except ConfigurationError as error:
            section.error(
                "key-file",
                f"functions that are not registered cannot run: {error}",
                "or set one secret_key (EMBEDQ_SECRET_KEY) for all processes",
            )


# -- servers -----------------------------------------------------------------------------------------------------------


def _postgresql(section: Section, health: postgresql.ServerHealth) -> None:
    section.fine.append(
        f"PostgreSQL {health.version.split()[0]}, {health.connections} of {health.limit} connections in use"
    )
    if not health.fsync:
        section.error(
            "no-fsync",
            "fsync is off: a power cut loses jobs that were acknowledged, and may destroy the database",
            "set fsync = on in postgresql.conf",
        )
    if not health.autovacuum:
        section.warning(
            "autovacuum-off",
            "autovacuum is off: dead rows stay, and claims get slower and slower",
            "set autovacuum = on in postgresql.conf, or run VACUUM on embedq's tables often",
        )
    for table in health.tables:
        if table.vacuum_off:
            section.warning(
                "autovacuum-off",
                f"autovacuum is off for {table.name}: claims get slower and slower",
                f"ALTER TABLE {table.name} RESET (autovacuum_enabled)",
            )
        if table.dead > MANY_DEAD_ROWS and table.dead > table.live:
            section.warning(
                "dead-rows",
                f"{table.name} has {table.dead:,} dead rows beside {table.live:,} live ones: something keeps vacuum "
                "from cleaning up",
                "look for old transactions and replication slots; then: VACUUM " + table.name,
            )
    _crowded(section, health.connections, health.limit, "put PgBouncer in between, or raise max_connections")
    for session in health.sessions:
        idle = session.state.startswith("idle in transaction")
        section.warning(
            "transaction-open",
            f"session {session.pid} of {session.user} has had a transaction open for {span(session.seconds)}"
            f"{' and does nothing in it' if idle else ''}: no row that died since can be cleaned up",
            f"end it: SELECT pg_terminate_backend({session.pid}); and set idle_in_transaction_session_timeout",
            (session.application,) if session.application else (),
        )
    for name, seconds in health.prepared:
        section.warning(
            "transaction-prepared",
            f"the prepared transaction {name!r} has been open for {span(seconds)}: no row that died since can be "
            "cleaned up",
            f"COMMIT PREPARED or ROLLBACK PREPARED '{name}'",
        )
    if not health.sees_others:
        section.note(
            "sessions-unseen",
            "this user may not see what others' sessions do, so that their old transactions were not looked for",
            "GRANT pg_read_all_stats TO this user",
        )


def _mysql(section: Section, database: Database) -> None:
    health = database.read(mysql.examine)
    name, version = "MySQL", health.version.partition("-")[0]
    if "MariaDB" in health.version:
        name = "MariaDB"
    section.fine.append(f"{name} {version}, {health.connections} of {health.limit} connections in use")
    if health.flush != 1:
        section.warning(
            "no-flush",
            f"innodb_flush_log_at_trx_commit is {health.flush}: a power cut loses jobs that were acknowledged",
            "set it to 1, unless that is what you want",
        )
    _crowded(section, health.connections, health.limit, "raise max_connections")
    try:
        transactions = database.read(mysql.transactions, open_seconds=OPEN_SECONDS)
    except StorageReadOnlyError:
        section.note(
            "transactions-unseen",
            "this user may not see open transactions, so that old ones were not looked for",
            "GRANT PROCESS ON *.* TO this user",
        )
        return
    for one in transactions.open:
        section.warning(
            "transaction-open",
            f"thread {one.thread} of {one.user} has had a transaction open for {span(one.seconds)}"
            f"{' and does nothing in it' if one.command == 'Sleep' else ''}: nothing that changed since can be purged",
            f"end it: KILL {one.thread}",
            (f"from {one.host}",) if one.host else (),
        )
    if transactions.history > LONG_HISTORY:
        section.warning(
            "history-long",
            f"{transactions.history:,} changes are still to be purged (history list length): reading gets slower",
            "end the oldest transaction; then it shrinks by itself",
        )


def _crowded(section: Section, connections: int, limit: int, advice: str) -> None:
    share = connections / max(1, limit)
    if share >= CROWDED:
        add = section.error if share >= FULL else section.warning
        add(
            "connections",
            f"of the server's {counted(limit, 'connection')} {connections} are in use",
            f"embedq takes at most 4 a process; {advice}",
        )

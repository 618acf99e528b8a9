"""The schema's versions, applied by sqlite-utils, once, however many processes start together.

Run plainly by several processes at once, sqlite-utils' migrations fail; so a file lock lets one process at a time in,
and an explicit BEGIN IMMEDIATE keeps out everybody else who writes to the file.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from embedq.errors import SchemaTooNewError

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

# In order; one SQL file each. A released one never changes.
VERSIONS = ("schema_0001", "schema_0002", "schema_0003")
MIGRATION_SET = "embedq"


def migrate(connection: sqlite3.Connection, path: Path, folder: Path) -> list[str]:
    """Apply the versions that are missing and return their names.

    Args:
        path: the database's file, for messages.
        folder: where the lock file goes.
    Raises:
        SchemaTooNewError: the file has versions that this embedq does not know.
    """
    # The common case, a schema that is up to date, is answered without importing sqlite-utils (120 ms).
    if not missing_versions(connection, path):
        return []
    from filelock import FileLock

    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / "migrate.lock", mode=0o600):
        missing = missing_versions(connection, path)
        if missing:
            _apply(connection)
    return missing


def missing_versions(connection: sqlite3.Connection, path: Path) -> list[str]:
    """The versions that the database has not had yet.

    Raises:
        SchemaTooNewError: it has had some that this embedq does not know.
    """
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ?"
    applied = {name for (name,) in connection.execute(query, (MIGRATION_SET,))} if exists else set()
    unknown = sorted(applied.difference(VERSIONS))
    if unknown:
        raise SchemaTooNewError(
            f"{path} was migrated by a newer embedq: it has {', '.join(unknown)}, and this one knows up to "
            f"{VERSIONS[-1]}. Nothing was changed. Upgrade embedq in this process, or give this app a file of its own."
        )
    return [version for version in VERSIONS if version not in applied]


def _apply(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database

    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrations().apply(Database(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrations() -> Migrations:
    from sqlite_utils.migrations import Migrations

    migrations = Migrations(MIGRATION_SET)
    for version in VERSIONS:
        sql = (Path(__file__).parent / f"{version}.sql").read_text(encoding="utf-8")

        def run(db: Database, sql: str = sql) -> None:
            for statement in split(sql):
                db.conn.execute(statement)

        migrations(name=version)(run)
    return migrations


def split(sql: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit the transaction it runs in."""
    statements, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    return statements

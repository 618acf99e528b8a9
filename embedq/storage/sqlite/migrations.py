"""The schema's versions, applied through sqlite-utils, once, however many processes start together.

They are recorded as sqlite-utils 4 records its own migrations, in `_sqlite_migrations`, so that its command line lists
them.
Its class for them is not used: it came with version 4.0, which does not install beside click before 8.3.1.

A file lock lets one process at a time in, and an explicit BEGIN IMMEDIATE keeps out every other writer of the file.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from embedq.process.own_folder import make_own_folder
from embedq.storage import schema_versions

# In order; one SQL file each. A released one never changes.
VERSIONS = (
    "schema_0001", "schema_0002", "schema_0003", "schema_0004", "schema_0005", "schema_0006", "schema_0007",
    "schema_0008", "schema_0009",
)  # fmt: skip
MIGRATION_SET = "embedq"
# Where sqlite-utils keeps the record of every set of migrations.
RECORD = "_sqlite_migrations"


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

    make_own_folder(folder)
    with FileLock(folder / "migrate.lock", mode=0o600):
        missing = missing_versions(connection, path)
        if missing:
            _apply(connection, missing)
    return missing


def missing_versions(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Return the versions that have not been applied yet.

    Raises:
        SchemaTooNewError: it has had some that this embedq does not know.
    """
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ?"
    applied = {name for (name,) in connection.execute(query, (MIGRATION_SET,))} if exists else set()
    return schema_versions.missing(applied, VERSIONS, label=str(path), own_place="a file")


def _apply(connection: sqlite3.Connection, versions: list[str]) -> None:
    from sqlite_utils import Database

    # The connection stays as it is: no pragma of sqlite-utils', and none of its plugins.
    database = Database(connection, recursive_triggers=False, execute_plugins=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        record = database.table(RECORD)
        if not record.exists():
            columns = {"id": int, "migration_set": str, "name": str, "applied_at": str}
            # As text: sqlite-utils 3 commits what it creates, and what it inserts.
            database.execute(database.create_table_sql(RECORD, columns, pk="id"))
            record.create_index(["migration_set", "name"], unique=True)
        for version in versions:
            for statement in split((Path(__file__).parent / f"{version}.sql").read_text(encoding="utf-8")):
                database.execute(statement)
            database.execute(
                f"INSERT INTO {RECORD} (migration_set, name, applied_at) VALUES (?, ?, ?)",
                (MIGRATION_SET, version, str(datetime.now(UTC))),
            )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def split(sql: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit the transaction it runs in."""
    statements, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    return statements

"""The schema's versions, each applied once, however many processes start together.

All missing versions are applied in one transaction under an advisory lock: a process that waited for it has nothing to
do.
"""

from __future__ import annotations

from pathlib import Path

from embedq.storage import schema_versions
from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.postgresql.session import PostgresSession

# In order; one SQL file each. A released one never changes.
VERSIONS = (
    "schema_0001", "schema_0002", "schema_0003", "schema_0004", "schema_0005", "schema_0006", "schema_0007",
    "schema_0008",
)  # fmt: skip
# Identifies embedq's lock among all advisory locks of the database: "embedq" in ASCII.
LOCK = 0x656D62656471


def migrate(session: PostgresSession, address: PostgresAddress) -> list[str]:
    """Apply the versions that are missing and return their names. SchemaTooNewError if there are unknown ones."""
    if not missing_versions(session, address):
        return []
    session.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    # However long another process needs for it.
    session.execute("SET LOCAL lock_timeout = 0")
    session.execute("SELECT pg_advisory_xact_lock($1)", (LOCK,))
    missing = missing_versions(session, address)
    if missing:
        schema = address.quoted_schema
        if not session.execute("SELECT 1 FROM pg_namespace WHERE nspname = $1", (address.schema,)):
            session.execute(f"CREATE SCHEMA {schema}")
        session.execute(f"SET LOCAL search_path = {schema}")
        session.execute(
            "CREATE TABLE IF NOT EXISTS embedq_migrations (name TEXT PRIMARY KEY, applied_at TIMESTAMPTZ DEFAULT now())"
        )
        for version in missing:
            session.run_script((Path(__file__).parent / f"{version}.sql").read_text(encoding="utf-8"))
            session.execute("INSERT INTO embedq_migrations (name) VALUES ($1)", (version,))
    session.execute("COMMIT")
    return missing


def missing_versions(session: PostgresSession, address: PostgresAddress) -> list[str]:
    """Return the versions that have not been applied yet.

    Raises:
        SchemaTooNewError: it has had some that this embedq does not know.
    """
    table = f"{address.quoted_schema}.embedq_migrations"
    # Not to_regclass: it may answer from what this connection knew before it waited for the lock.
    exists = session.execute(
        "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'embedq_migrations'", (address.schema,)
    )
    applied = {name for (name,) in session.execute(f"SELECT name FROM {table}")} if exists else set()
    return schema_versions.missing(applied, VERSIONS, label=address.label, own_place="a schema")

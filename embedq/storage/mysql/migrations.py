"""The schema's versions, each applied once, however many processes start together.

A statement that changes the schema commits at once, so that a version is written to be run again from its beginning;
it is on record when all of it has been applied. A lock of the server keeps two processes from doing so together.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pymysql
from pymysql.constants import ER

from embedq.errors import ConfigurationError, StorageBusyError
from embedq.storage import schema_versions
from embedq.storage.mysql.address import MysqlAddress
from embedq.storage.mysql.session import MysqlSession

# In order; one SQL file each. A released one never changes.
VERSIONS = (
    "schema_0001", "schema_0002", "schema_0003", "schema_0004", "schema_0005", "schema_0006", "schema_0007",
    "schema_0008",
)  # fmt: skip
# However long another process needs, if it is not stuck.
LOCK_SECONDS = 3600
# What the tables need: SKIP LOCKED and JSON_TABLE.
OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
COLLATIONS = {"MariaDB": "utf8mb4_nopad_bin", "MySQL": "utf8mb4_0900_bin"}


def migrate(session: MysqlSession, address: MysqlAddress) -> list[str]:
    """Apply the versions that are missing and return their names.

    Raises:
        SchemaTooNewError: there are unknown ones.
        ConfigurationError: the server is too old.
    """
    _check_version(session)
    if not missing_versions(session, address):
        session.delete_old_marks()
        return []
    lock = "embedq " + hashlib.sha256(address.qualifier.encode()).hexdigest()[:32]
    if session.execute("SELECT GET_LOCK(%s, %s)", (lock, LOCK_SECONDS)) != [(1,)]:
        raise StorageBusyError(
            f"another process has been migrating {address.label} for {LOCK_SECONDS} seconds; look for it in SHOW "
            "PROCESSLIST"
        )
    try:
        missing = missing_versions(session, address)
        for version in missing:
            _apply(session, address, version)
    finally:
        session.execute("SELECT RELEASE_LOCK(%s)", (lock,))
    return missing


def _apply(session: MysqlSession, address: MysqlAddress, version: str) -> None:
    collation = COLLATIONS[session.product]
    session.execute(
        f"CREATE TABLE IF NOT EXISTS {address.qualifier}embedq_migrations (name VARCHAR(64) NOT NULL PRIMARY KEY, "
        f"applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB CHARACTER SET utf8mb4 "
        f"COLLATE {collation}"
    )
    script = (Path(__file__).parent / f"{version}.sql").read_text(encoding="utf-8")
    script = re.sub(r"^\s*--.*\n", "", script, flags=re.MULTILINE).replace("{collation}", collation)
    for statement in re.split(r";\s*\n", script):
        if statement.strip():
            statement = re.sub(r"(EXISTS|TABLE|INTO) embedq_", rf"\1 {address.qualifier}embedq_", statement)
            try:
                session.execute(statement)
            except pymysql.MySQLError as error:
                # MySQL has no ADD COLUMN IF NOT EXISTS.
                if error.args[0] not in (ER.DUP_FIELDNAME, ER.DUP_KEYNAME):
                    raise
    session.execute(f"INSERT INTO {address.qualifier}embedq_migrations (name) VALUES (%s)", (version,))


def _check_version(session: MysqlSession) -> None:
    [(version,)] = session.execute("SELECT VERSION()")
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if found < OLDEST[session.product]:
        oldest = ".".join(map(str, OLDEST[session.product]))
        raise ConfigurationError(f"embedq needs {session.product} {oldest} or later; this server is {version}")


def missing_versions(session: MysqlSession, address: MysqlAddress) -> list[str]:
    """Return the versions that have not been applied yet.

    Raises:
        SchemaTooNewError: it has had some that this embedq does not know.
    """
    exists = session.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
        (address.database, f"{address.prefix}embedq_migrations"),
    )
    table = f"{address.qualifier}embedq_migrations"
    applied = {name for (name,) in session.execute(f"SELECT name FROM {table}")} if exists else set()
    return schema_versions.missing(applied, VERSIONS, label=address.label, own_place="a prefix")

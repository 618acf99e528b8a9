"""What errors of PostgreSQL and libpq mean, and the message for each.

A server's error has a code (SQLSTATE). An error at connect has only a text, in the server's own language; a text that
is not recognised counts as a server that may come back.
"""

from __future__ import annotations

import re

import psycopg

from embedq.errors import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageMissingError,
    StorageReadOnlyError,
)
from embedq.storage.advice import CONFLICTS, NO_SPACE, REFUSED, UNAVAILABLE, Advice
from embedq.storage.driver import ErrorKind

# 08: connection; 25006: read-only, as after a failover; 25P03, 57P05: closed because it was idle; 53300: too many
# connections; 57P01-3: shutting down or starting up. 26000, 42P05: a pooler assigned another client's connection.
# 0A000: a standby refuses a transaction that writes, or a change of the schema has invalidated a plan.
_UNAVAILABLE = {"0A000", "25006", "25P03", "26000", "42P05", "53300", "57P01", "57P02", "57P03", "57P05"}
_CONFLICT = {"40001", "40P01"}
# At connect there is no code. The next attempt would fail with the same of these.
_PERMANENT_AT_CONNECT = (
    "password authentication failed", "authentication failed", "no password supplied", "no pg_hba.conf entry",
    "does not exist", "is not permitted to log in", "permission denied for database", "root certificate",
    "server does not support SSL", "invalid connection option", "invalid sslmode", "certificate verify failed",
    "value: \"",
    "does not match host name",
)  # fmt: skip

# By "code text"; the code is "-" where there is none.
_ADVICE = (
    Advice("^53100 ", *NO_SPACE),
    Advice(
        "^(0A000|25006) |session is read-only",
        StorageReadOnlyError,
        "{label} accepts no writes: it is a standby. Point the URL at the primary; with several hosts add "
        "target_session_attrs=read-write. {detail}",
    ),
    Advice(
        "^42501 .*for database",
        StorageReadOnlyError,
        "this user may not create the schema {schema} in {label}. As the database's owner: CREATE SCHEMA {schema} "
        "AUTHORIZATION the user, or GRANT CREATE ON DATABASE; or choose an existing one with ?schema=… {detail}",
    ),
    Advice(
        "^42939 ",
        StorageMissingError,
        "{schema} cannot be the name of a schema in {label}; choose another with ?schema=… {detail}",
    ),
    Advice(
        "^42501 |permission denied",
        StorageReadOnlyError,
        "this user may not use embedq's tables in schema {schema} of {label}. As their owner: GRANT USAGE, CREATE ON "
        "SCHEMA {schema}, or choose another with ?schema=… {detail}",
    ),
    Advice(
        "^53300 |too many c|connection slots",
        StorageBusyError,
        "{label} has no connection to spare; nothing was written. embedq takes at most 5 per process: raise "
        "max_connections, or put PgBouncer in between. {detail}",
    ),
    Advice(
        "^(55P03|57014) ",
        StorageBusyError,
        "{label} took longer than its lock_timeout or statement_timeout allows; nothing was written. Look for a long "
        "transaction in pg_stat_activity, or give this role longer timeouts. {detail}",
    ),
    Advice("^(40001|40P01) ", *CONFLICTS),
    Advice(
        "^(42P01|3F000) ",
        StorageMissingError,
        "embedq's tables are not in schema {schema} of {label}. Check the URL; they are made by embedq.start(), by a "
        "worker, or by: embedq migrate. {detail}",
    ),
    Advice(
        "^3D000 |database.*does not exist",
        StorageMissingError,
        "there is no such database: {label}. Create it with createdb. {detail}",
    ),
    Advice(
        'role ".*does not exist',
        StorageMissingError,
        "{label} has no such user. Check the one in the URL, or CREATE ROLE. {detail}",
    ),
    Advice(
        "SSL.*does not support|does not support.*SSL",
        StorageMissingError,
        "{label} accepts no encrypted connections, and the URL requires one. Set ssl = on there, or another sslmode in "
        "the URL. {detail}",
    ),
    Advice(
        '^- .*(invalid sslmode|invalid connection option|value: ")',
        StorageMissingError,
        "libpq does not accept the parameters in the URL of {label}. {detail}",
    ),
    Advice(
        "certificate",
        StorageMissingError,
        "the certificate of {label} does not satisfy the URL, or there is no certificate to verify it with. Look at "
        "sslmode, sslrootcert and the host's name in the URL, and at the server's ssl_cert_file. {detail}",
    ),
    Advice(
        "^28|authentication failed|no password supplied|pg_hba",
        StorageMissingError,
        "{label} does not let this user in. Check user and password in the URL (percent-encoded), and the server's "
        "pg_hba.conf. {detail}",
    ),
    # The server reports a value that it cannot allocate as an internal error.
    Advice("^(22|23|P0)|^54000 |^XX000 .*alloc request size", *REFUSED),
    Advice("^XX00[12] ", StorageCorruptError, "{label} has damaged tables or indexes; restore a backup. {detail}"),
    UNAVAILABLE._replace(match=""),
)


def classify(error: Exception, *, reading: bool) -> ErrorKind:
    """Return what an error means for the transaction in which it occurred."""
    if not isinstance(error, psycopg.Error):
        return ErrorKind.PERMANENT
    code = error.sqlstate
    if reading and code == "25006":
        # No failover: embedq itself declared the transaction read-only.
        return ErrorKind.PERMANENT
    if code in _CONFLICT:
        return ErrorKind.CONFLICT
    if code in _UNAVAILABLE or (code or "").startswith("08"):
        return ErrorKind.UNAVAILABLE
    if code is None and isinstance(error, psycopg.OperationalError):
        text = str(error)
        permanent = any(phrase in text for phrase in _PERMANENT_AT_CONNECT)
        return ErrorKind.PERMANENT if permanent else ErrorKind.UNAVAILABLE
    return ErrorKind.PERMANENT


def shows_a_pooler(error: Exception) -> bool:
    """Return whether an error shows that a pooler shares connections between transactions."""
    if not isinstance(error, psycopg.Error):
        return False
    return error.sqlstate in ("26000", "42P05") or "unsupported startup parameter" in str(error)


def explain(error: Exception, label: str, schema: str) -> StorageError | None:
    """Return embedq's error for one of psycopg; None for any other."""
    if not isinstance(error, psycopg.Error):
        return None
    text = " ".join(str(error).split())
    subject = f"{error.sqlstate or '-'} {text}"
    advice = next(advice for advice in _ADVICE if re.search(advice.match, subject))
    return advice.as_error(label=label, schema=schema, detail=f"PostgreSQL reports: {text}")

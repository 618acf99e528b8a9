"""What PostgreSQL and libpq say, in words that say what to do.

A server's error has a code. A connection that could not be made has only a text, the server's in its own language; what
is not recognised there is taken for a server that may come back.
"""

from __future__ import annotations

import psycopg

from embedq.errors import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageMissingError,
    StorageReadOnlyError,
    StorageRefusedError,
    StorageUnavailableError,
)
from embedq.storage.driver import Trouble

# 08: connection; 25006: read-only, as after a failover; 25P03, 57P05: closed for idling; 53300: too many connections;
# 57P01-3: shutting down or starting up. 26000, 42P05: a pooler gave us another's connection. 0A000: a standby that is
# asked for a transaction that writes, or a plan that a change of the schema has made useless.
_AWAY = {"0A000", "25006", "25P03", "26000", "42P05", "53300", "57P01", "57P02", "57P03", "57P05"}
_CONFLICT = {"40001", "40P01"}
# At connect there is no code. These will be the same next time.
_REFUSED = (
    "password authentication failed", "authentication failed", "no password supplied", "no pg_hba.conf entry",
    "does not exist", "is not permitted to log in", "permission denied for database", "root certificate",
    "server does not support SSL", "invalid connection option", "invalid sslmode", "certificate verify failed",
    "value: \"",
    "does not match host name",
)  # fmt: skip


def trouble(error: Exception, *, reading: bool) -> Trouble:
    """What an error means for the transaction in which it came."""
    if not isinstance(error, psycopg.Error):
        return Trouble.OWN
    code = error.sqlstate
    if reading and code == "25006":
        # No failover: it was us who said that nothing would be written.
        return Trouble.OWN
    if code in _CONFLICT:
        return Trouble.CONFLICT
    if code in _AWAY or (code or "").startswith("08"):
        return Trouble.AWAY
    if code is None and isinstance(error, psycopg.OperationalError):
        text = str(error)
        return Trouble.OWN if any(word in text for word in _REFUSED) else Trouble.AWAY
    return Trouble.OWN


def pooler_in_between(error: Exception) -> bool:
    """Whether an error shows that connections are shared between transactions."""
    if not isinstance(error, psycopg.Error):
        return False
    return error.sqlstate in ("26000", "42P05") or "unsupported startup parameter" in str(error)


def explain(error: Exception, label: str, schema: str) -> StorageError | None:
    """The embedq error for an error of psycopg; None for what is not one."""
    if not isinstance(error, psycopg.Error):
        return None
    text = " ".join(str(error).split())
    said, code = f"PostgreSQL says: {text}", error.sqlstate or ""
    if code == "53100":
        return StorageFullError(
            f"no space left on the server of {label}; nothing was written. Free space on its disk. Running jobs keep "
            f"their results and are recorded when there is room. {said}"
        )
    if code in ("0A000", "25006") or "session is read-only" in text:
        return StorageReadOnlyError(
            f"{label} accepts no writes: it is a standby. Point the URL at the primary; with several hosts add "
            f"target_session_attrs=read-write. {said}"
        )
    if code == "42501" and "for database" in text:
        return StorageReadOnlyError(
            f"this user may not create the schema {schema} in {label}. As the database's owner: CREATE SCHEMA {schema} "
            f"AUTHORIZATION the user, or GRANT CREATE ON DATABASE; or choose one that is there with ?schema=… {said}"
        )
    if code == "42939":
        return StorageMissingError(
            f"{schema} cannot be the name of a schema in {label}; choose another with ?schema=… {said}"
        )
    if code == "42501" or "permission denied" in text:
        return StorageReadOnlyError(
            f"this user may not use embedq's tables in schema {schema} of {label}. As their owner: GRANT USAGE, CREATE "
            f"ON SCHEMA {schema}, or choose another with ?schema=… {said}"
        )
    if code == "53300" or "too many c" in text or "connection slots" in text:
        return StorageBusyError(
            f"{label} has no connection to spare; nothing was written. embedq takes at most 4 a process: raise "
            f"max_connections, or put PgBouncer in between. {said}"
        )
    if code in ("55P03", "57014"):
        return StorageBusyError(
            f"{label} took longer than its lock_timeout or statement_timeout allows; nothing was written. Look for a "
            f"long transaction in pg_stat_activity, or give this role longer ones. {said}"
        )
    if code in _CONFLICT:
        return StorageBusyError(f"other transactions were in the way again and again; nothing was written. {said}")
    if code in ("42P01", "3F000"):
        return StorageMissingError(
            f"embedq's tables are not in schema {schema} of {label}. Check the URL; they are made by embedq.start(), "
            f"by a worker, or by: embedq migrate. {said}"
        )
    if code == "3D000" or ("database" in text and "does not exist" in text):
        return StorageMissingError(f"there is no such database: {label}. Create it with createdb. {said}")
    if 'role "' in text and "does not exist" in text:
        return StorageMissingError(f"{label} has no such user. Check the one in the URL, or CREATE ROLE. {said}")
    if "SSL" in text and "does not support" in text:
        return StorageMissingError(
            f"{label} takes no encrypted connections, and the URL asks for one. Set ssl = on there, or another sslmode "
            f"in the URL. {said}"
        )
    if not code and any(word in text for word in ("invalid sslmode", "invalid connection option", 'value: "')):
        return StorageMissingError(f"libpq does not take what the URL of {label} says. {said}")
    if "certificate" in text:
        return StorageMissingError(
            f"the certificate of {label} is not one that the URL lets pass, or there is none to check it by. Look at "
            f"sslmode, sslrootcert and the host's name in the URL, and at the server's ssl_cert_file. {said}"
        )
    if code.startswith("28") or "authentication failed" in text or "no password supplied" in text or "pg_hba" in text:
        return StorageMissingError(
            f"{label} does not let this user in. Check user and password in the URL (percent-encoded), and the "
            f"server's pg_hba.conf. {said}"
        )
    if code[:2] in ("22", "23", "P0") or code == "54000":
        return StorageRefusedError(
            f"{label} does not take what was to be written, and would not the next time. Nothing was written. {said}"
        )
    if code in ("XX001", "XX002"):
        return StorageCorruptError(f"{label} has damaged tables or indexes; restore a backup. {said}")
    return StorageUnavailableError(
        f"{label} cannot be reached, or failed. What was not acknowledged was not written. Look at the server and "
        f"its log. {said}"
    )

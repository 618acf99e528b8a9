"""What errors of MySQL, MariaDB and PyMySQL mean, and the message for each. Every error has a number."""

from __future__ import annotations

import pymysql

from embedq.errors import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageMissingError,
    StorageReadOnlyError,
    StorageRefusedError,
)
from embedq.storage.advice import CONFLICTS, NO_SPACE, REFUSED, UNAVAILABLE, Advice
from embedq.storage.driver import ErrorKind

# 1290, 1836: read-only, as after a failover.
_READ_ONLY = {1290, 1836}
# The server accepts no more connections, from this user or at all.
_CROWDED = {1040, 1203, 1226}
# Shutting down, or the connection is broken, killed, or closed because it was idle; Galera's node is not ready. Numbers
# above 2000 are the driver's own; 0 is its number for a connection that it has closed.
_GONE = {0, 1047, 1053, 1077, 1078, 1079, 1080, 1152, 1156, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013,
         2014, 2027, 2055, 4031}  # fmt: skip
# A deadlock; the row has changed, or the table was altered, since this transaction's snapshot.
_CONFLICT = {1020, 1213, 1412}

_ADVICE = (
    Advice({1021, 1114, 1041, 3019}, *NO_SPACE),
    Advice(
        _READ_ONLY,
        StorageReadOnlyError,
        "{label} accepts no writes: it is a replica, or read_only is set. Point the URL at the primary. {detail}",
    ),
    Advice(
        {1044, 1142, 1143, 1227, 1370},
        StorageReadOnlyError,
        "this user may not use embedq's tables in {label}. GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX "
        "ON the database, or, once embedq migrate has run, the first four. {detail}",
    ),
    Advice(
        _CROWDED,
        StorageBusyError,
        "{label} has no connection to spare; nothing was written. embedq takes at most 4 per process: raise "
        "max_connections or max_user_connections. {detail}",
    ),
    # No row lock, or no end of the statement, within the time limit.
    Advice(
        {1205, 1317, 1969, 3024},
        StorageBusyError,
        "{label} took longer than its time limits allow; nothing was written. Look for a long transaction in SHOW "
        "ENGINE INNODB STATUS, or raise max_statement_time. {detail}",
    ),
    Advice(_CONFLICT, *CONFLICTS),
    Advice(
        {1153},
        StorageRefusedError,
        "{label} accepts no text as long as this one; nothing was written. Raise max_allowed_packet, or keep large "
        "arguments and results elsewhere and pass their names. {detail}",
    ),
    Advice(
        {1146},
        StorageMissingError,
        "embedq's tables are not in {label}. Check the URL; they are made by embedq.start(), by a worker, or by: "
        "embedq migrate. {detail}",
    ),
    Advice(
        {1049},
        StorageMissingError,
        "there is no such database: {label}. Create it with CREATE DATABASE. {detail}",
    ),
    Advice(
        {1045, 1698, 1130, 1129, 1862, 4151, 2026, 2059, 2061},
        StorageMissingError,
        "{label} does not let this user in. Check user, password (percent-encoded) and TLS in the URL, and the user's "
        "host on the server. {detail}",
    ),
    Advice(
        {126, 127, 1034, 1194, 1712},
        StorageCorruptError,
        "{label} has damaged tables; restore a backup. {detail}",
    ),
)
_REFUSED = Advice(None, *REFUSED)


def number_of(error: Exception) -> int | None:
    """Return the number of an error of the driver; None for any other error."""
    if not isinstance(error, pymysql.Error):
        return None
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def classify(error: Exception, *, reading: bool) -> ErrorKind:
    """Return what an error means for the transaction in which it occurred."""
    number = number_of(error)
    if number in _CONFLICT:
        return ErrorKind.CONFLICT
    if number in _GONE or number in _CROWDED or (number in _READ_ONLY and not reading):
        return ErrorKind.UNAVAILABLE
    return ErrorKind.PERMANENT


def explain(error: Exception, label: str) -> StorageError | None:
    """Return embedq's error for one of PyMySQL; None for any other."""
    number = number_of(error)
    if number is None:
        return None
    text = " ".join(str(error.args[-1] if error.args else error).split())
    fallback = _REFUSED if isinstance(error, pymysql.err.DataError | pymysql.err.IntegrityError) else UNAVAILABLE
    advice = next((advice for advice in _ADVICE if number in advice.match), fallback)
    return advice.as_error(label=label, detail=f"The server reports: {text} ({number})")

"""What MySQL, MariaDB and PyMySQL say, in words that say what to do. Every error has a number."""

from __future__ import annotations

import pymysql

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

# 1290, 1836: read-only, as after a failover. The server takes no more connections, from this user or at all.
_READ_ONLY = {1290, 1836}
_CROWDED = {1040, 1203, 1226}
# Shutting down, or the connection is broken, killed, or closed for idling; Galera's node is not ready. Above 2000 the
# driver speaks for itself; 0 is its word for a connection that it has closed.
_GONE = {0, 1047, 1053, 1077, 1078, 1079, 1080, 1152, 1156, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013,
         2014, 2027, 2055, 4031}  # fmt: skip
# A deadlock; the row has changed, or the table was altered, since this transaction's snapshot.
_CONFLICT = {1020, 1213, 1412}
_FULL = {1021, 1114, 1041, 3019}
# No row lock, no statement, in the time that there is.
_SLOW = {1205, 1317, 1969, 3024}
_REFUSED = {1045, 1698, 1130, 1129, 1862, 4151, 2026, 2059, 2061}
_FORBIDDEN = {1044, 1142, 1143, 1227, 1370}
_CORRUPT = {126, 127, 1034, 1194, 1712}


def number_of(error: Exception) -> int | None:
    """The number of an error of the driver; None for what is not one."""
    if not isinstance(error, pymysql.Error):
        return None
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def trouble(error: Exception, *, reading: bool) -> Trouble:
    """What an error means for the transaction in which it came."""
    number = number_of(error)
    if number in _CONFLICT:
        return Trouble.CONFLICT
    if number in _GONE or number in _CROWDED or (number in _READ_ONLY and not reading):
        return Trouble.AWAY
    return Trouble.OWN


def explain(error: Exception, label: str) -> StorageError | None:
    """The embedq error for an error of PyMySQL; None for what is not one."""
    number = number_of(error)
    if number is None:
        return None
    said = f"The server says: {' '.join(str(error.args[-1] if error.args else error).split())} ({number})"
    if number in _FULL:
        return StorageFullError(
            f"no space left on the server of {label}; nothing was written. Free space on its disk. Running jobs keep "
            f"their results and are recorded when there is room. {said}"
        )
    if number in _READ_ONLY:
        return StorageReadOnlyError(
            f"{label} accepts no writes: it is a replica, or read_only is set. Point the URL at the primary. {said}"
        )
    if number in _FORBIDDEN:
        return StorageReadOnlyError(
            f"this user may not use embedq's tables in {label}. GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, "
            f"INDEX ON the database, or, once embedq migrate has run, the first four. {said}"
        )
    if number in _CROWDED:
        return StorageBusyError(
            f"{label} has no connection to spare; nothing was written. embedq takes at most 3 a process: raise "
            f"max_connections or max_user_connections. {said}"
        )
    if number in _SLOW:
        return StorageBusyError(
            f"{label} took longer than its time limits allow; nothing was written. Look for a long transaction in "
            f"SHOW ENGINE INNODB STATUS, or raise max_statement_time. {said}"
        )
    if number in _CONFLICT:
        return StorageBusyError(f"other transactions were in the way again and again; nothing was written. {said}")
    if number == 1153:
        return StorageRefusedError(
            f"{label} takes no text as long as this one; nothing was written. Raise max_allowed_packet, or keep large "
            f"arguments and results elsewhere and pass their names. {said}"
        )
    if number == 1146:
        return StorageMissingError(
            f"embedq's tables are not in {label}. Check the URL; they are made by embedq.start(), by a worker, or by: "
            f"embedq migrate. {said}"
        )
    if number == 1049:
        return StorageMissingError(f"there is no such database: {label}. Create it with CREATE DATABASE. {said}")
    if number in _REFUSED:
        return StorageMissingError(
            f"{label} does not let this user in. Check user, password (percent-encoded) and TLS in the URL, and the "
            f"user's host on the server. {said}"
        )
    if isinstance(error, pymysql.err.DataError | pymysql.err.IntegrityError):
        return StorageRefusedError(
            f"{label} does not take what was to be written, and would not the next time. Nothing was written. {said}"
        )
    if number in _CORRUPT:
        return StorageCorruptError(f"{label} has damaged tables; restore a backup. {said}")
    return StorageUnavailableError(
        f"{label} cannot be reached, or failed. What was not acknowledged was not written. Look at the server and "
        f"its log. {said}"
    )

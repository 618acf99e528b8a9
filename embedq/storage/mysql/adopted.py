"""A connection that the application has opened for embedq, made as one that embedq opens itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pymysql
from pymysql.constants import CLIENT, COMMAND
from pymysql.cursors import Cursor

from embedq.errors import ConfigurationError

MULTI_STATEMENTS_ON = 0


def adopted(connect: Callable[[], Any]) -> pymysql.Connection[Any]:
    """Let the application open a connection.

    Raises:
        pymysql.OperationalError: it could not; what was raised is the cause.
        ConfigurationError: what it returned is no connection of PyMySQL, or counts rows in another way.
    """
    try:
        connection = connect()
    except pymysql.Error:
        raise
    except Exception as error:
        # A vault that is away is waited for, like a server: 2003 is what the driver says of one.
        raise pymysql.OperationalError(2003, f"connect= failed: {type(error).__name__}: {error}") from error
    if not isinstance(connection, pymysql.Connection):
        raise ConfigurationError(
            f"connect= returned a {type(connection).__module__}.{type(connection).__qualname__}; it must return a new "
            "pymysql.Connection each time"
        )
    if not connection.client_flag & CLIENT.FOUND_ROWS:
        # It is for good once the connection is open.
        connection.close()
        raise ConfigurationError(
            "connect= must open its connections with pymysql.connect(…, client_flag=CLIENT.FOUND_ROWS): counts are of "
            "rows found, not of rows made different"
        )
    connection.rollback()
    connection.autocommit(True)
    connection.set_character_set("utf8mb4")
    connection.cursorclass = Cursor
    if not connection.client_flag & CLIENT.MULTI_STATEMENTS:
        # This can be asked for later; the driver has no method for it.
        connection._execute_command(COMMAND.COM_SET_OPTION, struct.pack("<H", MULTI_STATEMENTS_ON))  # type: ignore[attr-defined]
        connection._read_packet()  # type: ignore[no-untyped-call]
        connection.client_flag |= CLIENT.MULTI_STATEMENTS
    return connection

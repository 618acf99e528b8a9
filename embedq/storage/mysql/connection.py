"""Opening connections to MySQL or MariaDB: by the URL, or by the application's own function."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pymysql
from pymysql.constants import CLIENT, COMMAND
from pymysql.cursors import Cursor

from embedq.errors import ConfigurationError, EmbedqError
from embedq.storage.mysql.address import MysqlAddress

# A peer that vanished is noticed within half a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
MULTI_STATEMENTS_ON = 0


def connect(address: MysqlAddress, program: str, limit: float | None = None) -> pymysql.Connection[Any]:
    """Open a connection with the driver's own settings.

    Args:
        limit: how many seconds it may take, whatever the address contains.
    Raises:
        ConfigurationError: a file that the URL names is not there.
    """
    try:
        return _connect(address, program, limit)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"a file that the URL of {address.label} names is not here: {_files(address)}"
        ) from error


def _files(address: MysqlAddress) -> str:
    given = {**address.arguments, **address.arguments.get("ssl", {})}
    return ", ".join(
        str(given[name]) for name in ("ssl_ca", "ssl_cert", "ssl_key", "ca", "cert", "key") if name in given
    )


def _connect(address: MysqlAddress, program: str, limit: float | None) -> pymysql.Connection[Any]:
    seconds = address.arguments["connect_timeout"] if limit is None else limit
    return pymysql.connect(
        **{**address.arguments, "connect_timeout": seconds},
        database=address.database,
        charset="utf8mb4",
        autocommit=True,
        # For the server's first packet; see MysqlSession.
        read_timeout=seconds,
        program_name=program,
        # As on the other databases, count the rows that a statement found, not those that it changed.
        client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS,
    )


def prepare_connection(connect: Callable[[], Any]) -> pymysql.Connection[Any]:
    """Return a connection that the application opens, prepared as one that embedq opens itself.

    Raises:
        pymysql.OperationalError: the application's function failed; its error is the cause.
        ConfigurationError: what it returned is no connection of PyMySQL, or counts rows in another way.
    """
    try:
        connection = connect()
    except (pymysql.Error, EmbedqError):
        raise
    except Exception as error:
        # An unavailable vault is waited for like a server: 2003 is the driver's number for that.
        raise pymysql.OperationalError(2003, f"connect= failed: {type(error).__name__}: {error}") from error
    if not isinstance(connection, pymysql.Connection):
        raise ConfigurationError(
            f"connect= returned a {type(connection).__module__}.{type(connection).__qualname__}; it must return a new "
            "pymysql.Connection each time"
        )
    if not connection.client_flag & CLIENT.FOUND_ROWS:
        # It cannot be changed once the connection is open.
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
        # This can be set on an open connection, but the driver has no method for it.
        connection._execute_command(COMMAND.COM_SET_OPTION, struct.pack("<H", MULTI_STATEMENTS_ON))  # type: ignore[attr-defined]
        connection._read_packet()  # type: ignore[no-untyped-call]
        connection.client_flag |= CLIENT.MULTI_STATEMENTS
    return connection


def socket_of(connection: pymysql.Connection[Any]) -> socket.socket | None:
    found: socket.socket | None = getattr(connection, "_sock", None)
    return found


def keep_alive(connection: pymysql.Connection[Any]) -> None:
    sock = socket_of(connection)
    if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                with suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

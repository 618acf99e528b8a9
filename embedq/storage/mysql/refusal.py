"""Whether every address of a MySQL or MariaDB server refuses connections; see `storage.refusal`."""

from __future__ import annotations

import socket

from embedq.storage.mysql.address import MysqlAddress
from embedq.storage.refusal import ServerAddress, receive, refused_everywhere

# It is shutting down.
_TURNED_AWAY = {1053, 1077, 1078, 1079, 1080}
_ERROR = 0xFF


def refuses(address: MysqlAddress, *, seconds: float) -> bool:
    """Return whether every address of its host, or its socket, does."""
    given = address.arguments
    path = given.get("unix_socket")
    place = ServerAddress(path, 0) if path else ServerAddress(given["host"], given["port"])
    return refused_everywhere([place], turned_away=_turned_away, seconds=seconds)


def shows_refusal(error: Exception | None) -> bool:
    """Decide the same by the driver's error, where only the application knows the addresses."""
    return any(
        isinstance(cause, ConnectionRefusedError)
        for one in (error, getattr(error, "__cause__", None))
        for cause in (one, getattr(one, "original_exception", None))
    )


def _turned_away(connection: socket.socket) -> bool:
    # The server sends the first packet: a greeting, or an error with its number.
    header = receive(connection, 7)
    return header[4] == _ERROR and int.from_bytes(header[5:7], "little") in _TURNED_AWAY

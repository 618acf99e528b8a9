"""Whether every address of a PostgreSQL server refuses connections; see `storage.refusal`."""

from __future__ import annotations

import re
import socket
import struct

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.refusal import ServerAddress, receive, refused_everywhere

PORT = "5432"
# Where libpq looks for a socket if no host is named, depending on its build.
SOCKET_FOLDERS = ("/var/run/postgresql", "/tmp")
# Shutting down, crashed, starting up or recovering.
_TURNED_AWAY = {b"57P01", b"57P02", b"57P03"}
_PROTOCOL = 196608
_LONGEST = 30_000


def refuses(address: PostgresAddress, *, seconds: float) -> bool:
    """Return whether every host of the address does. False when libpq alone knows them (a service file)."""
    return refused_everywhere(places(address.conninfo), turned_away=_turned_away, seconds=seconds)


def shows_refusal(error: Exception | None) -> bool:
    """Decide the same by libpq's message, where only the application knows the addresses."""
    if error is not None and isinstance(error.__cause__, ConnectionRefusedError):
        return True
    reasons = re.findall(r"failed: (?!connection to )(.*)", str(error)) if isinstance(error, psycopg.Error) else []
    return bool(reasons) and all(reason.startswith("Connection refused") for reason in reasons)


def places(conninfo: str) -> list[ServerAddress]:
    """Where libpq would look for the server."""
    given = {option.keyword.decode(): (option.val or b"").decode() for option in Conninfo.get_defaults()}
    given.update({name: str(value) for name, value in conninfo_to_dict(conninfo).items()})
    if given.get("service"):
        return []
    hosts = (given.get("hostaddr") or given.get("host") or "").split(",")
    ports = (given.get("port") or PORT).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return [place for host, port in zip(hosts, ports, strict=False) for place in _places(host, int(port or PORT))]


def _places(host: str, port: int) -> list[ServerAddress]:
    if host and host[0] not in "/@":
        return [ServerAddress(host, port)]
    return [ServerAddress(f"{folder}/.s.PGSQL.{port}", 0) for folder in ([host] if host else SOCKET_FOLDERS)]


def _turned_away(connection: socket.socket) -> bool:
    # A server that is not ready reports that before authentication and TLS.
    body = struct.pack("!i", _PROTOCOL) + b"user\0embedq\0\0"
    connection.sendall(struct.pack("!i", len(body) + 4) + body)
    kind, length = struct.unpack("!ci", receive(connection, 5))
    if kind != b"E" or not 4 < length < _LONGEST:
        return False
    fields = {field[:1]: field[1:] for field in receive(connection, length - 4).split(b"\0")}
    return fields.get(b"C") in _TURNED_AWAY

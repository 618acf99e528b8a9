"""Detects that a server refuses all clients: every address of it rejects connections at once and explicitly.

Then it is down, or starting, and no other process can connect either. An address that does not answer proves nothing,
since it may answer others; nor does one that accepts this process, whatever fails after that. Addresses are tried one
by one, on sockets and not through a driver, whose errors cover one address, in the user's language.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple


class ServerAddress(NamedTuple):
    """Where a server should listen: a host (or its number) and port, or with port 0 the path of a socket."""

    host: str
    port: int


def refused_everywhere(
    places: Sequence[ServerAddress], *, turned_away: Callable[[socket.socket], bool], seconds: float
) -> bool:
    """Return whether every address refuses; False if there is none.

    Args:
        turned_away: returns whether the server reports, on an accepted connection, that it is starting or stopping.
        seconds: how long each address has to answer.
    """
    try:
        addresses = [address for place in places for address in _addresses(place)]
    except OSError:
        # The name server does not answer.
        return False
    return bool(addresses) and all(_refuses(*address, turned_away, seconds) for address in addresses)


def _addresses(place: ServerAddress) -> list[tuple[int, tuple[object, ...] | str]]:
    if place.port == 0:
        # An abstract socket is written with an @, as libpq does.
        return [(socket.AF_UNIX, "\0" + place.host[1:] if place.host.startswith("@") else place.host)]
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _refuses(
    family: int, address: tuple[object, ...] | str, turned_away: Callable[[socket.socket], bool], seconds: float
) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(address)
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return isinstance(address, str)
        except OSError:
            return False
        try:
            return turned_away(connection)
        except (OSError, ValueError):
            return False


def receive(connection: socket.socket, count: int) -> bytes:
    """Return `count` bytes. OSError if the connection ends before."""
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data

"""Whether a server refuses everyone is asked of each of its addresses; whatever else it may be is no outage."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from embedq.storage.mysql import address as mysql_address
from embedq.storage.mysql import refusal as mysql
from embedq.storage.postgresql import address as postgresql_address
from embedq.storage.postgresql import refusal as postgresql

SECONDS = 0.3


@contextmanager
def server(says: bytes | None, *, hears: int = 0) -> Iterator[int]:
    """Something that listens on a port, and says this once it has heard so much; None for nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    if hears:
                        client.recv(hears)
                    if says is None:
                        client.settimeout(10)
                        client.recv(1)
                    else:
                        client.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        # Closing alone does not end an accept that waits.
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def closed() -> int:
    """A port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def postgresql_refuses(where: str) -> bool:
    return postgresql.refuses(postgresql_address.parse(f"postgresql://{where}/app"), seconds=SECONDS)


def mysql_refuses(where: str) -> bool:
    return mysql.refuses(mysql_address.parse(f"mysql://{where}/app"), seconds=SECONDS)


def postgresql_error(code: str) -> bytes:
    fields = b"SFATAL\0C" + code.encode() + b"\0Mwords in some language\0\0"
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


def mysql_packet(body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + b"\0" + body


def test_a_port_without_a_listener_refuses(closed: int) -> None:
    assert postgresql_refuses(f"127.0.0.1:{closed}")
    assert mysql_refuses(f"127.0.0.1:{closed}")


def test_every_address_must_refuse(closed: int) -> None:
    assert postgresql_refuses(f"127.0.0.1:{closed},127.0.0.1:{closed}")
    with server(None) as silent:
        assert not postgresql_refuses(f"127.0.0.1:{closed},127.0.0.1:{silent}")


def test_silence_is_no_refusal() -> None:
    with server(None) as silent:
        assert not postgresql_refuses(f"127.0.0.1:{silent}")
        assert not mysql_refuses(f"127.0.0.1:{silent}")


@pytest.mark.parametrize("code", ["57P01", "57P02", "57P03"])
def test_postgresql_that_starts_or_stops_refuses_in_any_language(code: str) -> None:
    with server(postgresql_error(code), hears=100) as port:
        assert postgresql_refuses(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "says",
    [
        postgresql_error("53300"),  # too many connections: others have theirs
        postgresql_error("28000"),
        b"R\0\0\0\x0c\0\0\0\x05salt",  # it asks for a password
        b"E\0\0\xff\xffC57P03",
        b"E\0",
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"",
    ],
)
def test_postgresql_that_lives_does_not_refuse_whatever_it_responds(says: bytes) -> None:
    with server(says, hears=100) as port:
        assert not postgresql_refuses(f"127.0.0.1:{port}")


def test_mysql_that_stops_refuses_and_one_that_lives_does_not() -> None:
    with server(mysql_packet(b"\xff" + struct.pack("<H", 1053) + b"Server shutdown in progress")) as port:
        assert mysql_refuses(f"127.0.0.1:{port}")
    for body in (b"\xff" + struct.pack("<H", 1040) + b"Too many connections", b"\x0a8.0.36\0", b""):
        with server(mysql_packet(body)) as port:
            assert not mysql_refuses(f"127.0.0.1:{port}")


def test_a_socket_that_is_not_there_refuses(tmp_path: Path) -> None:
    assert postgresql_refuses(f"{quote(str(tmp_path), safe='')}:5432")
    assert mysql.refuses(
        mysql_address.parse(f"mysql://localhost/app?unix_socket={quote(str(tmp_path / 'mysqld.sock'))}"), seconds=1
    )


def test_a_name_that_does_not_resolve_proves_nothing() -> None:
    assert not postgresql_refuses("nowhere.invalid")
    assert not mysql_refuses("nowhere.invalid")


def test_what_only_libpq_knows_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgresql.places("postgresql:///app?service=jobs") == []
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGPORT", "6432")
    assert postgresql.places("postgresql:///app") == [("db.example", 6432)]


def test_where_the_application_connects_itself_the_drivers_error_shows(closed: int) -> None:
    import psycopg
    import pymysql

    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(f"host=127.0.0.1,127.0.0.1 port={closed}")
    assert postgresql.shows_refusal(refused.value)
    with server(None) as silent, pytest.raises(psycopg.OperationalError) as unanswered:
        psycopg.connect(f"host=127.0.0.1 port={silent} connect_timeout=2")
    assert not postgresql.shows_refusal(unanswered.value)
    with pytest.raises(pymysql.OperationalError) as lost:
        pymysql.connect(host="127.0.0.1", port=closed)
    assert mysql.shows_refusal(lost.value)
    assert not mysql.shows_refusal(pymysql.OperationalError(2013, "Lost connection"))
    assert not mysql.shows_refusal(None)
    assert not postgresql.shows_refusal(None)

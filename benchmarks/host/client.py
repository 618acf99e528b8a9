"""Ask a server for pages: `python -m benchmarks.host.client <port> <seconds> <a second>`; prints seconds, as JSON.

Each connection asks, waits for the answer, and asks again: at a steady rate, or at once where the rate is 0. Plain
sockets, so that the client is never what is measured.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

CONNECTIONS = 8
PATIENCE_SECONDS = 60.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Connection:
    """One connection, kept open."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> float:
        """Ask for the page; how long it took, in seconds."""
        began = time.perf_counter()
        self._socket.sendall(REQUEST)
        head, _, body = self._read_head().partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"the server answered {head!r}")
        left = int(fields[b"content-length"]) - len(body)
        while left > 0:
            left -= len(self._receive())
        return time.perf_counter() - began

    def _read_head(self) -> bytes:
        read = b""
        while b"\r\n\r\n" not in read:
            read += self._receive()
        return read

    def _receive(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise RuntimeError("the server hung up")
        return part


def load(port: int, seconds: float, per_second: float) -> list[float]:
    """Ask for so long, by turns on all connections; how long each answer took."""
    took: list[float] = []
    began = time.monotonic()

    def ask(number: int) -> None:
        connection = Connection(port)
        due = began + (number / per_second if per_second else 0.0)
        while (now := time.monotonic()) < began + seconds:
            if due > now:
                time.sleep(due - now)
            took.append(connection.ask())
            if per_second:
                # What came too late is not made up for: the server would be asked ever faster.
                due = max(due + CONNECTIONS / per_second, time.monotonic())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


if __name__ == "__main__":
    print(json.dumps(load(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))))

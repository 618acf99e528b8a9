"""A way to a server that can be made to hang: connections stay open, and nothing goes over them any more."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self
from urllib.parse import urlsplit


class StallingProxy:
    """Listens on a port of its own, and forwards to the server of a URL."""

    def __init__(self, url: str, default_port: int) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or default_port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()
        self._flows = threading.Event()
        self._flows.set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._forward)

    def stall(self) -> None:
        """From now on nothing goes through, and nothing is said of it: packets are dropped."""
        self._flows.clear()

    def flow(self) -> None:
        """All goes through again, also what was held up."""
        self._flows.set()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Nothing goes through meanwhile."""
        self.stall()
        yield
        self.flow()

    def _forward(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ, None)
            while not self._over.is_set():
                for key, _ in selector.select(0.02):
                    if key.data is None:
                        self._accept(selector)
                    elif self._flows.is_set() and key.fd in selector.get_map():
                        self._pass_on(selector, key.fileobj, key.data)  # type: ignore[arg-type]
                if not self._flows.is_set():
                    self._over.wait(0.02)
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listening.accept()
        try:
            server = socket.create_connection(self._server)
        except OSError:
            client.close()
            return
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)

    def _pass_on(self, selector: selectors.BaseSelector, source: socket.socket, target: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            target.sendall(data)
        if not data:
            for one in (source, target):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(one)
                one.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.flow()
        self._over.set()
        self._thread.join()

"""Starts one web server, sends it requests, signals it, and kills it with all its processes."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.processes.journal import FOLDER_VARIABLE
from tests.support import ROOT

# Where pip puts the servers' commands.
COMMANDS = Path(sys.executable).parent
# A worker of the server may be gone in the middle of a request; what the client sees then.
BROKEN = (OSError, http.client.HTTPException)

REQUESTS_OF_A_CONNECTION = 25
# Six clients make 300 requests a second or fewer: that leaves a starting worker its share of the processors, and
# workers that are recycled after 300 requests live for seconds.
PAUSE_SECONDS = 0.02


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """A server's processes.

    Args:
        command: its words; "{port}" in them becomes the port.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, url: str, journal: Path, environment: Mapping[str, str]
    ) -> None:
        self.port = free_port()
        self._log = folder / f"{command[0]}.log"
        words = [word.replace("{port}", str(self.port)) for word in command]
        python = {"python": sys.executable}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [python.get(words[0], str(COMMANDS / words[0])), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith(("EMBEDQ_", "FLASK_"))},
                    "PYTHONPATH": f"{folder}:{ROOT}",
                    "PYTHONUNBUFFERED": "1",
                    # Where Gunicorn puts a socket.
                    "HOME": str(folder),
                    "EMBEDQ_URL": url,
                    FOLDER_VARIABLE: str(journal),
                    **environment,
                },
                # Its own group: none of its processes outlives the test, whatever became of their parents.
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written, or its end."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-5000:]

    def post(self, path: str) -> str:
        """The answer to one request."""
        client = Client(self.port)
        try:
            return client.post(path)
        finally:
            client.close()

    def send(self, number: signal.Signals) -> None:
        """Signal the process that was started: the master, where there is one."""
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """What a terminal does: SIGINT to all its processes."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, *, seconds: float = 30) -> int:
        """Wait for its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {seconds} s\n{self.log}") from None

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str) -> str:
        """The answer. An error of `BROKEN` means that nothing is known of what became of the request."""
        try:
            self._connection.request("POST", path)
            response = self._connection.getresponse()
            answer = response.read().decode()
        except BROKEN:
            self.close()
            raise
        # Without a Content-Length, an answer that never came looks like an empty one.
        if response.status != 200 or not answer:
            raise http.client.HTTPException(f"{response.status} {answer[:500]}")
        return answer

    def close(self) -> None:
        self._connection.close()


class Load:
    """Clients that make a server enqueue, one request after another, until this is left.

    A connection has so many requests: one that never ended would keep a worker of Uvicorn's from ending as well.

    Attributes:
        acknowledged: the ids of the jobs that were answered for.
    """

    def __init__(self, server: Server, *, clients: int = 6) -> None:
        self.acknowledged: list[int] = []
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._enqueue) for _ in range(clients)]

    def _enqueue(self) -> None:
        while not self._over.is_set():
            client = Client(self._server.port)
            try:
                for _ in range(REQUESTS_OF_A_CONNECTION):
                    self.acknowledged.append(int(client.post("/run/0.0")))
                    self._over.wait(PAUSE_SECONDS)
            except BROKEN:
                # Between two generations of workers, or after the last: as a browser would, again.
                self._over.wait(0.02)
            client.close()

    def until(self, count: int, *, seconds: float = 60) -> None:
        """Wait until so many were acknowledged."""
        deadline = time.monotonic() + seconds
        while len(self.acknowledged) < count:
            if time.monotonic() > deadline or self._server.process.poll() is not None:
                raise AssertionError(f"{len(self.acknowledged)} of {count} requests\n{self._server.log}")
            time.sleep(0.01)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

"""A PostgreSQL server of a test's own."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


class PostgreSQLCluster:
    """Made in a folder, and started and stopped as the test likes.

    Args:
        settings: of the server, for every start.
        copy_of: a server that runs; this one becomes its standby.
    """

    def __init__(
        self, folder: Path, *, settings: dict[str, object] | None = None, copy_of: PostgreSQLCluster | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._settings = settings or {}
        [*_, newest] = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        self._programs = newest
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if copy_of is None:
            self._run("initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-D", str(self.data))
        else:
            source = ("-h", "127.0.0.1", "-p", str(copy_of.port), "-U", "postgres")
            self._run("pg_basebackup", *source, "-D", str(self.data), "-R", "-c", "fast", "--no-sync")

    @property
    def url(self) -> str:
        return self.url_for("postgres")

    def url_for(self, user: str, **parameters: object) -> str:
        """The URL for a user, with parameters."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres?{query}"

    def start(self) -> None:
        given = {"listen_addresses": "127.0.0.1", "unix_socket_directories": self.data, **self._settings}
        options = " ".join(f"-c {name}={value}" for name, value in {"port": self.port, **given}.items())
        self._run("pg_ctl", "-D", str(self.data), "-w", "-o", options, "-l", f"{self.data}.log", "start")

    def stop(self, how: str) -> None:
        """`how`: fast closes connections, immediate is a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", how, "stop")

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def connect(self, user: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the test's own, in autocommit mode."""
        return psycopg.connect(self.url_for(user), autocommit=True)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser."""
        with self.connect() as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def configure(self, **settings: object) -> None:
        """Change settings that take no restart."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def forget_configured(self) -> None:
        """Undo what `configure` did, from the next start or reload on."""
        (self.data / "postgresql.auto.conf").write_text("")

    @property
    def configured(self) -> bool:
        """Whether something is left of what `configure` set."""
        return "=" in (self.data / "postgresql.auto.conf").read_text()

    @property
    def answers(self) -> bool:
        """Whether it runs."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def own(self, path: Path, mode: int) -> None:
        """Let a file or folder belong to the server."""
        if getpass.getuser() == "root":
            shutil.chown(path, "postgres")
        path.chmod(mode)

    def _run(self, program: str, *arguments: str) -> None:
        # It refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
        subprocess.run([*user, str(self._programs / program), *arguments], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def folder_for_a_server() -> Iterator[Path]:
    """A folder that the server's user may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)

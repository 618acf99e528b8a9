"""A MariaDB server of a test's own."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.support import eventually

INIT = """
CREATE DATABASE IF NOT EXISTS jobs;
CREATE USER IF NOT EXISTS jobs@'%' IDENTIFIED BY 'secret-word';
GRANT ALL ON jobs.* TO jobs@'%';
"""


class MySQLCluster:
    """Made in a folder, and started and stopped as the test likes.

    Attributes:
        url: for a user who has one database.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mysql://jobs:secret-word@127.0.0.1:{self.port}/jobs"
        self._user = ["--user=root"] if getpass.getuser() == "root" else []
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *self._user, f"--datadir={self._data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self._init = folder / "init.sql"
        self._init.write_text("".join(f"{line}\n" for line in INIT.strip().splitlines()))

    def start(self, *options: str) -> None:
        server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        self._process = subprocess.Popen(
            [server, "--no-defaults", *self._user, f"--datadir={self._data}", f"--port={self.port}",
             "--bind-address=127.0.0.1", f"--socket={self._data}/socket", f"--init-file={self._init}",
             f"--log-error={self._data}.log", "--innodb-buffer-pool-size=32M", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(self._answers, seconds=30)

    def _answers(self) -> bool:
        import pymysql

        try:
            self.execute("SELECT 1")
        except pymysql.Error:
            time.sleep(0.02)
            return False
        return True

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement as root."""
        import pymysql

        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", database="jobs", autocommit=True)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def stop(self, how: str) -> None:
        """`how`: fast closes connections, immediate is a crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL if how == "immediate" else signal.SIGTERM)
        self._process.wait(30)

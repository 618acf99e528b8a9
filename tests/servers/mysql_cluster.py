"""A MariaDB or MySQL server of a test's own."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.support import eventually


class MySQLCluster:
    """Made in a folder, and started and stopped as the test likes."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mysql://jobs@127.0.0.1:{self.port}/jobs"
        self._user = ["--user=root"] if getpass.getuser() == "root" else []
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *self._user, f"--datadir={self._data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS jobs;\n"
            "CREATE USER IF NOT EXISTS jobs@'%';\n"
            "GRANT ALL ON jobs.* TO jobs@'%';\n"
        )
        self._init = folder / "init.sql"

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
            pymysql.connect(host="127.0.0.1", port=self.port, user="jobs", database="jobs").close()
        except pymysql.Error:
            time.sleep(0.02)
            return False
        return True

    def stop(self, how: str) -> None:
        """`how`: fast closes connections, immediate is a crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL if how == "immediate" else signal.SIGTERM)
        self._process.wait(30)

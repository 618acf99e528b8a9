"""Through PgBouncer in transaction mode: each transaction may be on another connection, and nobody can LISTEN."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import embedq
from tests.databases import KINDS, POSTGRESQL, Home
from tests.support import eventually


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind == "postgresql"])
def home(home_of: Callable[[str], Home]) -> Home:
    """PostgreSQL: no other database has this pooler."""
    return home_of("postgresql")


# One that refuses settings which come with a connection, as it does by itself, and one that keeps them to itself.
@pytest.fixture(params=["extra_float_digits", "extra_float_digits, options"], ids=["strict", "lenient"])
def pooled(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The database's URL, by way of a pooler with three connections of its own."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    assert program, "pgbouncer is not installed; on Debian: apt-get install pgbouncer"
    parts = urlsplit(url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings, users = tmp_path / "pgbouncer.ini", tmp_path / "users.txt"
    users.write_text(f'"{urlsplit(POSTGRESQL).username or getpass.getuser()}" "{parts.password or ""}"\n')
    settings.write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port or 5432}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
        f"default_pool_size = 3\nunix_socket_dir =\nignore_startup_parameters = {request.param}\n"
    )
    # It refuses to run as root.
    as_user = ["--user", "nobody"] if getpass.getuser() == "root" else []
    for path in (tmp_path, *tmp_path.parents[:2], settings, users):
        path.chmod(path.stat().st_mode | 0o055 if path.is_dir() else 0o644)
    pooler = subprocess.Popen([program, "--quiet", *as_user, str(settings)], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(port))
        yield parts._replace(netloc=f"{parts.username or 'postgres'}@127.0.0.1:{port}").geturl()
    finally:
        pooler.terminate()
        pooler.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("said", ["", "&pgbouncer=true"])
def test_jobs_run_through_a_pooler_whether_or_not_the_url_names_it(url: str, pooled: str, said: str) -> None:
    ran = []
    direct = embedq.EmbedQ(url).connect()

    @direct.job(name=f"pooled:note{said}")
    def note(number: int) -> None:
        ran.append(number)

    try:
        with embedq.EmbedQ(pooled + said, workers=4, sigterm=False) as app:
            # Told by nobody, the workers ask.
            direct.enqueue(note, 0).result(timeout=10)
            handles = [app.enqueue(note, number) for number in range(1, 50)]
            handles += app.enqueue_many(app.call(note, number) for number in range(50, 200))
            for handle in handles:
                handle.result(timeout=20)
        assert sorted(ran) == list(range(200))
    finally:
        direct.close()

"""`embedq dashboard`: in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

from embedq import EmbedQ
from embedq.cli import main
from tests.databases import Home
from tests.support import ROOT, cli_runner


@contextmanager
def served(folder: Path, *options: str, url: str = "sqlite:///shop.db", **environment: str) -> Iterator[str]:
    """The dashboard of the folder's shop.db; its address. It ends with Ctrl-C, and 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "embedq", "--url", url, "dashboard", "--port", "0", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while "stop" not in said:
            line = process.stdout.readline()
            assert line, process.communicate()
            said += line
        found = re.search(r"http://\S+", said)
        assert found
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors
    assert process.returncode in (0, 130), (output, errors)


def status(url: str, **headers: str) -> int:
    try:
        with build_opener(HTTPCookieProcessor()).open(Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_it_serves_requests_with_its_token_and_imports_nothing(tmp_path: Path) -> None:
    EmbedQ(f"sqlite:///{tmp_path}/shop.db").connect().close()
    with served(tmp_path) as url:
        plain, _, token = url.partition("?token=")
        # On to the page without the token, with the session's cookie.
        assert status(url) == 200
        assert status(f"{plain}api/stats", Authorization=f"Bearer {token}") == 200
        assert status(plain) == 401
        assert status(f"{plain}api/stats") == 401


def test_a_server_database_without_a_secret_is_served_with_a_token_of_its_own(
    home_of: Callable[[str], Home], tmp_path: Path
) -> None:
    url = home_of("postgresql").fresh(tmp_path, "alone")
    with served(tmp_path, url=url) as first, served(tmp_path, url=url) as second:
        assert status(first) == status(second) == 200
        assert first.partition("?")[2] != second.partition("?")[2]


def test_with_a_password_it_requires_it_and_an_applications_tasks_are_known(tmp_path: Path) -> None:
    (tmp_path / "shopapp.py").write_text(
        "import embedq\nqueue = embedq.EmbedQ('sqlite:///shop.db')\nqueue.migrate()\n"
        "@queue.job(name='mail:send')\ndef send(): ...\n"
    )
    options = ("--app", "shopapp:queue", "--read-only", "--user", "ada")
    with served(tmp_path, *options, EMBEDQ_DASHBOARD_PASSWORD="correct horse") as url:
        assert status(url) == 401
        known = {"Authorization": "Basic " + b64encode(b"ada:correct horse").decode()}
        assert status(url, **known) == 200
        with urlopen(Request(f"{url}api/tasks", headers=known), timeout=10) as answer:
            assert b"mail:send" in answer.read()


def test_it_does_not_listen_to_others_without_a_password(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "10.0.0.7", "shop.example"):
        done = cli_runner().invoke(main, ["dashboard", "--host", host], env={"EMBEDQ_DASHBOARD_PASSWORD": ""})
        assert done.exit_code == 2
        assert "EMBEDQ_DASHBOARD_PASSWORD" in done.output


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    done = cli_runner().invoke(main, ["--url", f"sqlite:///{tmp_path}/none.db", "dashboard", "--port", "0"])
    assert done.exit_code == 4
    assert not list(tmp_path.iterdir())

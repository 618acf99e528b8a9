"""The example apps, as a visitor meets them: real servers, real requests, real mail, and kill -9."""

from __future__ import annotations

import html
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

pytest.importorskip("aiosmtpd")
pytest.importorskip("django")
pytest.importorskip("fastapi")
pytest.importorskip("flask")
pytest.importorskip("httpx")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

import httpx
from aiosmtpd.controller import Controller

from tests.support import ROOT, eventually

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="they are about kill -9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One of the apps.

    Attributes:
        command: what starts it, after `python`; PORT stands for the port.
        live: where it shows how things are.
        header: the first line of its uploads.
        line: what makes the others, from a number.
        taken: how many lines it has taken from uploads whose lines begin with a word, each time it took one counted.
    """

    command: str
    live: str
    header: str
    line: str
    file: str
    taken: str


EXAMPLE_APPS = {
    "flask": Example(
        command="-m flask --app examples/flask_app run --port PORT",
        live="/live",
        header="sku,name,price",
        line="{word}-{number},Tea,2.50",
        file="shop.db",
        taken="SELECT sum(times_priced) FROM products WHERE sku LIKE ?",
    ),
    "fastapi": Example(
        command="-m uvicorn --app-dir examples fastapi_app:app --port PORT",
        live="/status",
        header="station,degrees",
        line="{word} {number},21.5",
        file="club.db",
        taken="SELECT count(*) FROM readings WHERE station LIKE ?",
    ),
    "django": Example(
        command="examples/django_app/manage.py runserver --noreload 127.0.0.1:PORT",
        live="/activity/",
        header="title,author",
        line="{word} {number},Ada",
        file="library.sqlite3",
        taken="SELECT sum(times_listed) FROM library_book WHERE title LIKE ?",
    ),
}


class Postbox:
    """A mail server that is down until it is told to be up."""

    def __init__(self) -> None:
        self.port = free_port()
        self.letters: list[Message] = []
        self._controller: Controller | None = None

    def come_up(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def close(self) -> None:
        if self._controller is not None:
            self._controller.stop()

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        self.letters.append(message_from_bytes(envelope.content))  # type: ignore[attr-defined]
        return "250 OK"


class Site:
    """An example app that runs in a process of its own, and a visitor."""

    def __init__(self, example: Example, folder: Path) -> None:
        self.example = example
        self.folder = folder
        self.postbox = Postbox()
        self.port = free_port()
        self.visitor = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, follow_redirects=True)
        folder.mkdir()
        self.begin()

    def begin(self) -> None:
        """Start the process; `wait_until_up` says when it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDQ_", "DJANGO_"))}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.example.command.replace("PORT", str(self.port)).split()],
                cwd=ROOT,
                env={
                    **environment,
                    "PYTHONPATH": str(ROOT),
                    "EXAMPLE_DATA": str(self.folder),
                    "MAIL_SERVER": f"127.0.0.1:{self.postbox.port}",
                },
                stdout=log,
                stderr=log,
            )

    def wait_until_up(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log()
            try:
                return self.visitor.get("/").status_code == 200
            except httpx.TransportError:
                return False

        eventually(answers, seconds=30)

    def log(self) -> str:
        """What the process wrote, without the requests that were well."""
        lines = (self.folder / "log").read_text().splitlines()
        return "\n".join(line for line in lines if '" 200' not in line)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.visitor.close()
        self.postbox.close()

    def post(self, path: str, form: dict[str, str], upload: bytes | None = None) -> httpx.Response:
        """Fill in a form of the page; Django's have a token."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.visitor.get("/").text)
        form = {**form, **({"csrfmiddlewaretoken": token[1]} if token else {})}
        files = None if upload is None else {"file": ("list.csv", upload)}
        return self.visitor.post(path, data=form, files=files)

    def lines(self, word: str, count: int) -> bytes:
        """A file to upload."""
        lines = [self.example.line.format(word=word, number=number) for number in range(count)]
        return "\n".join([self.example.header, *lines]).encode()

    def seen(self) -> str:
        """How the app says that things are."""
        answer = self.visitor.get(self.example.live)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def wait_for(self, pattern: str) -> str:
        """Look until the pattern is seen; what was seen."""
        looks: list[str] = []

        def found() -> bool:
            looks.append(self.seen())
            return re.search(pattern, looks[-1]) is not None

        try:
            eventually(found, seconds=20)
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not in:\n{looks[-1]}\n{self.log()}") from None
        return looks[-1]

    def taken(self, word: str) -> int:
        """How many lines whose first field begins with the word are in the app's tables."""
        with closing(sqlite3.connect(self.folder / self.example.file)) as database:
            [count] = database.execute(self.example.taken, (f"{word}%",)).fetchone()
            return int(count)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Site]]:
    """All of them, started side by side."""
    folder = tmp_path_factory.mktemp("apps")
    running = {name: Site(example, folder / name) for name, example in EXAMPLE_APPS.items()}
    yield running.__getitem__
    for site in running.values():
        site.close()


@pytest.fixture(scope="module", params=EXAMPLE_APPS)
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    found = sites(request.param)
    found.wait_until_up()
    return found


def test_a_mail_that_found_no_server_arrives_once_there_is_one(site: Site) -> None:
    assert site.post("/signup", {"name": "Ada", "email": "ada@example.org"}).status_code == 200
    site.wait_for(r"Ada[\s\S]*try 1 failed")
    site.postbox.come_up()
    site.wait_for("mail sent")
    [letter] = site.postbox.letters
    assert (letter["To"], letter["Subject"]) == ("ada@example.org", "Welcome, Ada")


def test_the_nightly_report_states_when_it_runs_and_can_be_run_now(site: Site) -> None:
    assert re.search(r"(next run: |\"next\":\")\d+ \w+ 0?3:00:00", site.seen())
    assert "never" in site.seen()
    site.post("/report", {})
    site.wait_for(", succeeded")
    # That page may have read the report before it was written.
    assert "never" not in site.wait_for(r"\d+ (customers|members|readers), ")


def test_an_upload_shows_its_progress_and_continues_after_kill_9_without_taking_a_line_twice(site: Site) -> None:
    lines = site.lines("kill", 400) + b"\n,\n,,NaN\n"
    assert site.post("/upload", {}, lines).status_code == 200
    seen = site.wait_for(r"\d of 402 lines")
    [progress] = re.findall(r'(?:value="|"progress":)(0\.\d+)', seen)
    [note] = re.findall(r"(\d+) of 402 lines", seen)
    assert float(progress) == pytest.approx(int(note) / 402)
    site.kill()
    taken = site.taken("kill")
    assert 0 < taken < 400, "it was to be killed in the middle"

    site.begin()
    site.wait_until_up()
    seen = site.wait_for("done: 400 lines taken, 2 refused")
    assert "continued after a crash" in seen
    assert site.taken("kill") == 400


def test_what_cannot_be_is_refused_and_leaves_no_job(site: Site) -> None:
    site.postbox.letters.clear()
    assert site.post("/signup", {"name": "Eve", "email": "eve@example.org"}).status_code == 200
    for name, email in [("Eve", "eve@example.org"), ("", "b@example.org"), ("Bob", "b@x.org,c@x.org"), ("Bob", "b")]:
        assert site.post("/signup", {"name": name, "email": email}).status_code == 400
    assert site.post("/upload", {}).status_code == 400

    site.post("/upload", {}, b"\xff\xfe\x00 no text")
    site.post("/upload", {}, b"what,is\nthis,1\n")
    site.wait_for(r"failed: Discard: not? [\s\S]*failed: Discard: not? ")
    eventually(lambda: site.postbox.letters)
    assert [letter["To"] for letter in site.postbox.letters] == ["eve@example.org"]
    assert "Bob" not in site.seen()

"""The command line as processes: the worker and its signals, terminals, and the demo."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import EmbedQ, JobState
from tests.cli import sample_app
from tests.support import ROOT, eventually

CTRL_C = b"\x03"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Process:
    """`embedq …` as a process of its own, with its output in pipes."""

    def __init__(self, *arguments: str, folder: Path = ROOT) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("EMBEDQ_URL", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "embedq", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=folder, env=environment,
        )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, keys: str = "", timeout: float = 30) -> tuple[int, str, str]:
        """Type `keys` and wait for its end: exit code, stdout, stderr."""
        try:
            out, err = self._process.communicate(keys, timeout=timeout)
        finally:
            self._process.kill()
        return self._process.returncode, out, err


# Takes the terminal as its own, so that Ctrl-C typed there reaches it, and becomes the command.
ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "embedq", *sys.argv[1:]])
"""


def terminal(
    *arguments: str, keys: dict[str, bytes] | None = None, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its exit code and all that it wrote.

    Args:
        keys: what to press once a text has appeared.
    """
    shell = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "90"}
    shell.pop("NO_COLOR", None)
    screen, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=ROOT,
        env={**shell, **(environment or {})},
    )  # fmt: skip
    os.close(theirs)
    try:
        written = _watch(screen, dict(keys or {}))
        return process.wait(timeout=10), written
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def _watch(screen: int, keys: dict[str, bytes]) -> str:
    written, pressed = b"", b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([screen], [], [], 0.3)[0]:
            # Ctrl-C in the instant before a program reads is not noticed before the next key. People press it again.
            if pressed == CTRL_C:
                os.write(screen, CTRL_C)
            continue
        try:
            written += os.read(screen, 65536)
        except OSError:  # how Linux says that the other end is closed
            return written.decode()
        for text in [text for text in keys if text.encode() in written]:
            pressed = keys.pop(text)
            os.write(screen, pressed)
    raise AssertionError(f"it did not end; it wrote {written!r}")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[EmbedQ]:
    """An app that enqueues for the worker."""
    app = EmbedQ(f"sqlite:///{tmp_path}/shop.db").connect()
    yield app
    app.close()


def start(queue: EmbedQ, *arguments: str, target: str = "tests.cli.sample_app:queue") -> Process:
    return Process("worker", "--app", target, "--url", queue.settings.url, *arguments)


# -- the worker --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_worker_lets_its_job_end_and_leaves_with_0(queue: EmbedQ, tmp_path: Path, number: signal.Signals) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    job = queue.enqueue(sample_app.until_stopped, str(started), str(ended))
    worker = start(queue)
    eventually(started.exists)
    worker.send(number)
    code, out, err = worker.end()
    assert (code, ended.exists(), job.state) == (0, True, JobState.SUCCEEDED), err
    assert "no new jobs" in err
    assert queue.servers() == []
    assert "tests.cli.sample_app:until_stopped" in out


def test_a_worker_prints_what_it_does(queue: EmbedQ, tmp_path: Path) -> None:
    done = tmp_path / "done"
    queue.options(queue="mail").enqueue(sample_app.write, str(done), "x")
    worker = start(queue, "--workers", "3", "--queues", "urgent, mail", "--durability", "normal")
    eventually(done.exists)
    [server] = queue.servers()
    assert (server.workers, server.queues) == (3, ("urgent", "mail"))
    worker.send(signal.SIGTERM)
    code, out, err = worker.end()
    assert code == 0
    for part in (queue.settings.url, "urgent, mail (in this order)", "threads   3", "crashes of the process"):
        assert part in out
    assert "tests.cli.sample_app:write" in out
    assert "(tests.cli.sample_app:write) attempt 1 succeeded" in err


def test_a_worker_takes_only_its_queues(queue: EmbedQ, tmp_path: Path) -> None:
    other = queue.options(queue="other").enqueue(sample_app.write, str(tmp_path / "other"), "x")
    mine = queue.options(queue="mine").enqueue(sample_app.write, str(tmp_path / "mine"), "x")
    worker = start(queue, "--queues", "mine")
    eventually(lambda: mine.state is JobState.SUCCEEDED)
    worker.send(signal.SIGTERM)
    assert worker.end()[0] == 0
    assert other.state is JobState.READY


@pytest.mark.parametrize("target", ["tests.cli.sample_app:make", "tests.cli.sample_app"])
def test_an_app_is_named_by_a_function_or_by_the_module_alone(queue: EmbedQ, tmp_path: Path, target: str) -> None:
    job = queue.enqueue(sample_app.unregistered, str(tmp_path / "done"))
    worker = start(queue, target=target)
    eventually(lambda: job.state is JobState.SUCCEEDED)
    worker.send(signal.SIGTERM)
    assert worker.end()[0] == 0
    assert (tmp_path / "done").exists()


def test_a_worker_imports_from_the_directory_it_is_started_in_and_creates_the_database(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import embedq\n@embedq.job\ndef send(): pass\nqueue = embedq.EmbedQ('sqlite:///shop.db')\n"
    )
    worker = Process("worker", "--app", "shop:queue", "--json", folder=tmp_path)
    eventually((tmp_path / "shop.db").exists)
    watching = EmbedQ(tmp_path / "shop.db").connect()
    eventually(watching.servers)
    watching.close()
    worker.send(signal.SIGTERM)
    code, out, _ = worker.end()
    assert (code, json.loads(out)["tasks"]) == (0, ["shop:send"])


def test_a_workers_stdout_is_one_json_document_whatever_its_jobs_print(queue: EmbedQ, tmp_path: Path) -> None:
    job = queue.enqueue(sample_app.write, str(tmp_path / "done"), "some text")
    worker = start(queue, "--json")
    eventually(lambda: job.state is JobState.SUCCEEDED)
    worker.send(signal.SIGTERM)
    code, out, err = worker.end()
    document = json.loads(out)
    assert set(document) == {"version", "pid", "url", "queues", "workers", "durability", "tasks"}
    assert (code, document["version"], document["workers"]) == (0, embedq.__version__, 2)
    assert "wrote some text" in err


def test_a_second_ctrl_c_ends_at_once(queue: EmbedQ, tmp_path: Path) -> None:
    started = tmp_path / "started"
    job = queue.enqueue(sample_app.stubborn, str(started))
    worker = start(queue)
    eventually(started.exists)
    worker.send(signal.SIGINT)
    eventually(lambda: queue.servers()[0].stopping)
    asked = time.monotonic()
    worker.send(signal.SIGINT)
    code, _, err = worker.end()
    assert code == 130
    assert time.monotonic() - asked < 5
    assert "exited at once" in err
    assert job.state is JobState.RUNNING
    # What it held is taken up by whoever comes next, and no crash is counted: it was meant.
    with EmbedQ(queue.settings.url, queues=["another"]):
        eventually(lambda: job.state is JobState.READY)
    assert job.snapshot().crashes == 0


def test_a_job_that_does_not_yield_makes_it_leave_with_1(queue: EmbedQ, tmp_path: Path) -> None:
    started = tmp_path / "started"
    queue.enqueue(sample_app.stubborn, str(started))
    worker = start(queue, "--stop-timeout", "0.1")
    eventually(started.exists)
    worker.send(signal.SIGTERM)
    code, _, err = worker.end()
    assert code == 1
    assert "a job does not stop" in err


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("no_such_module", 2, "there is no module 'no_such_module'"),
        ("tests.no_such:app", 2, "there is no module 'tests.no_such'"),
        ("tests.cli.sample_app:missing", 2, "has no attribute 'missing'"),
        ("tests.cli.sample_app:web", 2, "tests.cli.sample_app:web is a WebApp, neither an EmbedQ nor a function"),
        ("tests.cli.sample_app:make_nothing", 2, "tests.cli.sample_app:make_nothing() returned a int"),
        ("tests/cli/sample_app.py", 2, "is not of the form module or module:attr"),
        ("broken", 1, "importing broken failed with RuntimeError: no configuration"),
        ("started --workers 3", 2, "importing started already starts the app, so it is too late for --workers"),
        ("started --workers 0", 2, "is not in the range"),
        ("tests.cli.sample_app:queue --url sqlite:///no/folder.db", 4, "does not exist"),
        ("tests.cli.sample_app:queue --queues ,", 2, "queues="),
    ],
)
def test_an_app_that_cannot_be_loaded_is_reported_clearly(tmp_path: Path, target: str, code: int, said: str) -> None:
    (tmp_path / "broken.py").write_text("def configure():\n    raise RuntimeError('no configuration')\nconfigure()\n")
    (tmp_path / "started.py").write_text("import embedq\nembedq.start('sqlite:///started.db')\n")
    found, out, err = Process("worker", "--app", *target.split(), folder=tmp_path).end()
    assert (found, out) == (code, "")
    assert said in err
    # The application's own mistakes have a traceback, ours have none.
    assert ("Traceback" in err) == (target == "broken")
    assert "embedq/cli" not in err


# -- on a terminal -----------------------------------------------------------------------------------------------------


def idle() -> None:
    pass


def test_colour_is_for_terminals_that_do_not_refuse_it(queue: EmbedQ) -> None:
    queue.enqueue(idle)
    url = queue.settings.url
    code, coloured = terminal("jobs", "--url", url)
    assert (code, bool(ANSI.search(coloured))) == (0, True)
    for unwanted in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, plain = terminal("jobs", "--url", url, environment=unwanted)
        assert (code, bool(ANSI.search(plain))) == (0, False)
        assert "tests.cli.test_worker_command:idle()" in plain
    assert "\x1b" not in Process("jobs", "--url", url).end()[1]


def test_ctrl_c_at_the_question_does_nothing_and_leaves_with_130(queue: EmbedQ) -> None:
    job = queue.enqueue(idle)
    code, written = terminal("cancel", "--all", "--url", queue.settings.url, keys={"[y/N]": CTRL_C})
    assert code == 130
    assert "interrupted" in written
    assert job.state is JobState.READY


def test_long_work_shows_how_far_it_is(queue: EmbedQ) -> None:
    queue.enqueue_many(queue.call(idle) for _ in range(1500))
    code, written = terminal("cancel", "--all", "--url", queue.settings.url, keys={"[y/N]": b"y\n"})
    assert code == 0
    assert "Cancel 1,500 jobs? [y/N]" in written
    assert re.findall(r"\d+/1500", written) == ["0/1500", "500/1500", "1000/1500", "1500/1500"]
    assert "cancelled 1,500 jobs" in written
    assert queue.count_jobs(state="cancelled") == 1500


def test_ctrl_c_ends_the_demo_and_leaves_the_terminal_in_order() -> None:
    code, screen = terminal("demo", keys={"running": CTRL_C})
    assert code == 130
    assert "interrupted" in screen
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l"), "the cursor is back"
    assert "Traceback" not in screen


def test_a_question_leaves_stdout_to_the_answer(queue: EmbedQ) -> None:
    queue.enqueue(idle)
    asked = Process("cancel", "--all", "--json", "--url", queue.settings.url)
    code, out, err = asked.end(keys="y\n")
    assert (code, out[0], json.loads(out)["cancelled"]) == (0, "{", 1)
    assert err == "Cancel 1 job? [y/N]: "


def test_the_demo_prints_for_people_for_terminals_and_for_scripts() -> None:
    # Three at once: each takes some five seconds, nearly all of them asleep.
    piped, scripted = Process("demo"), Process("demo", "--json")
    code, screen = terminal("demo")
    assert code == 0
    assert screen.count('resize("cat.jpg")') > 5, "it is drawn again and again"
    assert re.search(r"█+░+ +\d+%", screen)
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l"), "the cursor is back"
    assert "What you saw" in screen

    code, out, err = piped.end()
    assert (code, err) == (0, "")
    # It looks now and then; on a busy machine one of the two failures may have come and gone.
    assert out.index(": ConnectionError") < out.index("attempt 3")
    assert "\x1b" not in out

    code, out, err = scripted.end()
    document: dict[str, Any] = json.loads(out)
    assert (code, err, document["ok"]) == (0, "", True)
    assert set(document) == {"ok", "seconds", "jobs", "pulses"}
    assert [(job["name"], job["state"], job["attempts"]) for job in document["jobs"]] == [
        ("resize", "succeeded", 1), ("publish", "succeeded", 1), ("charge", "succeeded", 3), ("remind", "succeeded", 1),
    ]  # fmt: skip
    assert document["pulses"] >= 5
    assert 3 < document["seconds"] < 20

"""Servers of one process, under load: their reloaders, their end, and a kill with a restart."""

from __future__ import annotations

import signal

import pytest

from embedq import JobState
from tests.support import eventually
from tests.webservers.conftest import Site

SITES = "tests.webservers.sites"
REQUESTS = 1000


@pytest.mark.parametrize(
    "command",
    [
        # Django has no lifespan: the workers start when Uvicorn imports the application.
        ["uvicorn", "--port", "{port}", "--no-access-log", f"{SITES}.project_asgi:application"],
        ["waitress-serve", "--listen", "127.0.0.1:{port}", f"{SITES}.plain:app"],
    ],
    ids=["uvicorn", "waitress"],
)
def test_a_server_that_is_killed_continues_where_it_was_and_drains_on_sigterm(site: Site, command: list[str]) -> None:
    server = site.serve(*command)
    site.answering(server)
    with site.load(server) as load:
        load.until(REQUESTS // 2)
        broken_off = site.enqueue(server, "work_once", 600.0)
        site.kill_the_process_of(broken_off)
    server.wait()

    server = site.serve(*command)
    site.answering(server)
    eventually(lambda: broken_off.state is JobState.SUCCEEDED)
    with site.load(server) as load:
        load.until(REQUESTS)
        drained = site.enqueue(server, "work_on", 0.5)
        server.send(signal.SIGTERM)
        server.wait()
        assert drained.state is JobState.SUCCEEDED
    assert len(site.fleet.runs_of(drained.id)) == 1
    site.check()


UVICORN = ["uvicorn", "--reload", "--port", "{port}", "watched:app"]
FLASK = ["flask", "--app", "watched:app", "run", "--debug", "--port", "{port}"]
DJANGO = ["python", "watched.py", "runserver", "127.0.0.1:{port}"]
MANAGE = """
from django.core.management import execute_from_command_line
from tests.webservers.sites import project
if __name__ == "__main__":
    execute_from_command_line()
"""


@pytest.mark.parametrize(
    ("command", "source", "drains_on_ctrl_c"),
    [
        pytest.param(UVICORN, f"from {SITES}.lifespan import app", True, id="uvicorn"),
        # The watching process kills the one that serves a quarter of a second after Ctrl-C.
        pytest.param(FLASK, f"from {SITES}.extension import app", False, id="flask"),
        pytest.param(DJANGO, MANAGE, False, id="django"),
    ],
)
def test_a_reloader_replaces_the_one_process_that_works(
    site: Site, command: list[str], source: str, drains_on_ctrl_c: bool
) -> None:
    watched = site.folder / "watched.py"
    watched.write_text(source)
    server = site.serve(*command)
    first = site.running(1)
    site.answering(server)
    with site.load(server) as load:
        load.until(REQUESTS // 4)
        reloaded = site.enqueue(server, "work_on", 0.5)
        watched.write_text(f"{source}\n# changed")
        site.replaced(first, 1)
        # Django's begins to listen after that.
        site.answering(server)
        eventually(lambda: reloaded.state is JobState.SUCCEEDED)
        load.until(REQUESTS // 2)
        interrupted = site.enqueue(server, "work_on", 0.5)
        server.press_ctrl_c()
        server.wait()
    assert len(site.fleet.runs_of(reloaded.id)) == 1
    if drains_on_ctrl_c:
        assert interrupted.state is JobState.SUCCEEDED
    else:
        site.is_killed(interrupted)
    site.check()
    # Killed on a busy machine before it could even say that it stops.
    assert interrupted.snapshot().crashes <= (0 if drains_on_ctrl_c else 1)


def test_by_default_a_long_job_is_released_before_gunicorn_times_out(site: Site) -> None:
    server = site.serve("gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "1", f"{SITES}.extension:app")
    first = site.running(1)
    long = site.enqueue(server, "work_once", 600.0)
    server.send(signal.SIGHUP)
    # The new worker runs it as soon as the old one, after its `stop_timeout`, has let go of it.
    eventually(lambda: long.state is JobState.SUCCEEDED, seconds=60, message=site.log)
    assert {run.pid for run in site.fleet.runs_of(long.id)} > first
    assert (long.snapshot().attempt, long.snapshot().crashes) == (1, 0)
    assert "SIGKILL" not in server.log
    assert "killed" not in server.log.lower()
    server.send(signal.SIGTERM)
    server.wait()
    site.check()


def test_uvicorn_that_is_terminated_while_it_imports_the_app_leaves_no_process_in_the_database(site: Site) -> None:
    told = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    (site.folder / "watched.py").write_text(f"{told}\nfrom {SITES}.project_asgi import application")
    # As in a child of its supervisor, Uvicorn handles signals already when it imports the application.
    serve = "import uvicorn; uvicorn.Server(uvicorn.Config('watched:application', port={port})).run()"
    server = site.serve("python", "-c", serve)
    assert server.wait() == 0
    site.queue.connect()
    assert site.queue.servers() == []

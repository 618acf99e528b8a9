"""Servers of several workers, under load: a reload, a worker that is killed, and the end, all in the middle of it.

Nothing that was answered for is lost, nothing runs twice at once, and each occurrence is enqueued once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embedq import JobHandle, JobState
from tests.support import eventually
from tests.webservers.conftest import Site
from tests.webservers.server import Server

SITES = "tests.webservers.sites"
REQUESTS = 1000
# It takes about one second, and more on a machine that is busy; by the lease it would be thirty.
RESCUED_SECONDS = 10
UWSGI = [
    *("uwsgi", "--master", "--processes", "4", "--threads", "2", "--enable-threads", "--disable-logging"),
    # Otherwise SIGTERM is a reload; and --die-on-term ends workers on the spot, in the middle of requests and jobs.
    *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
    # Of an environment's Python, so that a reload starts that again.
    *("--binary-path", sys.executable),
    *("--http-socket", "127.0.0.1:{port}"),
]


def live_through(site: Site, server: Server, *, processes: int = 4, complete: bool = False) -> int:
    """Load it, reload it, kill one of its workers, and end it; its exit status.

    Args:
        complete: end it when all workers have loaded the app, and not in the middle of that.
    """
    # The master, where it has loaded the app, stays.
    first = site.running(processes) - {server.process.pid}
    site.answering(server)
    with site.load(server) as load:
        load.until(REQUESTS // 4)
        reload(site, server, first, processes=processes)
        broken_off = begun_in_a_worker(site, server)
        site.kill_the_process_of(broken_off)
        eventually(lambda: broken_off.state is JobState.SUCCEEDED, seconds=RESCUED_SECONDS, message=site.log)
        load.until(REQUESTS)
        if complete:
            site.running(processes)
        with drained(site, server):
            server.send(signal.SIGTERM)
            status = server.wait()
    site.check()
    return status


def reload(site: Site, server: Server, first: set[int], *, processes: int = 4) -> None:
    """Replace the first workers, while jobs run in them."""
    with drained(site, server):
        server.send(signal.SIGHUP)
        site.replaced(first, processes)


def begun_in_a_worker(site: Site, server: Server) -> JobHandle:
    """A job that runs until its process is killed. Not in the master, which may run jobs: its end is the server's."""
    while True:
        job = site.enqueue(server, "work_once", 600.0)
        if site.fleet.runs_of(job.id)[-1].pid != server.process.pid:
            return job
        job.cancel()
        eventually(lambda: job.state is JobState.CANCELLED, message=site.log)  # noqa: B023


@contextmanager
def drained(site: Site, server: Server) -> Iterator[None]:
    """What happens inside does not break off a job that takes half a second."""
    job = site.enqueue(server, "work_on", 0.5)
    yield
    eventually(lambda: job.state is JobState.SUCCEEDED, message=site.log)
    assert len(site.fleet.runs_of(job.id)) == 1, site.log


RECYCLED = ["--max-requests", "300"]
THREADS = ["-k", "gthread", "--threads", "4"]


@pytest.mark.parametrize(
    ("app", "options", "processes"),
    [
        pytest.param("project_wsgi:application", ["-k", "sync"], 4, id="sync"),
        # The master has loaded the app, so it works as well.
        pytest.param("project_wsgi:application", ["-k", "sync", "--preload"], 5, id="sync-preload"),
        pytest.param("plain:app", THREADS, 4, id="gthread"),
        pytest.param("extension:app", [*THREADS, "--preload"], 5, id="gthread-preload"),
    ],
)
def test_gunicorn(site: Site, app: str, options: list[str], processes: int) -> None:
    command = ["gunicorn", "-w", "4", "-b", "127.0.0.1:{port}", *RECYCLED, *options, f"{SITES}.{app}"]
    server = site.serve(*command, EMBEDQ_STOP_TIMEOUT="5")
    assert live_through(site, server, processes=processes) == 0


@pytest.mark.parametrize(
    ("app", "options", "processes"),
    [
        pytest.param("lifespan:app", RECYCLED, 4, id="lifespan"),
        # The master has loaded the app, and has no lifespan.
        pytest.param("fast:app", ["--preload", *RECYCLED], 4, id="lifespan-preload"),
        pytest.param("project_asgi:application", ["--preload"], 5, id="preload"),
    ],
)
def test_gunicorn_with_workers_of_uvicorn(site: Site, app: str, options: list[str], processes: int) -> None:
    worker = ["-k", "uvicorn_worker.UvicornWorker"]
    server = site.serve("gunicorn", "-w", "4", "-b", "127.0.0.1:{port}", *worker, *options, f"{SITES}.{app}")
    assert live_through(site, server, processes=processes) == 0


@pytest.mark.parametrize("app", ["project_asgi:application", "star:app"])
def test_uvicorn(site: Site, app: str) -> None:
    # A restart ends with the first new worker that takes longer than this to answer; five seconds otherwise.
    patient = ("--timeout-worker-healthcheck", "30")
    server = site.serve("uvicorn", "--workers", "4", "--port", "{port}", "--no-access-log", *patient, f"{SITES}.{app}")
    assert live_through(site, server) == 0


def test_hypercorn(site: Site) -> None:
    server = site.serve("hypercorn", "-w", "4", "-b", "127.0.0.1:{port}", f"{SITES}.lifespan:app")
    first = site.running(4)
    site.answering(server)
    with site.load(server) as load:
        load.until(REQUESTS // 2)
        reload(site, server, first)
        load.until(REQUESTS)
        with drained(site, server):
            server.send(signal.SIGTERM)
            assert server.wait() == 0
    site.check()


def test_hypercorn_ends_when_one_of_its_workers_dies(site: Site) -> None:
    # Not Django: SIGTERM's SystemExit in the middle of a request can leave asgiref's threads waiting for ever.
    server = site.serve("hypercorn", "-w", "4", "-b", "127.0.0.1:{port}", f"{SITES}.star:app")
    site.running(4)
    site.answering(server)
    with site.load(server) as load:
        load.until(REQUESTS // 2)
        broken_off = site.enqueue(server, "work_once", 600.0)
        site.kill_the_process_of(broken_off)
        # Its other workers drain, for up to the 30 seconds of `stop_timeout`.
        server.wait(seconds=75)
    site.check()
    assert broken_off.state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("app", "loading"),
    [
        ("plain:app", "--lazy-apps"),
        ("project_wsgi:application", "--lazy-apps"),
        ("extension:app", "--py-call-uwsgi-fork-hooks"),
    ],
)
def test_uwsgi(site: Site, app: str, loading: str) -> None:
    server = site.serve(*UWSGI, "--module", f"{SITES}.{app}", loading, EMBEDQ_STOP_TIMEOUT="5")
    # It does not tell a worker that is still loading the app to end, and then waits for it.
    assert live_through(site, server, complete=True) == 0

"""Servers under which jobs cannot run say so at the start, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import embedq
from embedq import ConfigurationError
from tests.webservers.conftest import Site
from tests.webservers.proof import everything_has_run

SITES = "tests.webservers.sites"
GEVENT = ["gunicorn", "-k", "gevent", "-w", "2", "-b", "127.0.0.1:{port}"]
# One that starts where it is imported, and one whose extension starts by itself.
STARTING = ["plain", "extension"]


@pytest.mark.parametrize("app", STARTING)
def test_under_gevent_the_start_is_refused(app: str, site: Site) -> None:
    server = site.serve(*GEVENT, f"{SITES}.{app}:app")
    assert server.wait() != 0
    assert "ConfigurationError: gevent has made greenlets of Python's threads" in server.log
    assert "gunicorn -k gthread" in server.log


def test_under_gevent_an_app_enqueues_and_the_jobs_run_elsewhere(site: Site) -> None:
    site.fleet.worker()
    server = site.serve(*GEVENT, f"{SITES}.enqueue_only:app")
    site.answering(server)
    with site.load(server) as load:
        load.until(300)
    everything_has_run(site.fleet, site.queue.connect(), site.acknowledged)


@pytest.mark.parametrize("app", STARTING)
def test_uwsgi_without_fork_hooks_is_refused(app: str, site: Site) -> None:
    server = site.serve(
        *("uwsgi", "--master", "--processes", "2", "--need-app", "--http-socket", "127.0.0.1:{port}"),
        *("--module", f"{SITES}.{app}:app"),
    )
    assert server.wait() != 0
    assert "--lazy-apps, and each worker loads the application itself; or --py-call-uwsgi-fork-hooks" in server.log


@pytest.mark.parametrize(
    ("says", "options"), [({"has_threads": 0}, {"threads": b"2"}), ({}, {}), ({}, {b"enable-threads": b"false"})]
)
def test_uwsgi_without_threads_is_refused(
    says: dict[str, int], options: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Old ones, and those that were told to have none: the one that these tests install always has them.
    module = SimpleNamespace(masterpid=lambda: 1, worker_id=lambda: 1, opt=options, **says)
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    app = embedq.EmbedQ(f"sqlite:///{tmp_path / 'jobs.db'}")
    with pytest.raises(ConfigurationError, match="give it --enable-threads"):
        app.start()
    assert not app.started
    # Enqueueing needs none.
    app.connect().enqueue(print)
    app.close()

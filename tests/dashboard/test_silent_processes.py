"""A process that died without a word counts as none, as soon as its lease is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedq import EmbedQ, dashboard
from tests.dashboard.visitors import Visitor, words
from tests.databases import SQLiteHome


@pytest.fixture
def widowed(tmp_path: Path) -> Iterator[EmbedQ]:
    """A job is ready, and the only process was last heard of 75 s ago."""
    app = EmbedQ(SQLiteHome().fresh(tmp_path, "widowed"), lease=15).connect()
    app.enqueue(print, 1)
    now = app.engine.clock.now()
    SQLiteHome().execute(
        app.settings.url,
        "INSERT INTO embedq_servers (uuid, host, hostname, pid, version, workers, started_at, heartbeat_at) "
        f"VALUES ('u', 'h', 'gone.example', 4711, '0', 4, {now - 10**9}, {now - 75 * 10**6})",
    )
    yield app
    app.close()


def test_the_overview_shows_that_no_process_works(widowed: EmbedQ) -> None:
    text = words(Visitor(dashboard.wsgi(widowed)).get("/").text)
    assert "No process runs jobs , and 1 is ready" in text
    assert "gone.example , process 4711 : no heartbeat for 1 min" in text
    assert "processes 0" in text


def test_so_do_the_queues_and_the_api(widowed: EmbedQ) -> None:
    visitor = Visitor(dashboard.wsgi(widowed))
    assert "gone.example:4711 no heartbeat for 1 min" in words(visitor.get("/queues").text)
    assert visitor.get("/api/stats").json["processes"] == 0
    assert visitor.get("/api/health").json["reasons"] == [
        "jobs are ready, and no process runs jobs",
        "gone.example (process 4711) has sent no heartbeat for 1 min",
    ]

"""Every test here runs on each database that is a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

import embedq
from tests.databases import KINDS, ServerHome, make_home
from tests.processes.conftest import fleet, queue  # noqa: F401


@pytest.fixture(scope="session", params=[kind for kind in KINDS if kind != "sqlite"])
def home(request: pytest.FixtureRequest) -> Iterator[ServerHome]:
    home = cast("ServerHome", make_home(request.param))
    yield home
    home.close()


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    """An app on a fresh database of the server, connected but not started."""
    app = embedq.EmbedQ(url, stop_timeout=5, interrupt_grace=0.5, secret_key="a secret of the tests").connect()
    yield app
    app.stop(timeout=1)
    app.database.close()

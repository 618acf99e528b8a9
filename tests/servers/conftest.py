"""Every test here runs on each database that is a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

import embedq
from tests.databases import KINDS, Home, ServerHome
from tests.processes.conftest import fleet, queue  # noqa: F401


@pytest.fixture(scope="session", params=[kind for kind in KINDS if kind != "sqlite"])
def home(request: pytest.FixtureRequest, home_of: Callable[[str], Home]) -> ServerHome:
    return cast("ServerHome", home_of(request.param))


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    """An app on a fresh database of the server, connected but not started."""
    app = embedq.EmbedQ(url, stop_timeout=5, interrupt_grace=0.5, secret_key="a secret of the tests").connect()
    yield app
    app.stop(timeout=1)
    app.database.close()

"""Every test here runs on each database that is a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.databases import KINDS, ServerHome, make_home
from tests.processes.conftest import fleet, queue  # noqa: F401


@pytest.fixture(scope="session", params=[kind for kind in KINDS if kind != "sqlite"])
def home(request: pytest.FixtureRequest) -> Iterator[ServerHome]:
    home = cast("ServerHome", make_home(request.param))
    yield home
    home.close()

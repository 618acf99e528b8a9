from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from embedq import dashboard
from tests.dashboard.showcase import Showcase, make
from tests.dashboard.visitors import Visitor
from tests.databases import SQLiteHome
from tests.support import resume_registry


@pytest.fixture
def visitor(app: embedq.EmbedQ) -> Visitor:
    """Somebody at this machine, at a dashboard without any option."""
    return Visitor(dashboard.wsgi(app))


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showcase]:
    """A queue with a bit of everything, for tests that look at it."""
    folder: Path = tmp_path_factory.mktemp("showcase")
    with resume_registry():
        app = embedq.EmbedQ(SQLiteHome().fresh(folder, "showcase"), stop_timeout=5).connect()
        show = make(app)
        yield show
        show.stop.set()
        app.close()

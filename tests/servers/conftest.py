"""Every test here runs on each database that is a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

import embedq
from tests.databases import KINDS, Home, ServerHome
from tests.processes.conftest import fleet, queue  # noqa: F401
from tests.servers.mysql_cluster import MySQLCluster
from tests.servers.postgresql_cluster import PostgreSQLCluster, folder_for_a_server


@pytest.fixture(scope="session", params=[kind for kind in KINDS if kind != "sqlite"])
def home(request: pytest.FixtureRequest, home_of: Callable[[str], Home]) -> ServerHome:
    return cast("ServerHome", home_of(request.param))


CLUSTERS = {"postgresql": PostgreSQLCluster, "mysql": MySQLCluster}
Cluster = PostgreSQLCluster | MySQLCluster


@pytest.fixture(params=[kind for kind in KINDS if kind in CLUSTERS])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A server of the test's own, to be stopped and started."""
    with folder_for_a_server() as folder:
        cluster: Cluster = CLUSTERS[request.param](folder)
        cluster.start()
        yield cluster
        cluster.stop("immediate")


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    """An app on a fresh database of the server, connected but not started."""
    app = embedq.EmbedQ(url, stop_timeout=5, interrupt_grace=0.5, secret_key="a secret of the tests").connect()
    yield app
    app.stop(timeout=1)
    app.database.close()

"""What a MySQL or MariaDB server is set to: its time zone, and what its binary log holds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import embedq
from embedq import ConfigurationError
from embedq.clock import SECOND, SystemClock
from embedq.storage.base import Transaction
from tests.databases import KINDS, open_database
from tests.servers.mysql_cluster import MySQLCluster
from tests.servers.postgresql_cluster import folder_for_a_server


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind == "mysql"])
def cluster() -> Iterator[MySQLCluster]:
    with folder_for_a_server() as folder:
        cluster = MySQLCluster(folder)
        cluster.start("--innodb-flush-log-at-trx-commit=0", "--log-bin=log", "--binlog-format=STATEMENT")
        cluster.execute("CREATE USER app@'%' IDENTIFIED BY 'secret-word'")
        cluster.execute("GRANT ALL ON jobs.* TO app@'%'")
        yield cluster
        cluster.stop("immediate")


def shout(word: str) -> str:
    return word.upper()


def test_a_server_that_logs_statements_is_refused_at_start_with_what_to_set(cluster: MySQLCluster) -> None:
    for verb in ("start", "connect"):
        with pytest.raises(ConfigurationError, match=r"binlog_format = STATEMENT.*Set binlog_format = MIXED"):
            getattr(embedq.EmbedQ(cluster.url, sigterm=False), verb)()


@pytest.mark.parametrize("remedy", ["the user may", "the server does"])
def test_jobs_run_where_rows_are_logged_after_all(cluster: MySQLCluster, remedy: str) -> None:
    if remedy == "the user may":
        cluster.execute("GRANT BINLOG ADMIN ON *.* TO app@'%'")
        url = cluster.url.replace("jobs:", "app:")
    else:
        cluster.execute("SET GLOBAL binlog_format = 'MIXED'")
        url = cluster.url
    try:
        app = embedq.EmbedQ(url, sigterm=False, stop_timeout=10)
        task = app.job(name="shout")(shout)
        with app.start():
            assert task.enqueue("heard").result(30) == "HEARD"
        app.close()
    finally:
        cluster.execute("SET GLOBAL binlog_format = 'STATEMENT'")


def test_the_servers_clock_does_not_jump_in_the_autumn_night(cluster: MySQLCluster) -> None:
    # A zone of the test's own, whose clocks are set back in two seconds.
    night = int(time.time()) + 2
    for statement in (
        "INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (77, 'N')",
        "INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('Test/Autumn', 77)",
        "INSERT INTO mysql.time_zone_transition_type VALUES (77, 0, 7200, 1, 'SUM'), (77, 1, 3600, 0, 'WIN')",
        f"INSERT INTO mysql.time_zone_transition VALUES (77, 0, 0), (77, {night}, 1)",
        "SET GLOBAL time_zone = 'Test/Autumn'",
        "SET GLOBAL binlog_format = 'MIXED'",
    ):
        cluster.execute(statement)
    database = open_database(cluster.url)
    try:
        database.migrate()
        clock = database.clock(SystemClock())
        while time.time() < night + 2:
            database.read(nothing)
            database.write(nothing)
            assert abs(clock.now() / SECOND - time.time()) < 60
        # The night was one: the hour before it comes again.
        [(wall,)] = cluster.execute("SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), SYSDATE())")
        assert wall == 60
    finally:
        database.close()
        cluster.execute("SET GLOBAL time_zone = 'SYSTEM'")
        cluster.execute("SET GLOBAL binlog_format = 'STATEMENT'")


def nothing(tx: Transaction) -> None:
    pass

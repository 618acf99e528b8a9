"""What MySQL's and MariaDB's own ways of failing do to jobs: nothing that lasts (G9), and errors say what to do."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

import embedq
from embedq import ConfigurationError, JobState, StorageBusyError, StorageError, StorageReadOnlyError
from embedq.storage.base import Transaction
from tests.databases import KINDS, open_database
from tests.servers.mysql_cluster import MySQLCluster
from tests.servers.postgresql_cluster import folder_for_a_server
from tests.support import eventually


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind == "mysql"])
def cluster() -> Iterator[MySQLCluster]:
    with folder_for_a_server() as folder:
        cluster = MySQLCluster(folder)
        make_certificate(folder)
        cluster.start(
            "--innodb-flush-log-at-trx-commit=0", "--max-allowed-packet=1M", f"--ssl-ca={folder}/ca.pem",
            f"--ssl-cert={folder}/server.pem", f"--ssl-key={folder}/server.key",
        )  # fmt: skip
        yield cluster
        cluster.stop("immediate")


def make_certificate(folder: Path) -> None:
    """A certificate for localhost, and the authority that gave it."""
    names = folder / "names"
    names.write_text("subjectAltName=DNS:localhost")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        f"x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {names} -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    for file in folder.iterdir():
        file.chmod(0o644 if file.is_file() else 0o777)


@pytest.fixture
def app(cluster: MySQLCluster) -> Iterator[embedq.EmbedQ]:
    """An app on empty tables, connected but not started."""
    app = embedq.EmbedQ(cluster.url, workers=2, busy_timeout=10, sigterm=False).connect()
    for table in ("jobs", "attempts", "servers", "leases"):
        cluster.execute(f"DELETE FROM embedq_{table}")
    yield app
    app.stop(timeout=5)
    app.close()


def test_workers_wait_for_a_server_that_takes_no_writes_and_an_enqueue_reports_it(
    cluster: MySQLCluster, app: embedq.EmbedQ
) -> None:
    go = threading.Event()

    @app.job(name="mysql:wait")
    def wait() -> str:
        go.wait(10)
        return "kept"

    app.start()
    running = app.enqueue(wait)
    eventually(lambda: running.state is JobState.RUNNING)
    # Its workers read all the time, which works.
    hasty = embedq.EmbedQ(cluster.url, busy_timeout=0.1, queues=["other"], sigterm=False)
    hasty.start()
    cluster.execute("SET GLOBAL read_only = 1")
    try:
        go.set()
        with pytest.raises(StorageReadOnlyError, match="Point the URL at the primary"):
            hasty.enqueue(wait)
    finally:
        cluster.execute("SET GLOBAL read_only = 0")
        hasty.stop(timeout=5)
        hasty.close()
    assert running.result(timeout=10) == "kept"
    assert running.snapshot().attempt == 1


def test_a_deadlock_is_tried_again(cluster: MySQLCluster, app: embedq.EmbedQ) -> None:
    @app.job(name="mysql:nothing")
    def nothing() -> None: ...

    first, second = app.enqueue_in(3600, nothing), app.enqueue_in(3600, nothing)
    # Two processes that lock the same two rows in opposite orders, each when the other has its first.
    both = threading.Barrier(2)
    tries: list[int] = []

    def write(order: tuple[int, int]) -> None:
        database = open_database(cluster.url)

        def body(tx: Transaction) -> None:
            tries.append(order[0])
            tx.one("job_state", (order[0],))
            if len(tries) <= 2:
                both.wait(10)
            tx.one("job_state", (order[1],))

        database.write(body)
        database.close()

    threads = [threading.Thread(target=write, args=(pair,)) for pair in ((first.id, second.id), (second.id, first.id))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(tries) == 3


def test_a_connection_that_the_server_closed_for_idling_is_not_missed(
    cluster: MySQLCluster, app: embedq.EmbedQ
) -> None:
    @app.job(name="mysql:twice")
    def twice(number: int) -> int:
        return 2 * number

    app.enqueue(twice, 1)
    for (thread,) in cluster.execute("SELECT id FROM information_schema.processlist WHERE user = 'jobs'"):
        cluster.execute(f"KILL {thread}")
    app.enqueue(twice, 2)
    assert app.count_jobs() == 2


def test_a_text_longer_than_the_server_takes_is_an_error_that_names_it(app: embedq.EmbedQ) -> None:
    @app.job(name="mysql:long")
    def long(text: str) -> None: ...

    with pytest.raises(StorageError, match="max_allowed_packet"):
        app.enqueue(long, "x" * 1_048_500)
    app.enqueue(long, "short")
    assert app.count_jobs() == 1


@pytest.mark.parametrize(("number", "text"), [(1000, "x" * 990), (600, '"' * 990), (40, "é\\" * 20_000)])
@pytest.mark.parametrize("whose", ["embedq's", "the application's"])
def test_many_jobs_that_are_together_longer_than_the_server_takes_all_go_in(
    cluster: MySQLCluster, app: embedq.EmbedQ, number: int, text: str, whose: str
) -> None:
    @app.job(name="mysql:many")
    def many(text: str, number: int) -> None: ...

    calls = [app.call(many, text, place) for place in range(number)]
    if whose == "embedq's":
        app.enqueue_many(calls)
    else:
        connection = pymysql.connect(
            host="127.0.0.1", port=cluster.port, user="jobs", password="secret-word", database="jobs"
        )
        with app.transaction(connection):
            app.enqueue_many(calls)
        connection.commit()
        connection.close()
    assert app.count_jobs() == number
    with pytest.raises(StorageError, match="max_allowed_packet"):
        app.enqueue_many([*calls, app.call(many, "x" * 1_048_500, -1)])
    assert app.count_jobs() == number


def test_results_that_are_together_longer_than_the_server_takes_are_all_kept(app: embedq.EmbedQ) -> None:
    @app.job(name="mysql:results")
    def result(number: int) -> str:
        return f"{number}é\U0001f600" * 20_000

    handles = app.enqueue_many([app.call(result, number) for number in range(20)])
    app.start()
    assert [handle.result(timeout=20)[:3] for handle in handles] == [f"{n}é\U0001f600"[:3] for n in range(20)]


def test_a_row_that_another_session_locks_for_long_is_an_error_that_states_it(
    cluster: MySQLCluster, app: embedq.EmbedQ
) -> None:
    @app.job(name="mysql:held")
    def held() -> None: ...

    job = app.enqueue_in(3600, held)
    holder = open_database(cluster.url)
    hasty = embedq.EmbedQ(cluster.url, busy_timeout=1).connect()
    try:

        def hold(tx: Transaction) -> None:
            tx.one("job_state", (job.id,))
            with pytest.raises(StorageBusyError, match="long transaction"):
                hasty.job(job.id).cancel()

        holder.write(hold)
    finally:
        hasty.close()
        holder.close()
    assert job.state is JobState.SCHEDULED


def test_two_apps_in_one_database_have_their_own_tables(cluster: MySQLCluster) -> None:
    apps = [embedq.EmbedQ(f"{cluster.url}?prefix={prefix}_").connect() for prefix in ("shop", "blog")]
    try:

        @apps[0].job(name="mysql:own")
        def own() -> None: ...

        apps[0].enqueue(own)
        assert [app.count_jobs() for app in apps] == [1, 0]
        assert apps[0].database.folder != apps[1].database.folder
    finally:
        for app in apps:
            app.close()


def test_tls_is_what_the_url_states(cluster: MySQLCluster) -> None:
    def cipher(parameters: str, host: str = "localhost") -> Any:
        url = cluster.url.replace("127.0.0.1", host)
        database = open_database(f"{url}?{parameters}", busy_timeout=0.1)
        try:
            [(_, value)] = database.read(lambda tx: tx.select("SHOW STATUS LIKE 'Ssl_cipher'"))
        finally:
            database.close()
        return value

    authority = f"ssl_ca={cluster.folder}/ca.pem"
    assert cipher("ssl_mode=DISABLED") == ""
    assert cipher("ssl_mode=REQUIRED")
    assert cipher(authority)
    assert cipher(f"ssl_mode=VERIFY_IDENTITY&{authority}")
    # The certificate is for localhost.
    assert cipher(f"ssl_mode=VERIFY_CA&{authority}", "127.0.0.1")
    with pytest.raises(StorageError, match="certificate"):
        cipher(f"ssl_mode=VERIFY_IDENTITY&{authority}", "127.0.0.1")
    with pytest.raises(StorageError, match="certificate"):
        cipher("ssl_mode=VERIFY_CA")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("sslmode=require", "unknown in a MySQL URL: sslmode"),
        ("ssl_mode=maybe", "must be one of DISABLED"),
        ("prefix=a-b", "letters, digits and _"),
        ("connect_timeout=soon", "whole numbers"),
        ("connect_timeout=0", "at least 1 second"),
    ],
)
def test_a_parameter_that_cannot_work_is_named(parameters: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_database(f"mysql://root@127.0.0.1/jobs?{parameters}")


def test_a_file_that_is_not_there_is_named(cluster: MySQLCluster) -> None:
    joint = "&" if "?" in cluster.url else "?"
    with pytest.raises(ConfigurationError, match=r"not here: /nowhere\.pem"):
        open_database(f"{cluster.url}{joint}ssl_ca=/nowhere.pem").migrate()


def test_a_url_without_a_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names its database"):
        open_database("mysql://root@127.0.0.1/")

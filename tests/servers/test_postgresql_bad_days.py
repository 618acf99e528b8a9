"""What PostgreSQL's own ways of failing do to jobs: nothing that lasts (G9), and errors say what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

import embedq
from embedq import (
    Ending,
    EnqueueError,
    JobState,
    StorageBusyError,
    StorageFullError,
    StorageMissingError,
    StorageReadOnlyError,
    StorageUncertainError,
    TransactionError,
)
from embedq.storage.base import Transaction
from embedq.storage.postgresql.session import PostgresSession
from embedq.storage.server_database import ServerDatabase
from embedq.worker.pool import Reservation
from tests.databases import KINDS, open_database
from tests.servers.postgresql_cluster import PostgreSQLCluster, folder_for_a_server
from tests.support import eventually

SETTINGS = {"fsync": "off", "deadlock_timeout": "10ms", "max_connections": 20, "autovacuum": "off"}


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind == "postgresql"])
def cluster() -> Iterator[PostgreSQLCluster]:
    with folder_for_a_server() as folder:
        cluster = PostgreSQLCluster(folder, settings=SETTINGS)
        cluster.start()
        cluster.execute("CREATE ROLE app LOGIN")
        cluster.execute("CREATE TABLE probe (x int)")
        yield cluster
        cluster.stop("immediate")


@pytest.fixture
def schema(cluster: PostgreSQLCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A schema that belongs to the role `app`, with embedq's tables in it."""
    name = f"test_{abs(hash(request.node.name))}"
    cluster.execute(f"CREATE SCHEMA {name} AUTHORIZATION app")
    open_database(cluster.url_for("app", schema=name)).migrate()
    yield name
    if cluster.configured:
        # A test that failed half-way: what hangs would hang the tests after it, too.
        if cluster.answers:
            cluster.stop("immediate")
        cluster.forget_configured()
    if not cluster.answers:
        cluster.start()
    cluster.execute("ALTER ROLE app RESET ALL")
    cluster.execute(f"DROP SCHEMA {name} CASCADE")


class Counting:
    """A job that counts its runs, and one that waits as well."""

    def __init__(self, app: embedq.EmbedQ) -> None:
        self.runs: Counter[int] = Counter()
        self.go = threading.Event()
        self.count = app.job(name="pg:count")(self._count)
        self.wait = app.job(name="pg:wait")(self._wait)

    def _count(self) -> None:
        self.runs[embedq.current_job().id] += 1

    def _wait(self, size: int = 2) -> str:
        self._count()
        assert self.go.wait(30)
        # Nothing that the server could compress.
        return os.urandom(size // 2).hex()

    def started(self, *jobs: embedq.JobHandle) -> None:
        """Wait until they run."""
        eventually(lambda: all(self.runs[job.id] for job in jobs))


# -- commits without an answer -----------------------------------------------------------------------------------------


def let_commits_hang(cluster: PostgreSQLCluster) -> None:
    """From here on every commit is on the disk, and waits for the word of a standby that is not there."""
    cluster.configure(synchronous_standby_names="nobody")

    def probe() -> None:
        with suppress(psycopg.Error):
            while True:
                cluster.execute("INSERT INTO probe VALUES (1)")

    threading.Thread(target=probe, daemon=True).start()
    eventually(lambda: hanging(cluster, "INSERT INTO probe%") == 1)


def hanging(cluster: PostgreSQLCluster, statement: str = "%") -> int:
    """How many commits hang, of those whose statement is LIKE this."""
    [(found,)] = cluster.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '{statement}'"
    )
    return int(found)


def writer_hangs(cluster: PostgreSQLCluster, app: embedq.EmbedQ) -> bool:
    """Whether the commit that hangs is of the connection on which the app writes; heartbeats have another one."""
    assert isinstance(app.database, ServerDatabase)
    writer = app.database._writer
    pid = writer.backend if isinstance(writer, PostgresSession) else None
    [(hangs,)] = cluster.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = {pid or 0}"
    )
    return bool(hangs)


@pytest.fixture
def ids_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id that an insert brings for the next one does not grow too old while the test is busy elsewhere."""
    monkeypatch.setattr("embedq.storage.postgresql.pipelined_inserts.SPARE_SECONDS", 60.0)


def test_what_was_claimed_in_a_commit_whose_server_went_away_is_put_right_when_it_is_back(
    cluster: PostgreSQLCluster, schema: str, caplog: pytest.LogCaptureFixture, ids_are_kept: None
) -> None:
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema), workers=1, busy_timeout=0.2, sigterm=False)
    counting = Counting(app)
    refused: list[BaseException] = []

    def hand_over() -> None:
        try:
            app.enqueue(counting.count)
        except StorageUncertainError as error:
            refused.append(error)

    with app:
        running = app.enqueue(counting.wait)
        counting.started(running)
        waiting = app.enqueue(counting.count)
        runtime = app.engine.runtime
        assert runtime is not None
        # What it writes would hang first.
        runtime.leader.stop()
        # The turn that ends one job and claims the other.
        let_commits_hang(cluster)
        counting.go.set()
        eventually(lambda: writer_hangs(cluster, app))
        cluster.stop("immediate")
        eventually(lambda: "may or may not be there" in caplog.text)
        cluster.forget_configured()
        cluster.start()
        for job in (running, waiting):
            assert job.wait(10) is JobState.SUCCEEDED
            assert [attempt.ending for attempt in job.attempts()] == [Ending.SUCCEEDED]
        # A job that is handed to an idle worker without the queue. Another one brings its id.
        assert app.enqueue(counting.count).wait(10) is JobState.SUCCEEDED
        direct = runtime.dispatcher.hand_over

        def worker_is_idle() -> bool:
            reservation = Reservation()
            if reserved := direct.reserve(reservation):
                direct.cancel(reservation)
            return reserved

        eventually(worker_is_idle)
        let_commits_hang(cluster)
        thread = threading.Thread(target=hand_over)
        thread.start()
        eventually(lambda: hanging(cluster, f"INSERT INTO%{schema}%jobs%") == 1)
        cluster.stop("immediate")
        thread.join(10)
        assert len(refused) == 1
        cluster.forget_configured()
        cluster.start()
        eventually(lambda: app.count_jobs(state=JobState.SUCCEEDED) == 4)
    assert set(counting.runs.values()) == {1}
    assert [(job.attempt, job.crashes) for job in app.jobs()] == [(1, 0)] * 4
    app.close()


def test_an_insert_whose_answer_was_lost_is_found_and_not_done_again(
    cluster: PostgreSQLCluster, schema: str, ids_are_kept: None
) -> None:
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema)).connect()
    counting = Counting(app)
    app.enqueue(counting.count)
    handles: list[embedq.JobHandle] = []
    let_commits_hang(cluster)
    thread = threading.Thread(target=lambda: handles.append(app.enqueue(counting.count)))
    thread.start()
    eventually(lambda: hanging(cluster, f"INSERT INTO%{schema}%jobs%") == 1)
    # Written, and nobody is told: what is waited for is the word of the standby.
    cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    thread.join(10)
    cluster.forget_configured()
    cluster.execute("SELECT pg_reload_conf()")
    assert len(handles) == 1
    assert {job.id for job in app.jobs()} == {1, handles[0].id}
    app.close()


def test_an_id_that_is_taken_is_another_jobs(cluster: PostgreSQLCluster, schema: str, ids_are_kept: None) -> None:
    """After a failover to a standby that has not heard that the number was given away."""
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema)).connect()
    counting = Counting(app)
    first = app.enqueue(counting.count)
    cluster.execute(
        f"""INSERT INTO {schema}.embedq_jobs (id, state, executor, queue, priority, name, payload, created_at, run_at)
            SELECT id + 1, state, executor, queue, priority, name, payload, created_at, run_at
            FROM {schema}.embedq_jobs"""
    )
    second = app.enqueue(counting.count)
    assert second.id > first.id + 1
    assert app.count_jobs() == 3
    app.close()


# -- failover ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def standby(cluster: PostgreSQLCluster) -> Iterator[PostgreSQLCluster]:
    with folder_for_a_server() as folder:
        standby = PostgreSQLCluster(folder, settings=SETTINGS, copy_of=cluster)
        standby.start()
        yield standby
        standby.stop("immediate")


def test_a_failover_to_the_standby_loses_no_acknowledged_job_and_repeats_none(
    cluster: PostgreSQLCluster, standby: PostgreSQLCluster
) -> None:
    hosts = f"postgres@127.0.0.1:{cluster.port},127.0.0.1:{standby.port}"
    url = f"postgresql://{hosts}/postgres?target_session_attrs=read-write"
    cluster.configure(synchronous_standby_names="*")
    eventually(lambda: cluster.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
    app = embedq.EmbedQ(url, workers=4, sigterm=False)
    counting = Counting(app)
    acknowledged: list[int] = []
    ended = threading.Event()

    def produce() -> None:
        while not ended.is_set():
            acknowledged.append(app.enqueue(counting.count).id)

    with app:
        held = app.enqueue(counting.wait)
        counting.started(held)
        producers = [threading.Thread(target=produce) for _ in range(2)]
        for producer in producers:
            producer.start()
        eventually(lambda: len(acknowledged) > 200)
        cluster.stop("immediate")
        seen = len(acknowledged)
        refused_by_the_standby(standby, counting)
        standby.promote()
        eventually(lambda: len(acknowledged) > seen + 200, seconds=20)
        ended.set()
        for producer in producers:
            producer.join()
        counting.go.set()
        assert len(held.result(10)) == 2
        eventually(lambda: app.count_jobs(state=JobState.SUCCEEDED, cap=10**6) == len(acknowledged) + 1)
    app.close()
    assert counting.runs == Counter([held.id, *acknowledged])
    cluster.forget_configured()
    cluster.start()


def refused_by_the_standby(standby: PostgreSQLCluster, counting: Counting) -> None:
    """Who only has the standby's address reads there, and is told where to write."""
    reader = embedq.EmbedQ(standby.url, busy_timeout=0.1).connect()
    assert reader.count_jobs(cap=10**6) > 200
    with pytest.raises(StorageReadOnlyError, match=r"it is a standby\. .* target_session_attrs=read-write"):
        reader.enqueue(counting.count)
    reader.close()


# -- limits of the role, and of the server -----------------------------------------------------------------------------


def test_a_server_that_takes_no_writes_is_an_error_for_enqueue_though_it_answers_reads(
    cluster: PostgreSQLCluster, schema: str
) -> None:
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema), busy_timeout=0.5, sigterm=False)
    counting = Counting(app)
    with app:
        cluster.execute(
            f"""CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'a standby' USING ERRCODE = '25006'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON {schema}.embedq_jobs EXECUTE FUNCTION {schema}.refuse()"""
        )
        with pytest.raises(StorageReadOnlyError):
            app.enqueue(counting.count)
        cluster.execute(f"DROP TRIGGER refuse ON {schema}.embedq_jobs")
        assert app.enqueue(counting.count).wait(10) is JobState.SUCCEEDED
    app.close()


@pytest.mark.parametrize("where", ["role", "url"])
def test_a_timeout_is_an_error_for_enqueue_and_a_pause_for_a_worker(
    cluster: PostgreSQLCluster, schema: str, where: str
) -> None:
    url = cluster.url_for("app", schema=schema)
    if where == "role":
        cluster.execute("ALTER ROLE app SET statement_timeout = '50ms'")
    else:
        url += f"&options={quote('-c lock_timeout=50ms')}"
    with embedq.EmbedQ(url, sigterm=False) as app:
        counting = Counting(app)
        job = app.enqueue(counting.wait)
        counting.started(job)
        with cluster.connect() as other, other.transaction():
            other.execute(f"LOCK TABLE {schema}.embedq_jobs IN EXCLUSIVE MODE".encode())
            counting.go.set()
            with pytest.raises(StorageBusyError, match=r"lock_timeout or statement_timeout .* pg_stat_activity"):
                app.enqueue(counting.count)
            assert job.state is JobState.RUNNING
        assert len(job.result(10)) == 2
        assert app.enqueue(counting.count).wait(10) is JobState.SUCCEEDED
    assert set(counting.runs.values()) == {1}


def test_a_transaction_that_the_server_ends_for_idling_runs_again(cluster: PostgreSQLCluster, schema: str) -> None:
    cluster.execute("ALTER ROLE app SET idle_in_transaction_session_timeout = '20ms'")
    database = open_database(cluster.url_for("app", schema=schema))
    calls = []

    def dawdle(tx: Transaction) -> list[tuple[int]]:
        calls.append(1)
        tx.select("SELECT 1 FROM embedq_jobs")
        if len(calls) == 1:
            # A process that was swapped out, for example.
            eventually(lambda: not backends(cluster, "idle in transaction"))
        return tx.select("SELECT 42")

    assert database.write(dawdle) == [(42,)]
    assert len(calls) == 2
    database.close()


def backends(cluster: PostgreSQLCluster, state: str) -> int:
    [(found,)] = cluster.execute(f"SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = '{state}'")
    return int(found)


def test_a_deadlock_is_tried_again(cluster: PostgreSQLCluster, schema: str) -> None:
    url = cluster.url_for("app", schema=schema)
    app = embedq.EmbedQ(url).connect()
    ids = [app.enqueue(app.job(name=f"pg:{name}")(print)).id for name in "ab"]
    both_have_one = threading.Barrier(2)
    tries: list[str] = []
    ended: list[str] = []

    def cross(tx: Transaction, name: str, order: list[int]) -> None:
        tries.append(name)
        tx.one("job_state", (order[0],))
        if tries.count(name) == 1:
            both_have_one.wait(10)
        tx.one("job_state", (order[1],))

    def write(name: str, order: list[int]) -> None:
        database = open_database(url)
        database.write(cross, name, order)
        ended.append(name)
        database.close()

    threads = [
        threading.Thread(target=write, args=("forth", ids)),
        threading.Thread(target=write, args=("back", ids[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    app.close()
    assert sorted(ended) == ["back", "forth"]
    assert len(tries) > 2
    [(deadlocks,)] = cluster.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")
    print("deadlocks on record:", deadlocks)


def test_a_server_whose_connections_are_all_taken_is_waited_for(cluster: PostgreSQLCluster, schema: str) -> None:
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema), busy_timeout=0.2, sigterm=False)
    counting = Counting(app)
    with app, ExitStack() as others:
        job = app.enqueue(counting.wait)
        counting.started(job)
        cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        take_every_connection(cluster, others)
        counting.go.set()
        with pytest.raises(StorageBusyError, match="no connection to spare; nothing was written"):
            app.enqueue(counting.count)
        others.close()
        assert len(job.result(10)) == 2
        assert app.enqueue(counting.count).wait(10) is JobState.SUCCEEDED
    assert set(counting.runs.values()) == {1}


def take_every_connection(cluster: PostgreSQLCluster, others: ExitStack) -> None:
    """Also those of embedq, which opens new ones when it finds its own lost."""
    deadline = time.monotonic() + 10
    full = 0
    while full < 3 and time.monotonic() < deadline:
        try:
            others.callback(cluster.connect("app").close)
            full = 0
        except psycopg.OperationalError:
            full += 1
            cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'embedq'")
    assert full == 3


def test_a_full_disk_of_the_server_loses_nothing(cluster: PostgreSQLCluster, schema: str, tmp_path: Path) -> None:
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    disk = cluster.folder / "disk"
    disk.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        cluster.own(disk, 0o700)
        cluster.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        cluster.execute(f"ALTER TABLE {schema}.embedq_jobs SET TABLESPACE small")
        with embedq.EmbedQ(cluster.url_for("app", schema=schema), workers=4, sigterm=False) as app:
            counting = Counting(app)
            jobs = [app.enqueue(counting.wait, 30_000) for _ in range(4)]
            counting.started(*jobs)
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)) == 4096:
                        pass
                except OSError:
                    pass
            with pytest.raises(StorageFullError, match=r"no space left on the server of .*nothing was written"):
                app.enqueue_many([app.call(counting.count) for _ in range(5000)])
            counting.go.set()
            eventually(lambda: unwritten(app) == 4)
            assert [job.state for job in jobs] == [JobState.RUNNING] * 4
            ballast.unlink()
            assert [len(job.result(20)) for job in jobs] == [30_000] * 4
        assert app.count_jobs() == 4
        app.close()
        assert set(counting.runs.values()) == {1}
        cluster.execute(f"ALTER TABLE {schema}.embedq_jobs SET TABLESPACE pg_default")
        cluster.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def unwritten(app: embedq.EmbedQ) -> int:
    assert app.engine.runtime is not None
    return len(app.engine.runtime.dispatcher.outcomes.unwritten)


# -- who may do what, and how it is reached ----------------------------------------------------------------------------


def test_a_role_with_the_documented_privileges_and_no_more_is_enough(cluster: PostgreSQLCluster, schema: str) -> None:
    """docs/operating.md says which."""
    cluster.execute("CREATE ROLE limited LOGIN")
    cluster.execute(f"GRANT USAGE ON SCHEMA {schema} TO limited")
    cluster.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO limited")
    cluster.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO limited")
    app = embedq.EmbedQ(cluster.url_for("limited", schema=schema), sigterm=False)
    counting = Counting(app)
    counting.go.set()
    with app:
        app.recurring("pulse", embedq.every(seconds=0.2), counting.count)
        parent = app.options(tags=["t"], idempotency_key="k").enqueue(counting.wait)
        child = parent.then(counting.count)
        later = app.enqueue_in(3600, counting.count)
        many = app.enqueue_many([app.call(counting.count) for _ in range(3)])
        for job in (parent, child, *many):
            assert job.wait(10) is JobState.SUCCEEDED
        assert later.cancel() is JobState.CANCELLED
        later.retry()
        assert later.wait(10) is JobState.SUCCEEDED
        eventually(lambda: app.occurrences("pulse"))
        app.trigger_recurring("pulse").wait(10)
        app.pause_recurring("pulse")
        app.remove_recurring("pulse")
        assert app.jobs(tag="t")
        assert app.stats().last_hour[Ending.SUCCEEDED]
        assert len(app.servers()) == 1
        # What the leader deletes.
        app.database.write(lambda tx: tx.run("delete_counters", (0,)))
        app.database.write(lambda tx: tx.run("delete_jobs", ("[]",)))
    app.close()
    cluster.execute("DROP OWNED BY limited")
    cluster.execute("DROP ROLE limited")


def test_tls_is_what_the_url_states_and_a_certificate_that_is_not_trusted_is_refused_at_once(
    cluster: PostgreSQLCluster, schema: str, tmp_path: Path
) -> None:
    certificate, key, stranger = cluster.data / "server.crt", cluster.data / "server.key", tmp_path / "stranger.crt"
    for crt, private in ((certificate, key), (stranger, tmp_path / "stranger.key")):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(crt),
             "-keyout", str(private)],
            check=True, capture_output=True,
        )  # fmt: skip
    trusted = tmp_path / "trusted.crt"
    shutil.copy(certificate, trusted)
    cluster.own(certificate, 0o644)
    cluster.own(key, 0o600)
    cluster.configure(ssl="on")
    try:
        url = cluster.url_for("app", schema=schema, sslmode="verify-full", sslrootcert=trusted)
        with embedq.EmbedQ(url, sigterm=False) as app:
            counting = Counting(app)
            assert app.enqueue(counting.count).wait(10) is JobState.SUCCEEDED
            in_use = cluster.execute(
                "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'app'"
            )
            assert in_use == [(True,)]
        for wrong in (url.replace(str(trusted), str(stranger)), url.replace("127.0.0.1", "localhost")):
            started = time.monotonic()
            with pytest.raises(StorageMissingError, match=r"certificate .*sslrootcert"):
                embedq.EmbedQ(wrong, busy_timeout=20).connect()
            assert time.monotonic() - started < 10
    finally:
        cluster.configure(ssl="off")


# -- texts -------------------------------------------------------------------------------------------------------------


def test_a_name_that_the_server_cannot_hold_is_refused_and_an_error_that_it_cannot_hold_is_kept(
    cluster: PostgreSQLCluster, schema: str
) -> None:
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema), sigterm=False)

    @app.job(name="pg:nul", retry=embedq.NO_RETRY)
    def fail() -> None:
        raise ValueError("before\x00after")

    with app:
        with pytest.raises(EnqueueError, match="NUL"):
            app.options(queue="a\x00b").enqueue(fail)
        job = app.enqueue(fail)
        job.wait(timeout=10)
        assert "before\ufffdafter" in str(job.snapshot().error)
    app.close()


def test_a_clone_of_the_database_is_another_one(cluster: PostgreSQLCluster, schema: str) -> None:
    cluster.execute("CREATE DATABASE clone TEMPLATE postgres")
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema)).connect()
    counting = Counting(app)
    try:
        with (
            psycopg.connect(cluster.url_for("app").replace("/postgres", "/clone")) as own,
            pytest.raises(TransactionError, match="another"),
            app.transaction(own),
        ):
            app.enqueue(counting.count)
    finally:
        app.close()
        cluster.execute("DROP DATABASE clone WITH (FORCE)")


def test_the_servers_socket_is_reached_by_the_url_that_libpq_has_for_it(
    cluster: PostgreSQLCluster, schema: str
) -> None:
    url = f"postgresql:///postgres?host={quote(str(cluster.data))}&port={cluster.port}&user=app&schema={schema}"
    app = embedq.EmbedQ(url).connect()
    assert app.count_jobs() == 0
    app.close()


@pytest.mark.parametrize(
    ("user", "parameters", "says"),
    [
        ("nobody-here", {}, "no such user"),
        ("app", {"sslmode": "require"}, "accepts no encrypted connections"),
        ("app", {"sslmode": "sometimes"}, "libpq does not accept the parameters in the URL"),
        ("app", {"ssl_mode": "require"}, "libpq does not understand the URL"),
        ("app", {"schema": "pg_jobs"}, "cannot be the name of a schema|may not create the schema"),
        ("app", {"schema": "not_there"}, "may not create the schema not_there"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_the_reason(
    cluster: PostgreSQLCluster, schema: str, user: str, parameters: dict[str, str], says: str
) -> None:
    with pytest.raises(embedq.EmbedqError, match=says):
        embedq.EmbedQ(cluster.url_for(user, **parameters), busy_timeout=0.1).connect()


# -- being told --------------------------------------------------------------------------------------------------------


def test_another_process_is_notified_by_notify(cluster: PostgreSQLCluster, schema: str) -> None:
    """Asking would take a minute."""
    app = embedq.EmbedQ(cluster.url_for("app", schema=schema)).connect()

    @app.job(name="pg:when")
    def when() -> float:
        return time.monotonic()

    with embedq.EmbedQ(app.settings.url, poll=60, sigterm=False) as worker:
        app.enqueue(when).result(timeout=10)
        called = time.monotonic()
        assert app.enqueue(when).result(timeout=10) - called < 5
    worker.close()
    app.close()

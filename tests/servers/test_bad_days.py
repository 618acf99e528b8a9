"""Connections that are killed, servers that are away or full: nothing is lost, and errors say what to do (G9)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import embedq
from embedq import JobState
from embedq.clock import SystemClock
from embedq.errors import (
    ConfigurationError,
    SchemaTooNewError,
    StorageBusyError,
    StorageError,
    StorageMissingError,
    StorageReadOnlyError,
    StorageUnavailableError,
    StorageUncertainError,
)
from tests.databases import ServerHome, open_database
from tests.servers.stalling_proxy import StallingProxy
from tests.support import eventually


def test_connections_killed_under_load_lose_no_job_and_run_none_twice(
    home: ServerHome, url: str, app: embedq.EmbedQ
) -> None:
    runs: Counter[int] = Counter()
    lock = threading.Lock()

    @app.job(name="bad_days:count")
    def count() -> None:
        with lock:
            runs[embedq.current_job().id] += 1

    acknowledged: list[int] = []
    ended = threading.Event()

    def produce() -> None:
        while not ended.is_set():
            acknowledged.append(count.enqueue().id)

    producers = [threading.Thread(target=produce) for _ in range(3)]
    killed = 0
    with home.unguarded(url):
        app.start()
        for producer in producers:
            producer.start()
        for _ in range(30):
            killed += home.kill_connections()
            time.sleep(0.1)
        ended.set()
        for producer in producers:
            producer.join()
    print(f"{killed} connections were killed, {len(acknowledged)} jobs acknowledged")
    assert killed > 5
    eventually(lambda: app.count_jobs(state=JobState.SUCCEEDED, cap=10**6) == len(acknowledged), seconds=30)
    assert len(acknowledged) == len(set(acknowledged))
    assert runs == Counter(acknowledged)


def test_a_process_has_at_most_five_connections_and_none_for_its_waiting_jobs(
    home: ServerHome, url: str, app: embedq.EmbedQ
) -> None:
    go = threading.Event()

    @app.job(name="bad_days:wait")
    def wait() -> None:
        go.wait(10)

    busy = embedq.EmbedQ(url, workers=40, sigterm=False)
    app.database.close()
    with busy:
        handles = [busy.enqueue(wait) for _ in range(60)]
        eventually(lambda: busy.count_jobs(state=JobState.RUNNING) >= 40)
        looking = [threading.Thread(target=lambda: busy.stats()) for _ in range(20)]
        for thread in looking:
            thread.start()
        most = max(home.connections() for _ in range(20))
        for thread in looking:
            thread.join()
        go.set()
        for handle in handles:
            handle.result(timeout=10)
    assert most <= 5


def test_a_commit_whose_answer_was_lost_is_looked_up(url: str) -> None:
    database = open_database(url)
    driver = database._driver  # type: ignore[attr-defined]
    first, second = driver.connect(), driver.connect()
    try:
        first.begin(None, read_only=False)
        committed = first.mark
        assert first.transaction.run("take_lease", ("leader", 1, 2, 0)) == 1
        first.commit()
        first.begin(None, read_only=False)
        rolled_back = first.mark
        assert first.transaction.run("take_lease", ("leader", 1, 3, 0)) == 1
        first.rollback()
        assert second.committed(committed)
        assert not second.committed(rolled_back)
    finally:
        first.close()
        second.close()


def test_a_server_that_is_not_there_is_waited_for_no_longer_than_the_busy_timeout(home: ServerHome) -> None:
    started = time.monotonic()
    app = embedq.EmbedQ(home.unreachable(), busy_timeout=0.5)
    with pytest.raises(StorageUnavailableError, match="cannot be reached"):
        app.connect()
    assert time.monotonic() - started < 5


def enqueued(task: embedq.Task[[int, int], int], *arguments: int) -> bool:
    """Whether the server takes a job again; it runs as if nothing had been."""
    try:
        job = task.enqueue(*arguments)
    except StorageError:
        return False
    return bool(job.result(timeout=10) == sum(arguments))


def test_a_server_that_stops_responding_is_not_waited_for_forever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedq.storage.retries.SLOW_SECONDS", 0.5)
    joint = "&" if "?" in url else "?"
    with StallingProxy(f"{url}{joint}connect_timeout=2", 3306 if url.startswith("mysql") else 5432) as proxy:
        app = embedq.EmbedQ(proxy.url, busy_timeout=1, workers=2, sigterm=False)

        @app.job(name="bad_days:add")
        def add(a: int, b: int) -> int:
            return a + b

        with app:
            assert add.enqueue(1, 1).result(timeout=10) == 2
            with proxy.stalled():
                began = time.monotonic()
                with pytest.raises(StorageError) as told:
                    add.enqueue(2, 2)
                assert isinstance(told.value, StorageUncertainError | StorageUnavailableError)
                assert time.monotonic() - began < 15
            eventually(lambda: enqueued(add, 3, 3), seconds=20)
            with proxy.stalled():
                began = time.monotonic()
                app.stop(timeout=1)
                assert time.monotonic() - began < 20
        app.close()


def test_an_unknown_database_is_named(home: ServerHome) -> None:
    with pytest.raises(StorageMissingError, match=r"no such database: .*nowhere"):
        embedq.EmbedQ(home.unknown()).connect()


def test_a_user_without_privileges_is_shown_which_are_missing(home: ServerHome) -> None:
    with pytest.raises(StorageReadOnlyError, match="GRANT"):
        embedq.EmbedQ(home.uninvited("uninvited")).connect()


def test_a_server_without_a_connection_to_spare_is_an_error_after_a_while(home: ServerHome) -> None:
    with pytest.raises(StorageBusyError, match="max_connections"):
        embedq.EmbedQ(home.crowded("crowded"), busy_timeout=0.3).connect()


def test_no_message_holds_the_password(home: ServerHome) -> None:
    app = embedq.EmbedQ(home.crowded("crowded"), busy_timeout=0.1)
    with pytest.raises(StorageError) as caught:
        app.connect()
    assert "secret-word" not in f"{caught.value} {app!r} {app.settings!r}"


def test_a_schema_that_a_newer_embedq_has_made_is_refused(home: ServerHome, tmp_path: Path) -> None:
    url = home.missing(tmp_path, "newer")
    open_database(url).migrate()
    home.execute(url, "INSERT INTO embedq_migrations (name) VALUES ('schema_9999')")
    with pytest.raises(SchemaTooNewError, match="schema_9999"):
        embedq.EmbedQ(url).connect()


def test_a_lambda_needs_a_secret_that_all_hosts_share(url: str) -> None:
    app = embedq.EmbedQ(url).connect()
    try:
        with pytest.raises(ConfigurationError, match="secret_key"):
            app.enqueue(lambda: None)
    finally:
        app.close()


class SkewedClock(SystemClock):
    """The clock of a host that somebody set wrong."""

    def __init__(self, minutes: int) -> None:
        self._micros = minutes * 60_000_000

    def now(self) -> int:
        return super().now() + self._micros


def test_hosts_whose_clocks_differ_by_minutes_agree_on_the_time(url: str) -> None:
    early = embedq.EmbedQ(url, clock=SkewedClock(-7)).connect()
    late = embedq.EmbedQ(url, clock=SkewedClock(7)).connect()
    try:
        apart = abs(early.engine.clock.now() - late.engine.clock.now())
        assert apart < 1_000_000
    finally:
        early.close()
        late.close()


def test_another_process_learns_of_a_job_soon(url: str, app: embedq.EmbedQ) -> None:
    """Where the server tells, and where it must be asked: asking goes on quickly while something happens."""

    @app.job(name="bad_days:when")
    def when() -> float:
        return time.monotonic()

    worker = embedq.EmbedQ(url, sigterm=False)
    with worker:
        app.enqueue(when).result(timeout=10)
        delays = []
        for _ in range(20):
            time.sleep(0.05)
            called = time.monotonic()
            delays.append(app.enqueue(when).result(timeout=10) - called)
    print("milliseconds from enqueue to start:", ", ".join(f"{delay * 1000:.1f}" for delay in sorted(delays)))
    assert sorted(delays)[10] < 0.5


def test_a_wait_outlasts_an_outage_and_ends_when_its_time_is_up(url: str) -> None:
    joint = "&" if "?" in url else "?"
    with StallingProxy(f"{url}{joint}connect_timeout=2", 3306 if url.startswith("mysql") else 5432) as proxy:
        app = embedq.EmbedQ(proxy.url, busy_timeout=2, sigterm=False).connect()
        runner = embedq.EmbedQ(url, sigterm=False)

        @app.job(name="bad_days:later")
        def later() -> str:
            return "later"

        job = app.enqueue(later)

        def both_have_read() -> bool:
            waits = [wait for waits in list(app.engine.waiting._waits.values()) for wait in waits]
            return len(waits) == 2 and all(wait.state is not None for wait in waits)

        async def wait() -> str:
            waits = [asyncio.create_task(job.aresult(timeout=60)), asyncio.create_task(asyncio.to_thread(job.result))]
            # A wait that begins during an outage gets the error.
            await asyncio.to_thread(eventually, both_have_read)
            with proxy.stalled():
                await asyncio.sleep(0.2)
                began = time.monotonic()
                with pytest.raises(embedq.WaitTimeoutError):
                    await job.aresult(timeout=1.5)
                assert time.monotonic() - began < 6
                await asyncio.sleep(4)
                assert not any(wait.done() for wait in waits)
                await asyncio.to_thread(runner.start)
                await asyncio.to_thread(runner.job(job.id).wait, 60)
            first, second = await asyncio.gather(*waits)
            return f"{first} {second}"

        try:
            assert asyncio.run(wait()) == "later later"
        finally:
            runner.close()
            app.close()

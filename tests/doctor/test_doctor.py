"""`embedq doctor`: every finding, made for real where that can be."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import Discard, EmbedQ, JobState, every
from embedq.cli import main
from embedq.clock import SECOND, SystemClock
from embedq.doctor import databases, processes
from embedq.doctor.findings import Section
from embedq.doctor.processes import ObservedProcess, ProcessState
from embedq.errors import StorageUnavailableError
from embedq.storage.sqlite import failures
from embedq.tasks.registry import REGISTRY
from tests.databases import KINDS, Home, SQLiteHome
from tests.mysql_home import MYSQL
from tests.support import Child, FakeClock, cli_runner, eventually

HOUR = 3600 * SECOND
linux = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")

SERVER = """
    import sys, time, embedq
    @embedq.job(name="sleep")
    def sleep(seconds): time.sleep(seconds)
    app = embedq.start(sys.argv[1], workers=2)
    if len(sys.argv) > 2:
        job = sleep.enqueue(60)
        while job.state != "running":
            time.sleep(0.01)
    print("ready")
    sys.stdin.read()
"""
HOLDER = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute(sys.argv[2])
    connection.execute("SELECT count(*) FROM embedq_jobs").fetchall()
    print("ready")
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Said:
    """What the doctor said with --json, and its exit code."""

    code: int
    findings: list[dict[str, Any]]
    checked: dict[str, list[str]]

    @property
    def codes(self) -> list[str]:
        return [finding["code"] for finding in self.findings]

    def about(self, code: str) -> dict[str, Any]:
        [finding] = [finding for finding in self.findings if finding["code"] == code]
        return finding


def doctor(url: str, *options: str) -> Said:
    result = cli_runner().invoke(main, ["doctor", "--url", url, "--json", *options], env={"EMBEDQ_URL": None})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    document = json.loads(result.stdout)
    return Said(result.exit_code, document["findings"], document["checked"])


def in_words(url: str) -> str:
    return cli_runner().invoke(main, ["doctor", "--url", url], env={"EMBEDQ_URL": None, "NO_COLOR": "1"}).stdout


def execute(app: EmbedQ, sql: str) -> None:
    SQLiteHome().execute(app.settings.url, sql)


def nothing() -> None:
    pass


def fail() -> None:
    raise Discard("no such user")


@pytest.fixture
def children() -> Iterator[list[Child]]:
    found: list[Child] = []
    yield found
    for child in found:
        child.kill()


def run_child(children: list[Child], script: str, *arguments: object, cwd: Path | None = None) -> Child:
    child = Child(script, *arguments, cwd=cwd)
    children.append(child)
    assert child.read_line() == "ready"
    return child


# -- a healthy queue ---------------------------------------------------------------------------------------------------


def test_where_nothing_is_wrong_a_few_lines_report_it(app: EmbedQ) -> None:
    app.recurring("nightly", "0 2 * * *", nothing)
    app.start().enqueue(nothing).wait(10)
    text = in_words(app.settings.url)
    assert len(text.splitlines()) == 11, text
    assert "✓ Processes       1 process alive, 10 threads, 0 jobs running" in text
    assert "✓ Recurring jobs  1 schedule, none late" in text
    assert text.endswith("\nno problems found\n")
    said = doctor(app.settings.url)
    assert (said.code, said.findings) == (0, [])
    assert list(said.checked) == ["Database", "Processes", "Clock", "Jobs", "Pauses", "Limits", "Recurring jobs"]


def test_pauses_are_a_note_until_they_are_old_and_have_no_end(app: EmbedQ) -> None:
    app.pause(queue="mail", reason="migration", actor="ada")
    app.pause(task=nothing, until=timedelta(hours=1), actor="ada")
    assert [code for code in doctor(app.settings.url).codes if "paused" in code] == ["paused"] * 2
    yesterday = app.clock.now() - 25 * 3600 * 1_000_000
    app.database.write(lambda tx: tx.select("UPDATE embedq_holds SET since = ?", (yesterday,)))
    said = doctor(app.settings.url)
    long = said.about("paused-long")
    assert long["problem"] == "queue mail paused for 1 d, and does not end by itself: migration"
    assert "It was paused by ada" in long["advice"]
    assert f"task {nothing.__module__}:nothing" in said.about("paused")["problem"]


def test_a_process_that_does_not_know_pauses_is_named_while_something_is_paused(app: EmbedQ) -> None:
    app.start()
    app.database.write(lambda tx: tx.select("UPDATE embedq_servers SET knows_holds = NULL"))
    assert "pause-ignored" not in doctor(app.settings.url).codes
    app.pause(queue="mail")
    assert str(os.getpid()) in doctor(app.settings.url).about("pause-ignored")["problem"]


def test_a_queue_without_workers_is_a_note_until_a_job_is_due(app: EmbedQ) -> None:
    def found() -> tuple[int, str]:
        said = doctor(app.settings.url)
        return said.code, said.about("no-process")["severity"]

    assert found() == (0, "note")
    app.enqueue_in(60, nothing)
    assert found() == (1, "warning")
    assert "no process runs jobs, with 1 job due later" in in_words(app.settings.url)
    app.enqueue(nothing)
    assert found() == (1, "error")


def test_a_finding_states_what_is_wrong_and_what_to_do_and_prints_hostile_names_harmlessly(app: EmbedQ) -> None:
    app.options(queue="a\x1b[2J").enqueue(nothing)
    EmbedQ(app.settings.url, queues=["mail"]).start()
    text = in_words(app.settings.url)
    assert "✗ Jobs" in text or "✗                 no live process works" in text
    assert "no live process works the queue 'a\\x1b[2J', with 1 job waiting" in text
    assert "→ add it where the queues are set (queues=[…], --queues), which are: mail" in " ".join(text.split())
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = cli_runner().invoke(main, ["doctor", "--url", f"sqlite:///{tmp_path}/none.db"])
    assert (result.exit_code, result.stdout) == (4, "")
    assert list(tmp_path.iterdir()) == []


# -- processes ---------------------------------------------------------------------------------------------------------


@linux
def test_a_process_that_was_stopped_and_one_that_died_are_distinguished(app: EmbedQ, children: list[Child]) -> None:
    pid = run_child(children, SERVER, app.settings.url, "busy").process.pid
    os.kill(pid, signal.SIGSTOP)
    said = doctor(app.settings.url)
    stopped = said.about("process-stopped")
    assert said.code == 1
    assert f"process {pid} on " in stopped["problem"]
    assert "holds 1 running job" in stopped["problem"]
    assert f"kill -CONT {pid}" in stopped["advice"]
    os.kill(pid, signal.SIGCONT)
    assert doctor(app.settings.url).codes == []
    children[0].process.kill()
    children[0].process.wait()
    gone = doctor(app.settings.url).about("process-dead")
    assert gone["severity"] == "warning"
    assert "is dead and holds 1 running job" in gone["problem"]


def test_a_process_of_another_host_that_is_silent_may_be_dead_or_cut_off(app: EmbedQ) -> None:
    app.start()
    execute(app, f"UPDATE embedq_servers SET host = 'elsewhere', heartbeat_at = heartbeat_at - {60 * SECOND}")
    silent = doctor(app.settings.url).about("process-dead")
    assert silent["severity"] == "warning"
    assert "has sent no heartbeat for 1 min" in silent["problem"]
    assert "or is cut off" in silent["advice"]


def test_a_process_whose_threads_say_nothing_while_its_lock_is_held(app: EmbedQ) -> None:
    app.start()
    execute(app, f"UPDATE embedq_servers SET heartbeat_at = heartbeat_at - {60 * SECOND}")
    silent = doctor(app.settings.url).about("process-silent")
    assert silent["severity"] == "error"
    assert f"process {os.getpid()} on " in silent["problem"]
    assert "has sent no heartbeat for 1 min" in silent["problem"]


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("/usr/bin/uwsgi --master --module shop:app", "uWSGI needs --enable-threads, and --lazy-apps or --py-call-"),
        ("/usr/bin/python -m shop", "it is suspended (a paused container, a laptop that slept), swaps, "),
        (None, "it is suspended"),
    ],
)
def test_where_uwsgi_keeps_threads_from_running_the_advice_is_its_options(
    app: EmbedQ, command: str | None, advice: str
) -> None:
    # The uWSGI that can be installed always runs threads: see tests/webservers/test_refusals.py.
    app.start()
    [server] = app.servers()
    silent = ObservedProcess(server=server, state=ProcessState.SILENT, silence=60.0, pid=server.pid, command=command)
    [finding] = processes.check([silent], now=app.clock.now()).findings
    assert (finding.code, finding.severity.value) == ("process-silent", "error")
    assert finding.advice.startswith(advice)
    assert finding.details == ((command,) if command else ())


def test_processes_of_different_versions(app: EmbedQ) -> None:
    with EmbedQ(app.settings.url).start():
        app.start()
        execute(app, "UPDATE embedq_servers SET version = '0.0.9' WHERE id = 1")
        found = doctor(app.settings.url).about("versions-differ")
        assert f"0.0.9, {embedq.__version__}" in found["problem"]
        execute(app, "UPDATE embedq_servers SET version = '0.0.9'")
        assert doctor(app.settings.url).about("version-of-the-doctor")["severity"] == "note"


def test_processes_without_a_leader(app: EmbedQ) -> None:
    app.start()
    execute(app, "UPDATE embedq_servers SET started_at = started_at - 100000000")
    # Its holder is a process that is not there, and it lasts.
    eventually(lambda: app.servers()[0].leader)
    execute(app, "UPDATE embedq_leases SET holder = 99")
    assert doctor(app.settings.url).about("no-leader")["severity"] == "error"


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_a_job_from_the_future_shows_a_clock_that_was_set_back(app: EmbedQ) -> None:
    tomorrow = FakeClock(SystemClock().now() + 24 * HOUR)
    with closing(EmbedQ(app.settings.url, clock=tomorrow).connect()) as other:
        other.enqueue(nothing)
    found = doctor(app.settings.url).about("clock-set-back")
    assert found["severity"] == "error"
    assert "1 d from now" in found["problem"] or "23 h from now" in found["problem"]


@linux
def test_a_process_that_registered_before_it_began_shows_a_clock_that_was_moved_forward(app: EmbedQ) -> None:
    app.start()
    assert "clock-moved-forward" not in doctor(app.settings.url).codes
    # What a clock that jumps by ten days does to it.
    execute(app, f"UPDATE embedq_servers SET started_at = started_at - {240 * HOUR}")
    assert "by 9 d or more" in doctor(app.settings.url).about("clock-moved-forward")["problem"]


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_a_queue_that_no_live_process_works(app: EmbedQ) -> None:
    app.options(queue="mail").enqueue(nothing)
    app.options(queue="letters").enqueue_in(60, nothing)
    app.enqueue(nothing)
    with EmbedQ(app.settings.url, queues=["default", "low"]).start():
        found = [one for one in doctor(app.settings.url).findings if one["code"] == "queue-unserved"]
    assert [(one["severity"], one["problem"].split("'")[1]) for one in found] == [
        ("warning", "letters"),
        ("error", "mail"),
    ]
    assert "default, low" in found[0]["advice"]


def test_a_queue_whose_oldest_job_waits_for_too_long(app: EmbedQ) -> None:
    past = FakeClock(SystemClock().now() - HOUR)
    with closing(EmbedQ(app.settings.url, clock=past).connect()) as other:
        other.options(queue="mail").enqueue(nothing)
    # It says that it works all queues, and does not.
    with EmbedQ(app.settings.url, queues=["default"]).start():
        execute(app, "UPDATE embedq_servers SET queues = NULL")
        assert "due for 1 h, of 1 job waiting" in doctor(app.settings.url).about("queue-late")["problem"]
        assert doctor(app.settings.url, "--max-wait", "7200").findings == []


@linux
def test_parked_jobs_name_what_they_need_and_processes_of_two_apps_are_named(
    app: EmbedQ, tmp_path: Path, children: list[Child]
) -> None:
    @app.job(name="shop.mail")
    def mail() -> None: ...

    mail.enqueue()
    parked = mail.enqueue()
    del REGISTRY._by_name["shop.mail"]
    app.start()
    eventually(lambda: parked.state is JobState.PARKED)
    found = doctor(app.settings.url).about("jobs-parked")
    assert found["severity"] == "error"
    assert found["problem"] == "2 jobs parked: task shop.mail is required, which no live process has"
    assert "aliases=" in found["advice"]
    assert found["details"] == [f"for example job {parked.id - 1}: embedq show {parked.id - 1}"]
    other = run_child(children, SERVER, app.settings.url, cwd=tmp_path)
    apps = doctor(app.settings.url).about("two-apps")
    assert [detail.split(":")[0] for detail in apps["details"]] == [
        f"process {os.getpid()} in {os.getcwd()}",
        f"process {other.process.pid} in {tmp_path}",
    ]


def test_jobs_that_failed_for_good_are_a_warning_for_a_day_and_a_note_after_it(app: EmbedQ) -> None:
    app.start()
    dead = app.enqueue(fail)
    dead.wait(10)
    found = doctor(app.settings.url).about("jobs-died")
    assert found["details"] == [f"1 of tests.doctor.test_doctor:fail, the latest job {dead.id}"]
    execute(app, f"UPDATE embedq_jobs SET finished_at = finished_at - {25 * HOUR}")
    said = doctor(app.settings.url)
    assert (said.code, said.codes) == (0, ["jobs-dead"])


def test_attempts_that_mostly_fail(app: EmbedQ) -> None:
    app.start()
    for handle in app.enqueue_many([app.call(fail) for _ in range(20)]):
        handle.wait(10)
    assert "of 20 attempts in the last hour 20 failed" in doctor(app.settings.url).about("attempts-fail")["problem"]


def test_jobs_in_trouble_are_found_on_every_database(home: Home, url: str) -> None:
    app = EmbedQ(url, secret_key="0123456789abcdef").connect()
    overdue, suspect, gone = (app.enqueue(nothing) for _ in range(3))
    dead = app.enqueue(nothing)
    now = app.clock.now()
    move = "UPDATE embedq_jobs SET state = '{}' WHERE id = {}"
    for handle, state in ((overdue, "running"), (gone, "running"), (gone, "parked"), (dead, "running"), (dead, "dead")):
        home.execute(url, move.format(state, handle.id))
    home.execute(url, f"UPDATE embedq_jobs SET overdue_at = {now}, server_id = 7 WHERE id = {overdue.id}")
    home.execute(url, f"UPDATE embedq_jobs SET crashes = 2 WHERE id = {suspect.id}")
    home.execute(url, f"UPDATE embedq_jobs SET needs = 'python 2.7' WHERE id = {gone.id}")
    home.execute(
        url, f"UPDATE embedq_jobs SET finished_at = {now}, delete_at = {now + HOUR} WHERE id = {dead.id}"
    )  # fmt: skip
    app.options(queue="mail").enqueue(nothing)
    app.enqueue_in(60, nothing)
    app.close()
    said = doctor(url)
    jobs = {one["code"]: one for one in said.findings if one["section"] == "Jobs"}
    assert set(jobs) == {"no-process", "jobs-parked", "jobs-overdue", "jobs-suspect", "jobs-died"}
    assert jobs["no-process"]["problem"] == "no process runs jobs, with 1 job due"
    assert jobs["jobs-parked"]["problem"].startswith("1 job parked: python 2.7 is required")
    assert jobs["jobs-overdue"]["details"] == [f"job {overdue.id}: tests.doctor.test_doctor:nothing"]
    assert jobs["jobs-suspect"]["problem"].startswith("1 job ")
    assert jobs["jobs-died"]["details"] == [f"1 of tests.doctor.test_doctor:nothing, the latest job {dead.id}"]


# -- recurring jobs ----------------------------------------------------------------------------------------------------


def test_recurring_jobs_that_are_late_broken_failing_or_paused(app: EmbedQ) -> None:
    for name in ("late", "broken", "rests"):
        app.recurring(name, "0 2 * * *", nothing)
    app.recurring("fails", every(seconds=1), fail)
    app.start()
    eventually(lambda: app.jobs(state=JobState.DEAD))
    app.pause_recurring("rests")
    app.stop()
    failed = app.jobs(schedule="fails")[0]
    execute(app, f"UPDATE embedq_schedules SET next_fire_at = {app.clock.now() - 2 * HOUR} WHERE name = 'late'")
    execute(
        app,
        """UPDATE embedq_schedules SET spec = '{"cron":"0 2 * * *","tz":"Mars/Olympus"}'
                    WHERE name = 'broken'""",
    )
    said = doctor(app.settings.url)
    assert said.about("schedule-late")["problem"] == "recurring job 'late' should have fired 2 h ago"
    assert said.about("schedule-broken")["problem"].startswith("recurring job 'broken' cannot fire: ")
    assert said.about("schedule-fails")["advice"] == f"embedq show {failed.id}"
    assert said.about("schedule-paused")["details"] == ["rests"]


# -- SQLite ------------------------------------------------------------------------------------------------------------


def path_of(app: EmbedQ) -> Path:
    return Path(app.settings.url.removeprefix("sqlite:///"))


@linux
def test_a_reader_that_never_ends_is_named_once_the_log_has_grown(
    app: EmbedQ, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LOG_LIMIT", 2 * 10**6)
    reader = run_child(children, HOLDER, path_of(app), "BEGIN")
    with closing(sqlite3.connect(path_of(app), isolation_level=None)) as connection:
        connection.execute("CREATE TABLE big (content)")
        connection.execute("INSERT INTO big VALUES (zeroblob(3000000))")
    found = doctor(app.settings.url).about("log-grows")
    assert "has grown to 3.0 MB" in found["problem"]
    assert [detail.split(":")[0] for detail in found["details"]] == [f"process {reader.process.pid} is reading"]


@linux
def test_a_transaction_that_blocks_all_writes_is_named(app: EmbedQ, children: list[Child]) -> None:
    writer = run_child(children, HOLDER, path_of(app), "BEGIN IMMEDIATE")
    assert f"process {writer.process.pid} keeps the file locked" in doctor(app.settings.url).about(
        "write-lock-held"
    )["problem"]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_key_and_files_that_others_may_open(app: EmbedQ) -> None:
    app.enqueue(nothing)
    folder = path_of(app).with_name(path_of(app).name + ".embedq")
    (folder / "key").chmod(0o644)
    folder.chmod(0o777)
    path_of(app).chmod(0o666)
    said = doctor(app.settings.url)
    assert f"chmod 600 {folder}/key" in said.about("key-file")["problem"]
    assert said.about("folder-open")["advice"] == f"chmod go-w {folder}"
    assert said.about("file-open-to-all")["advice"] == f"chmod o-w {path_of(app)}"


def test_a_network_filesystem_that_was_accepted_is_still_reported(app: EmbedQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "filesystem", lambda path, *rest: "nfs4")
    found = doctor(app.settings.url).about("network-filesystem")
    assert (found["severity"], "(nfs4)" in found["problem"]) == ("error", True)


@pytest.mark.parametrize(("free", "found"), [(5 * 10**6, "error"), (500 * 10**6, "warning"), (5 * 10**9, None)])
def test_little_room_on_the_disk(free: int, found: str | None) -> None:
    section = Section("Database")
    databases.check_free_space(section, free, Path("/srv"))
    assert [finding.severity.value for finding in section.findings] == ([] if found is None else [found])


def test_a_sqlite_that_lacks_what_is_needed_is_refused_with_the_version() -> None:
    with pytest.raises(StorageUnavailableError, match=r"has SQLite 3\.37\.2, and embedq needs 3\.38\.0 or newer"):
        failures.refuse_old_sqlite((3, 37, 2))
    failures.refuse_old_sqlite((3, 38, 0))


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every open transaction is an old one, and one connection a crowd."""
    monkeypatch.setattr(databases, "OPEN_SECONDS", -1)
    monkeypatch.setattr(databases, "CONNECTIONS_HIGH", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("home", [kind for kind in KINDS if kind == "postgresql"], indirect=True)
def test_postgresqls_open_transactions_and_tables_without_vacuum_are_found(home: Home, url: str) -> None:
    import psycopg

    home.execute(url, "ALTER TABLE embedq_jobs SET (autovacuum_enabled = false)")
    try:
        with psycopg.connect(url.partition("?")[0], application_name="forgotten") as other:
            other.execute("SELECT 1")
            said = doctor(url)
            pid = other.info.backend_pid
    finally:
        home.execute(url, "ALTER TABLE embedq_jobs RESET (autovacuum_enabled)")
    [found] = [
        one for one in said.findings if one["code"] == "transaction-open" and f"session {pid} " in one["problem"]
    ]
    assert ", idle: rows" in found["problem"]
    assert found["details"] == ["forgotten"]
    assert any("embedq_jobs" in one["problem"] for one in said.findings if one["code"] == "autovacuum-off")
    assert said.about("connections")["severity"] == "warning"


@pytest.mark.parametrize("home", [kind for kind in KINDS if kind == "postgresql"], indirect=True)
def test_a_young_transaction_is_reported_where_much_has_died_since(
    home: Home, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    # As if half a minute were over.
    monkeypatch.setattr(databases, "BUSY_SECONDS", -1)
    # Other tests' rows have died in these tables, too.
    monkeypatch.setattr(databases, "BUSY_DEAD_ROWS", 1_000_000_000)
    with (
        closing(embedq.EmbedQ(url).connect()) as app,
        psycopg.connect(url.partition("?")[0], application_name="a backup") as other,
    ):
        task = app.job(name="shout")(print)
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")

        def told() -> bool:
            found = [one for one in doctor(url).findings if one["code"] == "transaction-open"]
            return any(one["details"] == ["a backup"] and "every claim skips them" in one["problem"] for one in found)

        assert not told()
        monkeypatch.setattr(databases, "BUSY_DEAD_ROWS", 10)
        for handle in [app.enqueue_in(3600, task) for _ in range(20)]:
            handle.cancel()
        app.close()
        # The server's statistics come a little later.
        eventually(told, seconds=60)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("home", [kind for kind in KINDS if kind == "mysql"], indirect=True)
def test_open_transactions_on_mysql_are_found_by_a_user_who_may_see_them(url: str) -> None:
    import pymysql

    from embedq.storage.mysql.address import parse

    assert doctor(url).about("transactions-unseen")["severity"] == "note"
    entitled = f"{MYSQL.rpartition('/')[0]}/{url.rpartition('/')[2]}"
    with pymysql.connect(**parse(entitled).arguments, database=parse(entitled).database) as other:
        other.begin()
        with other.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID() FROM embedq_identity")
        said = doctor(entitled)
        [(thread,)] = cursor.fetchall()
    # Others on this server may have one open as well.
    [found] = [
        one for one in said.findings if one["code"] == "transaction-open" and f"thread {thread} of " in one["problem"]
    ]
    assert "KILL" in found["advice"]
    assert said.about("connections")["severity"] == "warning"

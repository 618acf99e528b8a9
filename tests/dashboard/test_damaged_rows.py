"""Rows that were written to by hand, or that rot, are shown as damaged: on every page, in the API and in commands."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedq import Discard, EmbedQ, dashboard
from embedq.cli import main
from tests.dashboard.visitors import Visitor, words
from tests.databases import Home
from tests.support import cli_runner, resume_registry

FAR, EARLY, LATE = 9_223_372_036_854_775_807, -9_223_372_036_854_775_808, 300_000_000_000_000_000
MOMENTS = [FAR, EARLY, LATE]

PAGES = [
    "/", "/?span=week", "/jobs", "/jobs?size=25", "/jobs?error=bad", "/jobs?argument=7", "/jobs?tag=x", "/dead",
    "/recurring", "/recurring/calendar", "/recurring/of/nightly", "/queues", "/limits", "/servers", "/tasks?span=day",
    "/tasks/of/t:work", "/audit", "/api", "/api/stats", "/api/health", "/api/history", "/api/jobs", "/api/queues",
    "/api/tasks", "/api/servers", "/api/schedules", "/api/audit",
]  # fmt: skip
STATES = ["ready", "scheduled", "awaiting", "succeeded", "dead", "parked", "retrying", "running", "cancelled"]


class Damaged:
    """A queue with a bit of everything, none of which runs any more."""

    def __init__(self, app: EmbedQ, home: Home) -> None:
        self.app, self.home = app, home
        self.visitor = Visitor(dashboard.wsgi(app, authorize=lambda request: True))
        self.jobs: dict[str, int] = {}
        self.fill()

    def fill(self) -> None:
        app = self.app

        @app.job(name="t:work", tags=["x"])
        def work(n: int) -> int:
            from embedq import current_job

            current_job().log(f"number {n}")
            if n < 0:
                raise Discard("bad number")
            return n

        done, dead = work.enqueue(7), work.enqueue(-7)
        app.recurring("nightly", "0 3 * * *", work, 1)
        app.start()
        for job in (done, dead):
            job.wait(timeout=20)
        app.trigger_recurring("nightly").wait(timeout=20)
        app.stop()
        waiting = work.options(expires_in=60).enqueue_in(3600, 1)
        self.jobs = {
            "succeeded": done.id, "dead": dead.id, "scheduled": waiting.id, "awaiting": waiting.then(work, 2).id,
            "ready": work.enqueue(3).id, "running": work.enqueue(4).id, "retrying": work.enqueue_in(3600, 5).id,
            "parked": work.enqueue(6).id, "cancelled": work.enqueue(8).id,
        }  # fmt: skip
        app.job(self.jobs["cancelled"]).cancel()
        now = app.clock.now()
        self.run(
            "INSERT INTO embedq_servers (id, uuid, host, hostname, pid, version, workers, started_at, heartbeat_at) "
            f"VALUES (77, 'u', 'h', 'host', 1, '0', 1, {now}, {now})"
        )
        self.run(
            f"UPDATE embedq_jobs SET state = 'running', server_id = 77, started_at = {now}, attempt = 1, claim = 1 "
            f"WHERE id = {self.jobs['running']}"
        )
        for state in ("retrying", "parked"):
            self.run(f"UPDATE embedq_jobs SET state = '{state}' WHERE id = {self.jobs[state]}")
        app.actions.retry(actor="ada", ids=[99])
        # Of the same kind as another, so that damaged ones add up.
        self.run("UPDATE embedq_counters SET name = 'other' WHERE ending = 'failed'")
        self.run("UPDATE embedq_counters SET ending = 'succeeded' WHERE ending = 'failed'")

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        return self.home.execute(self.app.settings.url, sql)

    def look(self) -> dict[str, str]:
        """Everything that can be looked at; what each page says. Fails where something is not shown."""
        self.visitor.site.cache.clear()
        pages = [
            *PAGES,
            *(f"/jobs?state={state}" for state in STATES),
            *(f"/api/jobs?state={state}" for state in STATES),
        ]
        for number in self.jobs.values():
            pages += [f"/jobs/{number}", f"/jobs/{number}/logs", f"/api/jobs/{number}"]
        found = {}
        for path in pages:
            answer = self.visitor.get(path)
            allowed = (200, 503) if path == "/api/health" else (200,)
            assert answer.status_code in allowed, (path, answer.status_code, words(answer.text)[:600])
            found[path] = answer.text if path.startswith("/api") else words(answer.text)
            if path.startswith("/api"):
                json.loads(answer.text)
        [action] = self.app.actions.log(limit=1).actions
        assert self.visitor.get(f"/audit/{action.id}").status_code == 200
        self.follow_pages()
        self.ask()
        return found

    def follow_pages(self) -> None:
        """Paging by one meets every job once, and ends."""
        for state in ("", "&state=succeeded", "&state=scheduled&state=retrying"):
            cursor, met = "", []
            for _ in range(30):
                page = self.visitor.get(f"/api/jobs?size=1{state}{cursor}").json
                met += [job["id"] for job in page["jobs"]]
                if page["next"] is None:
                    break
                cursor = f"&cursor={page['next']}"
            else:
                raise AssertionError("it never ends")
            assert len(met) == len(set(met))

    def ask(self) -> None:
        """The same from Python."""
        app = self.app
        for job in app.jobs(limit=1000):
            job.as_dict()
            assert repr(job)
            app.job(job.id).attempts()
            app.job(job.id).logs()
        app.stats()
        app.schedules()
        app.servers()
        app.occurrences("nightly")
        app.monitor.servers()
        app.monitor.queues()


COMMANDS = [
    ["jobs"], ["jobs", "--json"], ["stats"], ["stats", "--json"], ["schedules"], ["schedules", "--json"],
    ["servers"], ["servers", "--json"], ["doctor"], ["doctor", "--json"],
]  # fmt: skip


@pytest.fixture(scope="module")
def damaged(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    """On each database; without the trigger of the other tests, which refuses states that are none."""
    folder = tmp_path_factory.mktemp("damaged")
    with resume_registry(), closing(EmbedQ(home.missing(folder, "damaged"), stop_timeout=5).connect()) as app:
        yield Damaged(app, home)


def commands(damaged: Damaged) -> None:
    for command in [*COMMANDS, *(["show", str(number)] for number in damaged.jobs.values())]:
        done = cli_runner().invoke(main, ["--url", damaged.app.settings.url, *command])
        assert done.exit_code in (0, 1), (command, done.output, done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)


CASES: list[tuple[str, str, str, list[Any]]] = [
    ("jobs", "state", "id IN (3, 4, 5, 6, 7, 8)", ["'rotten'", "''"]),
    ("jobs", "{trigger}", "parent_id IS NOT NULL", ["'rotten'", "NULL"]),
    ("jobs", "created_at", "1 = 1", MOMENTS), ("jobs", "run_at", "1 = 1", MOMENTS),
    ("jobs", "expires_at", "1 = 1", MOMENTS), ("jobs", "started_at", "1 = 1", [*MOMENTS, "NULL"]),
    ("jobs", "finished_at", "finished_at IS NOT NULL", [*MOMENTS, "NULL"]),
    ("jobs", "delete_at", "delete_at IS NOT NULL", MOMENTS),
    ("jobs", "progress", "1 = 1", ["{inf}", "-{inf}", "-5", "1e300"]),
    ("jobs", "tags", "1 = 1", ["'{{'", "'5'", "'{{\"a\": 1}}'", "'[[1], null]'"]),
    ("jobs", "payload", "1 = 1", ["'[['", "'5'", "''", "'[1, 2, 3]'"]),
    ("jobs", "options", "1 = 1", ["'{{'", "'5'", "'{{\"timeout\": \"x\", \"retry\": 5, \"retention\": 7}}'"]),
    ("jobs", "code", "1 = 1", ["'{{'", "'5'"]), ("jobs", "result", "state = 'succeeded'", ["'{{'", "''"]),
    ("jobs", "attempt", "1 = 1", [2_147_483_647, -5]), ("jobs", "crashes", "1 = 1", [2_147_483_647, -5]),
    ("jobs", "priority", "1 = 1", [2_147_483_647, -2_147_483_647]), ("jobs", "server_id", "1 = 1", ["NULL", FAR, -1]),
    ("jobs", "parent_id", "1 = 1", ["id", FAR, -1]), ("jobs", "name", "1 = 1", ["''"]),
    ("jobs", "executor", "1 = 1", ["'rotten'", "''"]), ("jobs", "queue", "1 = 1", ["''"]),
    ("jobs", "cancel_requested_at", "1 = 1", MOMENTS), ("jobs", "overdue_at", "1 = 1", MOMENTS),
    ("attempts", "ending", "1 = 1", ["'rotten'"]), ("attempts", "started_at", "1 = 1", MOMENTS),
    ("attempts", "finished_at", "1 = 1", MOMENTS), ("logs", "at", "1 = 1", MOMENTS),
    ("servers", "queues", "1 = 1", ["'{{'", "'5'", "'null'", "'[[1], null]'"]),
    ("servers", "started_at", "1 = 1", MOMENTS), ("servers", "heartbeat_at", "1 = 1", MOMENTS),
    ("servers", "stopping_at", "1 = 1", MOMENTS), ("servers", "pid", "1 = 1", [-5]),
    ("schedules", "spec", "1 = 1", ["'{{'", "'5'", "'{{\"every_micros\": 1e999}}'"]),
    ("schedules", "misfire", "1 = 1", ["'{{'", "'5'"]), ("schedules", "template", "1 = 1", ["'{{'", "'5'"]),
    ("schedules", "next_fire_at", "1 = 1", MOMENTS), ("schedules", "last_fire_at", "1 = 1", MOMENTS),
    ("schedules", "last_job_id", "1 = 1", [FAR]), ("schedules", "paused_at", "1 = 1", MOMENTS),
    ("occurrences", "outcome", "1 = 1", ["'rotten'"]), ("occurrences", "fire_at", "1 = 1", MOMENTS),
    ("occurrences", "last_fire_at", "1 = 1", MOMENTS), ("occurrences", "recorded_at", "1 = 1", MOMENTS),
    ("occurrences", "occurrences", "1 = 1", [2_147_483_647, -5]),
    ("counters", "ending", "ending = 'failed'", ["'rotten'"]), ("counters", "jobs", "1 = 1", [FAR, EARLY, -5]),
    ("counters", "ran_us", "1 = 1", [FAR, EARLY]), ("counters", "waited_us", "1 = 1", [FAR, EARLY]),
    ("counters", "cpu_us", "1 = 1", [FAR, EARLY]),
    ("actions", "state", "1 = 1", ["'rotten'"]), ("actions", "search", "1 = 1", ["'{{'", "'5'", "'{{\"x\": 1}}'"]),
    ("actions", "details", "1 = 1", ["'{{'", "'5'"]), ("actions", "at", "1 = 1", MOMENTS),
    ("actions", "updated_at", "1 = 1", MOMENTS), ("actions", "finished_at", "1 = 1", MOMENTS),
    ("actions", "changed", "1 = 1", [-5]), ("actions", "expected", "1 = 1", [-5, 2_147_483_647]),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column", "where", "values"), CASES, ids=lambda value: str(value)[:20])
def test_a_damaged_column_is_shown_everywhere(
    damaged: Damaged, table: str, column: str, where: str, values: list[Any]
) -> None:
    mysql, postgresql = (damaged.app.settings.url.startswith(kind) for kind in ("mysql", "postgresql"))
    inf = "1e308" if mysql else "'Infinity'::float8" if postgresql else "9e999"
    column = column.format(trigger="`trigger`" if mysql else '"trigger"')
    if table == "jobs" and column == "state":
        where = f"id = {damaged.jobs['ready']}"
    key = {"jobs": "id", "logs": "id", "servers": "id", "actions": "id", "schedules": "name"}.get(table)
    backup = f"h_{table}"
    damaged.run(f"DROP TABLE IF EXISTS {backup}")
    damaged.run(f"CREATE TABLE {backup} AS SELECT * FROM embedq_{table}")
    sqlite = damaged.app.settings.url.startswith("sqlite")
    try:
        # What is shown is worked out by the same code for all databases; on servers one of the values will do.
        for value in values if sqlite else values[:1]:
            damaged.run(f"UPDATE embedq_{table} SET {column} = {str(value).format(inf=inf)} WHERE {where}")
            said = damaged.look()
            if table == "jobs" and column in ("run_at", "created_at", "finished_at", "state"):
                number = damaged.jobs["ready" if column == "state" else "succeeded"]
                assert "Damaged Some stored values of this job cannot be shown" in said[f"/jobs/{number}"]
                assert column in json.loads(said[f"/api/jobs/{number}"])["damaged"]
                assert "damaged" in said["/jobs"]
        if sqlite:
            commands(damaged)
    finally:
        if key is None:
            damaged.run(f"DELETE FROM embedq_{table}")
            names = ", ".join(_columns(damaged, table))
            damaged.run(f"INSERT INTO embedq_{table} ({names}) SELECT {names} FROM {backup}")
        else:
            damaged.run(
                f"UPDATE embedq_{table} SET {column} = (SELECT {column} FROM {backup} WHERE {backup}.{key} = "
                f"embedq_{table}.{key})"
            )
        damaged.run(f"DROP TABLE {backup}")


FUZZED = [(table, column) for table, column, _, _ in CASES]
ROTTEN = st.one_of(
    st.sampled_from([FAR, EARLY, LATE, 0, -1]),
    st.sampled_from(["'rotten'", "''", "'{'", "'[[1], null]'", "'null'", "NULL", "9e999", "-9e999", "1.5"]),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=8).filter(lambda text: "\0" not in text).map(lambda text: "'" + text.replace("'", "''") + "'"),
)


@pytest.fixture(scope="module")
def rotting(home_of: Callable[[str], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    home, folder = home_of("sqlite"), tmp_path_factory.mktemp("rotting")
    with resume_registry(), closing(EmbedQ(home.missing(folder, "rotting"), stop_timeout=5).connect()) as app:
        yield Damaged(app, home)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(damage=st.lists(st.tuples(st.sampled_from(FUZZED), ROTTEN, st.booleans()), min_size=3, max_size=12))
def test_whatever_is_damaged_at_once_everything_is_shown(
    rotting: Damaged, damage: list[tuple[tuple[str, str], Any, bool]]
) -> None:
    file = rotting.app.settings.url.removeprefix("sqlite:///")
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as database,
        closing(sqlite3.connect(":memory:")) as sound,
    ):
        database.backup(sound)
        try:
            for (table, column), value, few in damage:
                where = "rowid % 2 = 0" if few and table in ("jobs", "logs", "actions", "servers") else "1 = 1"
                # What the schema itself refuses, no hand has written.
                with suppress(sqlite3.Error):
                    name = column.format(trigger='"trigger"')
                    database.execute(f"UPDATE embedq_{table} SET {name} = {value} WHERE {where}")
            rotting.look()
        finally:
            sound.backup(database)


def _columns(damaged: Damaged, table: str) -> list[str]:
    """Those that are stored as they are given."""
    if damaged.app.settings.url.startswith("sqlite"):
        return [str(row[1]) for row in damaged.run(f"PRAGMA table_info(embedq_{table})")]
    schema = "DATABASE()" if damaged.app.settings.url.startswith("mysql") else "current_schema()"
    rows = damaged.run(
        f"SELECT column_name FROM information_schema.columns WHERE table_schema = {schema} "
        f"AND table_name = 'embedq_{table}' AND COALESCE(generation_expression, '') = ''"
    )
    return [str(row[0]) for row in rows]

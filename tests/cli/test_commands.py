"""The commands that look at jobs and act on them, as a person or a script calls them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import Discard, EmbedQ, JobState, Retry, current_job
from embedq.cli import main
from embedq.storage.sqlite.migrations import VERSIONS
from tests.databases import Home, SQLiteHome
from tests.support import ROOT, cli_runner, eventually

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202e\u2028\x00evil\nname 日本"

JOB_KEYS = {
    "id", "state", "name", "call", "arguments", "source", "queue", "executor", "priority", "tags", "idempotency_key",
    "parent_id", "trigger", "schedule", "created_at", "run_at", "expires_at", "started_at", "finished_at", "delete_at",
    "attempt", "crashes", "cancel_requested", "overdue", "server", "error", "result", "progress", "progress_note",
    "damaged",
}  # fmt: skip
SCHEDULE_KEYS = {
    "name", "cron", "in_words", "timezone", "every_seconds", "misfire", "overlap", "task", "queue", "paused",
    "next_fire_at", "last_fire_at", "last_job_id", "missing_since", "error",
}  # fmt: skip
READING = [
    ["jobs"], ["show", "1"], ["retry", "1"], ["retry", "--all", "--yes"], ["cancel", "1"], ["cancel", "--all", "--yes"],
    ["schedules"], ["schedules", "show", "x"], ["schedules", "pause", "x"], ["schedules", "resume", "x"],
    ["schedules", "trigger", "x"], ["schedules", "remove", "x"], ["servers"], ["stats"], ["limits"],
    ["limits", "set", "x", "--reset"],
]  # fmt: skip


@pytest.fixture
def home() -> Home:
    """A file: these tests damage it, look into it past embedq, and store names that only SQLite can hold."""
    return SQLiteHome()


@dataclass(frozen=True)
class Said:
    """What a command wrote, and the code it left with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(url: str | None, *arguments: str, answer: str | None = None, columns: int = 100) -> Said:
    """Run a command in this process; it must not fail in a way that nobody foresaw."""
    given = [] if url is None else ["--url", url]
    environment = {"EMBEDQ_URL": None, "NO_COLOR": None, "COLUMNS": str(columns)}
    result = cli_runner().invoke(main, [*given, *arguments], input=answer, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return Said(result.exit_code, result.stdout, result.stderr)


def on(app: EmbedQ, *arguments: str, answer: str | None = None, columns: int = 100) -> Said:
    """The same, on an app's database."""
    return run(app.settings.url, *arguments, answer=answer, columns=columns)


def harmless(text: str) -> bool:
    """Whether a terminal only prints it."""
    return all(line.isprintable() for line in text.split("\n"))


def greet(name: str, greeting: str = "hello") -> str:
    current_job().log(f"greeting {name}")
    return f"{greeting} {name}"


def fail(reason: str) -> None:
    raise Discard(reason)


def unstable() -> None:
    raise ConnectionError("no route to host")


def put_in_meta() -> None:
    current_job().meta.update(stage="upload\x1b[31m", parts=[1, 2])


def nothing() -> None:
    pass


def ids(said: Said) -> list[int]:
    return [job["id"] for job in said.json["jobs"]]


@pytest.fixture
def busy(app: EmbedQ) -> EmbedQ:
    """An app with a job in most states: 1 succeeded, 2 dead, 3 scheduled, 4 awaiting, 5 retrying, 6 ready."""
    app.start()
    app.options(queue="mail", tags=["vip"]).enqueue(greet, "ada", greeting="hi").wait(10)
    dead = app.enqueue(fail, "no such user")
    dead.wait(10)
    later = app.enqueue_in(5400, greet, "eve")
    later.then(greet, embedq.PARENT_RESULT)
    retrying = app.options(retry=Retry(attempts=3)).enqueue(unstable)
    eventually(lambda: retrying.state is JobState.RETRYING)
    app.stop()
    app.enqueue(nothing)
    return app


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_with_their_calls_and_last_errors(busy: EmbedQ) -> None:
    said = on(busy, "jobs")
    lines = said.out.splitlines()
    assert [line.split()[:2] for line in lines if line.split()[0].isdigit()] == [
        ["6", "ready"], ["5", "retrying"], ["4", "awaiting"], ["3", "scheduled"], ["2", "dead"], ["1", "succeeded"],
    ]  # fmt: skip
    assert 'tests.cli.test_commands:greet("ada", greeting="hi")' in said.out
    assert "attempt 1: ConnectionError: no route to host" in said.out
    assert "in 1 h" in said.out
    assert (said.code, said.err) == (0, "")


def test_a_list_fits_a_terminal_of_80_columns(busy: EmbedQ) -> None:
    busy.enqueue(greet, "x" * 500)
    assert max(map(len, on(busy, "jobs", columns=80).out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--state", "dead"], [2]),
        (["--queue", "mail"], [1]),
        (["--name", "tests.cli.test_commands:greet"], [4, 3, 1]),
        (["--tag", "vip"], [1]),
        (["--error", "route"], [5]),
        (["--parent", "3"], [4]),
        (["--before", "3"], [2, 1]),
        (["--limit", "2"], [6, 5]),
        (["--state", "ready", "--queue", "mail"], []),
        (["--schedule", "nightly"], []),
    ],
)
def test_jobs_are_found_by_all_filters_given(busy: EmbedQ, filters: list[str], found: list[int]) -> None:
    assert ids(on(busy, "jobs", *filters, "--json")) == found


def test_pages_lead_through_all_jobs(busy: EmbedQ) -> None:
    seen: list[int] = []
    before: list[str] = []
    while True:
        page = on(busy, "jobs", "--json", "--limit", "2", *before)
        seen += ids(page)
        if page.json["next_before"] is None:
            break
        before = ["--before", str(page.json["next_before"])]
    assert seen == [6, 5, 4, 3, 2, 1]
    assert "--before 5" in on(busy, "jobs", "--limit", "2").err


def test_a_list_as_json_has_everything_stored(busy: EmbedQ) -> None:
    document = on(busy, "jobs", "--json").json
    assert set(document) == {"jobs", "next_before"}
    job = document["jobs"][-1]
    assert set(job) == JOB_KEYS
    assert job["call"] == 'tests.cli.test_commands:greet("ada", greeting="hi")'
    assert (job["arguments"], job["result"], job["tags"]) == ([["ada"], {"greeting": "hi"}], "hi ada", ["vip"])
    assert datetime.fromisoformat(job["finished_at"]).utcoffset() == timedelta(0)


def test_an_empty_list_is_a_sentence(app: EmbedQ) -> None:
    assert on(app, "jobs").out == "no jobs yet\n"
    assert on(app, "jobs", "--state", "dead").out == "no jobs match\n"


# -- show --------------------------------------------------------------------------------------------------------------


def test_show_has_all_that_is_stored_of_a_job(app: EmbedQ) -> None:
    with app.start():
        job = app.options(queue="mail", priority=3, tags=["a"], idempotency_key="k").enqueue(greet, "ada")
        job.wait(10)
        job.then(nothing).wait(10)
    out = on(app, "show", str(job.id)).out
    for part in (
        'tests.cli.test_commands:greet("ada")', "succeeded", "mail, priority 3", "took", '"hello ada"', "greeting ada",
        "Children", "tests.cli.test_commands:nothing()", "on success", "kept until", "Attempts",
    ):  # fmt: skip
        assert part in out


def test_show_has_each_attempt_and_prints_an_equal_traceback_once(app: EmbedQ) -> None:
    import tenacity

    with app.start():
        job = app.options(retry=Retry(attempts=3, wait=tenacity.wait_none())).enqueue(unstable)
        job.wait(10)
    out = on(app, "show", str(job.id)).out
    assert out.count("Traceback (most recent call last)") == 1
    assert out.count("same traceback as attempt 1") == 2
    attempts = on(app, "show", str(job.id), "--json").json["attempts"]
    assert [(one["number"], one["ending"]) for one in attempts] == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert all("no route to host" in one["traceback"] for one in attempts)


def test_show_as_json_has_the_job_and_what_belongs_to_it(busy: EmbedQ) -> None:
    document = on(busy, "show", "3", "--json").json
    assert set(document) == JOB_KEYS | {"why_waiting", "meta", "attempts", "logs", "children"}
    assert document["children"] == [
        {"id": 4, "state": "awaiting", "name": "tests.cli.test_commands:greet", "trigger": "success"}
    ]
    logs = on(busy, "show", "1", "--json").json["logs"]
    assert [(line["attempt"], line["message"]) for line in logs] == [(1, "greeting ada")]


def test_show_has_the_jobs_meta(app: EmbedQ) -> None:
    app.start()
    job = app.enqueue(put_in_meta)
    job.wait(10)
    said = on(app, "show", str(job.id))
    assert 'Meta\n  stage = "upload\\x1b[31m"\n  parts = [1, 2]\n' in said.out
    assert on(app, "show", str(job.id), "--json").json["meta"] == {"stage": "upload\x1b[31m", "parts": [1, 2]}
    assert "Meta" not in on(app, "show", str(app.enqueue(nothing).id)).out


def test_show_has_the_source_of_a_lambda_and_unpickles_nothing(app: EmbedQ, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    job = app.enqueue(lambda: print("in a lambda"))
    connection = sqlite3.connect(app.database.path)  # type: ignore[attr-defined]
    code = json.loads(connection.execute("SELECT code FROM embedq_jobs").fetchone()[0])
    # What pickle.loads would run: os.system("touch …").
    import base64
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {trap}",)

    code["pickle"] = base64.b64encode(pickle.dumps(Trap())).decode()
    connection.execute("UPDATE embedq_jobs SET code = ?", (json.dumps(code),))
    connection.commit()
    connection.close()
    assert 'print("in a lambda")' in on(app, "show", str(job.id)).out
    assert on(app, "jobs").code == on(app, "show", str(job.id), "--json").code == 0
    assert not trap.exists()


def test_looking_at_jobs_imports_none_of_their_code(app: EmbedQ, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import pathlib; pathlib.Path('imported').touch()\ndef send(x): pass\n")
    connection = sqlite3.connect(app.database.path)  # type: ignore[attr-defined]
    app.enqueue(nothing)
    connection.execute(
        "UPDATE embedq_jobs SET name = 'shop:send', payload = ?",
        ('[[{"$":["dataclass",["shop:Order",{"id":7}]]}],{}]',),
    )
    connection.commit()
    connection.close()
    for command in (["jobs"], ["show", "1"], ["retry", "--all", "--yes"], ["cancel", "1"], ["stats"]):
        done = _process(*command, url=app.settings.url, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "shop:send(Order(id=7))" in _process("jobs", url=app.settings.url, folder=tmp_path).stdout
    assert not (tmp_path / "imported").exists()


def _process(*arguments: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedq", "--url", url, *arguments],
        capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
    )  # fmt: skip


# -- what stands in the database may be hostile ------------------------------------------------------------------------


def test_hostile_names_and_errors_reach_the_terminal_as_harmless_text(app: EmbedQ) -> None:
    @app.job(name=HOSTILE, queue=HOSTILE)
    def hostile(text: str) -> None:
        current_job().log(HOSTILE)
        current_job().progress(0.5, HOSTILE)
        raise Discard(HOSTILE)

    app.recurring(HOSTILE, embedq.every(hours=1), hostile, HOSTILE)
    with app.start():
        job = app.options(tags=[HOSTILE], idempotency_key=HOSTILE).enqueue(hostile, HOSTILE * 100)
        job.then(hostile, HOSTILE, on="failure").wait(10)
    waiting = app.enqueue(hostile, HOSTILE)
    app.trigger_recurring(HOSTILE)
    for arguments in (
        ["jobs"], ["show", "1"], ["show", "2"], ["show", str(waiting.id)], ["schedules"],
        ["schedules", "show", HOSTILE], ["schedules", "show", HOSTILE + "?"], ["stats"], ["servers"],
        ["schedules", "pause", HOSTILE],
        ["schedules", "trigger", HOSTILE], ["schedules", "remove", HOSTILE], ["retry", "1"], ["cancel", "--all", "-y"],
    ):  # fmt: skip
        said = on(app, *arguments)
        assert harmless(said.out), arguments
        assert harmless(said.err), arguments
    assert r"\x1b[2J" in on(app, "jobs").out


def test_json_holds_hostile_text_in_full_and_is_plain_ascii(app: EmbedQ) -> None:
    app.enqueue(greet, HOSTILE)
    said = on(app, "jobs", "--json")
    assert said.json["jobs"][0]["arguments"] == [[HOSTILE], {}]
    assert said.out.isascii()
    assert harmless(said.out)


# -- the database is not what it should be -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_looking_does_not_create_a_database(tmp_path: Path, arguments: list[str]) -> None:
    said = run(f"sqlite:///{tmp_path}/none.db", *arguments)
    assert (said.code, said.out) == (4, "")
    assert "there is no database at" in said.err
    assert "embedq migrate" in said.err
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    said = run(f"sqlite:///{path}", "jobs")
    assert (said.code, said.out) == (4, "")
    assert "has not been migrated" in said.err
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 1000)
    said = run(f"sqlite:///{path}", "stats")
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1
    assert "not a usable SQLite database" in said.err


def test_a_schema_newer_than_the_code_is_refused(app: EmbedQ) -> None:
    connection = sqlite3.connect(app.database.path)  # type: ignore[attr-defined]
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('embedq', 'schema_9999', 'now')"
    )
    connection.commit()
    connection.close()
    for command in ("jobs", "migrate"):
        said = on(app, command)
        assert said.code == 4
        assert "newer embedq" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "oracle://x/y", "jobs"],
        ["--url", "jobs.db", "jobs"],
        ["jobs", "--state", "lost"],
        ["jobs", "--limit", "0"],
        ["show"],
        ["show", "zero"],
        ["retry"],
        ["retry", "1", "--all"],
        ["retry", "1", "--queue", "mail"],
        ["retry", "--all", "--state", "succeeded"],
        ["cancel", "--all", "--state", "dead"],
        ["schedules", "explode"],
        ["worker"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_code_2(arguments: list[str]) -> None:
    said = run(None, *arguments)
    assert (said.code, said.out) == (2, "")
    assert "Error: " in said.err


@pytest.mark.parametrize("arguments", [["show", "77"], ["retry", "77", "78"], ["cancel", "77"]], ids=" ".join)
def test_a_job_that_is_not_there_is_code_3(app: EmbedQ, arguments: list[str]) -> None:
    said = on(app, *arguments)
    assert (said.code, said.out) == (3, "")
    assert "no job 77" in said.err


# -- retry and cancel --------------------------------------------------------------------------------------------------


def test_retry_runs_a_dead_job_again(busy: EmbedQ) -> None:
    assert on(busy, "retry", "2").out == "job 2: retried\n"
    assert busy.job(2).state is JobState.READY


def test_what_can_be_retried_is_and_the_rest_is_reported(busy: EmbedQ) -> None:
    said = on(busy, "retry", "2", "1", "99", "--json")
    assert said.code == 1
    assert said.json["matched"] == 3
    assert said.json["retried"] == 1
    assert [(one["id"], one["error"]) for one in said.json["failed"]] == [
        (1, "JobStateError"),
        (99, "JobNotFoundError"),
    ]
    assert "job 1 cannot be retried: it succeeded" in said.err
    assert busy.job(2).state is JobState.READY


def fail_many(app: EmbedQ) -> None:
    """Jobs 1 to 3 and 4 are dead, for two reasons and in two queues."""
    with app.start():
        for queue, reason in (("mail", "refused"), ("mail", "refused"), ("mail", "timeout"), ("other", "refused")):
            app.options(queue=queue).enqueue(fail, reason).wait(10)


def test_retry_all_confirms_the_number_and_then_retries_what_matches(app: EmbedQ) -> None:
    fail_many(app)
    filters = ("--queue", "mail", "--error", "refused", "--name", "tests.cli.test_commands:fail")
    declined = on(app, "retry", "--all", *filters, answer="n\n")
    assert (declined.code, declined.out) == (1, "")
    assert "Retry 2 jobs? [y/N]" in declined.err
    assert app.count_jobs(state="dead") == 4
    agreed = on(app, "retry", "--all", *filters, answer="y\n")
    assert (agreed.code, agreed.out) == (0, "retried 2 jobs\n")
    assert [job.id for job in app.jobs(state="dead")] == [4, 3]


def test_retry_all_with_yes_needs_no_confirmation(app: EmbedQ) -> None:
    fail_many(app)
    said = on(app, "retry", "--all", "--yes", "--json")
    assert said.json == {"matched": 4, "retried": 4, "failed": []}
    assert said.err == ""
    assert on(app, "retry", "--all").out == "no jobs match\n"


def test_a_confirmation_without_a_terminal_does_nothing(app: EmbedQ) -> None:
    app.enqueue(nothing)
    said = on(app, "cancel", "--all", answer="")
    assert (said.code, said.out) == (2, "")
    assert "--yes" in said.err
    assert app.job(1).state is JobState.READY


def test_cancel_ends_a_job_that_waits(busy: EmbedQ) -> None:
    assert on(busy, "cancel", "3", "6").out == "job 3: cancelled\njob 6: cancelled\n"
    assert [busy.job(job_id).state for job_id in (3, 4, 6)] == [JobState.CANCELLED] * 3


def test_cancel_requests_a_running_job_to_stop(app: EmbedQ) -> None:
    def long() -> None:
        while not current_job().cancelled:
            eventually(lambda: current_job().cancelled)

    with app.start():
        job = app.enqueue(long)
        eventually(lambda: job.state is JobState.RUNNING)
        assert on(app, "cancel", str(job.id)).out == f"job {job.id}: requested to stop; it is running\n"
        assert job.wait(10) is JobState.CANCELLED


def test_what_has_ended_cannot_be_cancelled(busy: EmbedQ) -> None:
    said = on(busy, "cancel", "1")
    assert (said.code, said.out) == (1, "")
    assert "it has ended (succeeded)" in said.err


def test_cancelling_twice_is_as_good_as_once(app: EmbedQ) -> None:
    app.enqueue(nothing)
    assert on(app, "cancel", "1").code == on(app, "cancel", "1").code == 0


def test_cancel_all_cancels_what_matches_and_has_not_ended(busy: EmbedQ) -> None:
    asked = on(busy, "cancel", "--all", "--name", "tests.cli.test_commands:unstable", answer="y\n")
    assert "Cancel 1 job? [y/N]" in asked.err
    assert asked.out == "cancelled 1 job\n"
    said = on(busy, "cancel", "--all", "--yes", "--json")
    # The continuation is cancelled with the job that it waits for.
    assert said.json == {"matched": 3, "cancelled": 3, "failed": []}
    assert [job.state for job in busy.jobs()] == [JobState.CANCELLED] * 4 + [JobState.DEAD, JobState.SUCCEEDED]


# -- recurring ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recurring(app: EmbedQ) -> EmbedQ:
    app.recurring("nightly", "30 2 * * *", greet, "ada", timezone="Europe/Berlin", misfire="skip")
    app.recurring("pulse", embedq.every(seconds=30), nothing)
    return app


def test_schedules_are_listed(recurring: EmbedQ) -> None:
    out = on(recurring, "schedules").out
    assert "30 2 * * * Europe/Berlin" in out
    assert "every 30 s" in out
    document = on(recurring, "schedules", "--json").json
    assert [set(one) for one in document["schedules"]] == [SCHEDULE_KEYS] * 2
    nightly, pulse = document["schedules"]
    assert (nightly["cron"], nightly["timezone"], nightly["every_seconds"]) == ("30 2 * * *", "Europe/Berlin", None)
    assert nightly["misfire"] == {"policy": "skip", "max": None, "grace_seconds": None}
    assert (nightly["in_words"], pulse["in_words"]) == ("at 02:30 every day", None)
    assert (pulse["cron"], pulse["every_seconds"]) == (None, 30.0)


def test_without_schedules_there_is_a_sentence(app: EmbedQ) -> None:
    assert on(app, "schedules").out.startswith("no recurring jobs")
    assert on(app, "schedules", "--json").json == {"schedules": [], "next": None}


def test_a_schedule_is_shown_with_its_next_times_and_its_ledger(recurring: EmbedQ) -> None:
    job = recurring.trigger_recurring("nightly")
    out = on(recurring, "schedules", "show", "nightly").out
    assert out.count(" 02:30:00 CE") == 5
    assert "at 02:30 every day" in out
    assert "triggered" in out
    assert f"job {job.id}" in out
    document = on(recurring, "schedules", "show", "nightly", "--json").json
    assert set(document) == SCHEDULE_KEYS | {"upcoming", "occurrences"}
    upcoming = [datetime.fromisoformat(moment) for moment in document["upcoming"]]
    assert len(upcoming) == 5
    assert upcoming[0] == datetime.fromisoformat(document["next_fire_at"])
    assert all(timedelta(hours=22) < after - before < timedelta(hours=26) for before, after in pairwise(upcoming))
    assert [(line["outcome"], line["job_id"]) for line in document["occurrences"]] == [("triggered", job.id)]


def test_a_schedule_is_paused_and_resumed(recurring: EmbedQ) -> None:
    assert on(recurring, "schedules", "pause", "pulse").out == "pulse: paused\n"
    assert "paused" in on(recurring, "schedules").out
    assert on(recurring, "schedules", "pause", "pulse", "--json").json["paused"] is True
    assert on(recurring, "schedules", "resume", "pulse").out.startswith("pulse: resumed; next ")
    assert on(recurring, "schedules", "resume", "pulse", "--json").json["paused"] is False


def test_a_schedule_is_triggered(recurring: EmbedQ) -> None:
    said = on(recurring, "schedules", "trigger", "pulse", "--json")
    assert recurring.job(said.json["job_id"]).snapshot().schedule == "pulse"
    assert ids(on(recurring, "jobs", "--schedule", "pulse", "--json")) == [said.json["job_id"]]


def test_a_schedule_is_removed(recurring: EmbedQ) -> None:
    assert on(recurring, "schedules", "remove", "pulse", "--json").json == {"name": "pulse", "removed": True}
    assert [schedule.name for schedule in recurring.schedules()] == ["nightly"]


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "trigger", "remove"])
def test_a_schedule_that_is_not_there_is_code_3(recurring: EmbedQ, verb: str) -> None:
    said = on(recurring, "schedules", verb, "weekly")
    assert (said.code, said.out) == (3, "")
    assert "no recurring job named 'weekly'" in said.err


def test_a_schedule_that_cannot_be_read_here_does_not_hide_the_others(recurring: EmbedQ) -> None:
    connection = sqlite3.connect(recurring.database.path)  # type: ignore[attr-defined]
    connection.execute("UPDATE embedq_schedules SET spec = '{\"moon\": \"full\"}' WHERE name = 'pulse'")
    connection.commit()
    connection.close()
    out = on(recurring, "schedules").out
    assert "30 2 * * *" in out
    assert "cannot be read here" in out
    document = on(recurring, "schedules", "show", "pulse", "--json").json
    assert document["upcoming"] == []
    assert "written by a newer embedq" in document["error"]


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_stats_count_jobs_by_state_and_show_what_waits(busy: EmbedQ) -> None:
    document = on(busy, "stats", "--json").json
    assert set(document) == {
        "counts", "counts_stop_at", "oldest_ready_seconds", "last_hour", "servers", "workers", "running",
    }  # fmt: skip
    assert document["counts"] == {
        "awaiting": 1, "scheduled": 1, "ready": 1, "running": 0, "retrying": 1, "succeeded": 1, "dead": 1,
        "cancelled": 0, "parked": 0,
    }  # fmt: skip
    assert set(document["oldest_ready_seconds"]) == {"default"}
    assert (document["last_hour"]["succeeded"], document["last_hour"]["failed"]) == (1, 2)
    said = on(busy, "stats")
    assert "last hour  3 attempts: 1 succeeded, 2 failed" in said.out
    assert "no process runs jobs" in said.out
    assert "embedq worker" in said.err


def test_servers_are_those_that_run_jobs(app: EmbedQ) -> None:
    assert on(app, "servers").out == "no process runs jobs\n"
    with app.start():
        eventually(lambda: app.servers()[0].leader)
        [server] = on(app, "servers", "--json").json["servers"]
        assert "leader" in on(app, "servers").out
        assert "1 process, 10 threads" in on(app, "stats").out
    assert set(server) == {
        "id", "uuid", "hostname", "pid", "version", "workers", "running", "queues", "started_at", "heartbeat_at",
        "stopping", "leader",
    }  # fmt: skip
    assert (server["pid"], server["workers"], server["queues"]) == (os.getpid(), 10, None)


def test_migrate_creates_a_database_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    assert run(url, "migrate", "--json").json == {"url": url, "created": True, "applied": list(VERSIONS)}
    assert run(url, "migrate", "--json").json == {"url": url, "created": False, "applied": []}
    assert run(url, "migrate").out == f"{url} is up to date\n"
    assert run(url, "jobs").code == 0


def test_migrate_states_what_is_wrong_with_the_place(tmp_path: Path) -> None:
    said = run(f"sqlite:///{tmp_path}/no/such/folder.db", "migrate")
    assert said.code == 4
    assert "does not exist" in said.err


# -- the frame ---------------------------------------------------------------------------------------------------------


def test_url_and_json_work_before_and_after_the_command(app: EmbedQ) -> None:
    before = run(None, "--json", "--url", app.settings.url, "jobs")
    after = run(None, "jobs", "--json", "--url", app.settings.url)
    assert before.json == after.json == {"jobs": [], "next_before": None}


def test_the_url_is_taken_from_the_environment(app: EmbedQ, tmp_path: Path) -> None:
    environment = {"EMBEDQ_URL": app.settings.url}
    assert cli_runner().invoke(main, ["jobs"], env=environment).output == "no jobs yet\n"
    other = cli_runner().invoke(main, ["--url", f"sqlite:///{tmp_path}/none.db", "jobs"], env=environment)
    assert other.exit_code == 4


def test_help_documents_the_exit_codes() -> None:
    help_text = run(None, "--help").out
    for code, meaning in ((0, "done"), (1, "failed"), (2, "wrong"), (3, "no such job"), (4, "database")):
        assert any(line.split()[:1] == [str(code)] and meaning in line for line in help_text.splitlines())


@pytest.mark.parametrize("command", [[], *[[name] for name in main.commands], ["schedules", "show"]], ids=" ".join)
def test_every_command_has_help_that_fits_80_columns(command: list[str]) -> None:
    said = run(None, *command, "--help", columns=80)
    assert said.code == 0
    assert "--json" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_the_version_is_the_packages() -> None:
    assert run(None, "--version").out == f"embedq {embedq.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from embedq.cli import main
main(["--help"], standalone_mode=False)
heavy = {"sqlite_utils", "croniter", "asyncio", "tenacity", "tabulate", "filelock", "cloudpickle"}
print("heavy:", sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr


def test_output_that_the_encoding_lacks_letters_for_still_comes(app: EmbedQ, tmp_path: Path) -> None:
    app.enqueue(greet, "日本" + "x" * 500)
    done = subprocess.run(
        [sys.executable, "-m", "embedq", "--url", app.settings.url, "jobs"],
        capture_output=True, cwd=tmp_path, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb'greet("\u65e5\u672c' in done.stdout
    assert b"..." in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path, options: list[str]) -> None:
    EmbedQ(tmp_path / "app.db").migrate()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "embedq", "--url", f"sqlite:///{tmp_path}/app.db", "stats", *options],
            stdout=full, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "Error: the output cannot be written: No space left on device\n")

"""`embedq limits`, and what `embedq show` states of a job that waits for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from click.testing import Result

import embedq
from embedq import EmbedQ, JobHandle, Limit, Rate
from embedq.cli import main
from tests.support import cli_runner, eventually


def run(app: EmbedQ, *arguments: str, columns: int = 120) -> Result:
    environment = {"EMBEDQ_URL": None, "NO_COLOR": "1", "COLUMNS": str(columns)}
    return cli_runner().invoke(main, ["--url", app.settings.url, *arguments], env=environment)


def said(app: EmbedQ, *arguments: str) -> str:
    result = run(app, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def document(app: EmbedQ, *arguments: str) -> Any:
    return json.loads(said(app, *arguments, "--json"))


def log(app: EmbedQ) -> list[tuple[str, str, str, dict[str, object]]]:
    return [(one.actor, one.verb, one.subject, one.details) for one in app.actions.log().actions]


@pytest.fixture
def reports(app: EmbedQ) -> Iterator[list[JobHandle[None]]]:
    """Five reports of acme, of which one runs, and one of a tenant with a hostile name, which has been made."""
    release = Event()

    @app.job(name="reports:make", concurrency=Limit(1, per="tenant", total=10))
    def make(tenant: str) -> None:
        if tenant == "acme":
            release.wait(60)

    jobs = [app.enqueue(make, "acme") for _ in range(5)]
    app.start()
    eventually(lambda: jobs[0].state == "running")
    app.enqueue(make, "t\x1b[2Jwo").wait(20)
    yield jobs
    release.set()


@pytest.mark.usefixtures("reports")
def test_limits_are_listed_with_their_use_and_the_keys_that_are_full(app: EmbedQ) -> None:
    app.set_limit("reports:make", total=8, actor="a\x1b[2Jda")
    text = said(app, "limits")
    head, row, *more = [line.split() for line in text.splitlines()]
    assert head == ["LIMIT", "RUN", "TOTAL", "EACH", "WAIT"]
    assert row[:5] == ["reports:make", "1", "8", "1", "4"]
    assert "full keys: acme (1 run, 1 may, 4 waiting, the oldest for " in text
    assert more[-1][:3] == ["set", "by", "a\\x1b[2Jda"]
    assert text.rstrip().endswith("in the code: total 10, each 1")
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.usefixtures("reports")
def test_the_list_in_json(app: EmbedQ) -> None:
    [limit] = document(app, "limits")["limits"]
    [key] = limit.pop("saturated")
    assert key.pop("oldest_seconds") > 0
    waiting = {"number": 4, "capped": False}
    assert key == {"key": "acme", "running": 1, "waiting": waiting, "reason": "1 run, 1 may"}
    assert limit == {
        "name": "reports:make", "total": 10, "each": 1, "code_total": 10, "code_each": 1, "set_total": None,
        "set_each": None, "changed": False, "set_by": None, "set_at": None, "rates": [], "closed_until": None,
        "running": 1, "waiting": waiting, "saturated_keys": {"number": 1, "capped": False},
    }  # fmt: skip


def test_show_gives_the_reasons_why_a_job_waits(app: EmbedQ, reports: list[JobHandle[None]]) -> None:
    last = reports[4].id
    lines = [line.strip() for line in said(app, "show", str(last)).splitlines()]
    at = lines.index("waits       behind 3 others of reports:make acme")
    assert lines[at + 1] == "limit reports:make of acme: 1 run, 1 may"
    app.pause(queue="default", reason="migra\x1btion", actor="ada")
    assert "waits       queue default is paused by ada: migra\\x1btion" in said(app, "show", str(last))
    assert document(app, "show", str(last))["why_waiting"] == (
        "queue default is paused by ada: migra\x1btion; behind 3 others of reports:make acme; "
        "limit reports:make of acme: 1 run, 1 may"
    )
    assert document(app, "show", str(reports[0].id))["why_waiting"] is None
    assert "waits  " not in said(app, "show", str(reports[0].id))
    app.resume(queue="default")


def test_a_rate_is_shown_with_what_may_start(app: EmbedQ) -> None:
    slow = embedq.limit("slow", rate=[Rate(1, per=3600), Rate(10, per=60, burst=4)])

    @app.job(name="rates:call", limits=[slow])
    def call() -> None: ...

    first, second = app.enqueue(call), app.enqueue(call)
    app.start()
    first.wait(20)
    text = said(app, "limits")
    assert "rate 1 in 3600 s: next in 59 min " in text or "rate 1 in 3600 s: next in 1 h" in text
    assert "rate 10 in 60 s, burst 4: " in text
    assert "waits       rate: next in " in said(app, "show", str(second.id))
    assert document(app, "limits")["limits"][0]["rates"][0]["free"] == 0


def test_without_limits(app: EmbedQ) -> None:
    assert said(app, "limits").startswith("no limits; ")
    assert document(app, "limits") == {"limits": []}


@pytest.mark.usefixtures("reports")
def test_a_limit_is_changed_in_part_and_reset(app: EmbedQ) -> None:
    name = "reports:make"
    assert said(app, "limits", "set", name, "--total", "4", "--actor", "ada") == f"{name}: total 4, for each key 1\n"
    # What is not given stays as it was set.
    assert said(app, "limits", "set", name, "--each", "0", "--actor", "ada") == f"{name}: total 4, for each key 0\n"
    changed = document(app, "limits", "set", name, "--reset", "--each", "2", "--actor", "ada")
    assert (changed["total"], changed["each"], changed["set_by"]) == (10, 2, "ada")
    reset = said(app, "limits", "set", name, "--reset", "--actor", "grace")
    assert reset == f"{name}: total 10, for each key 1, as in the code\n"
    assert log(app) == [
        ("grace", "set limit", f"limit {name}",
         {"total": None, "each": None, "total_before": None, "each_before": 2}),
        ("ada", "set limit", f"limit {name}", {"total": None, "each": 2, "total_before": 4, "each_before": 0}),
        ("ada", "set limit", f"limit {name}", {"total": 4, "each": 0, "total_before": 4, "each_before": None}),
        ("ada", "set limit", f"limit {name}", {"total": 4, "each": None, "total_before": None, "each_before": None}),
    ]  # fmt: skip


def test_a_number_for_each_key_of_a_limit_without_keys_is_set_with_a_hint(app: EmbedQ) -> None:
    embedq.limit("plain", total=3)
    app.set_limit("plain", total=2)
    result = run(app, "limits", "set", "plain", "--each", "1")
    assert (result.exit_code, result.stdout) == (0, "plain: total 2, for each key 1\n")
    assert "--each applies only if its jobs have a key" in result.stderr


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reports:make"], "give --total N, --each N, or --reset"),
        (["reports:make", "--total", "-1"], "-1 is not in the range"),
        (["reports:make", "--each", "many"], "'many' is not a valid integer range"),
        (["nothing", "--total", "1"], "there is no limit 'nothing'; a limit is stored when a process meets it. Known"),
    ],
)
def test_what_cannot_be_set_is_refused_with_advice(app: EmbedQ, arguments: list[str], message: str) -> None:
    result = run(app, "limits", "set", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not app.limits()[0].changed
    assert log(app) == []

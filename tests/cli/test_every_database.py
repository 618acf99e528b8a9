"""The command line says the same of every database."""

from __future__ import annotations

import json
from typing import Any

import embedq
from embedq import EmbedQ
from embedq.cli import main
from tests.support import cli_runner, eventually


def run(url: str, *arguments: str, code: int = 0) -> str:
    result = cli_runner().invoke(main, ["--url", url, *arguments], env={"NO_COLOR": "1", "COLUMNS": "120"})
    assert result.exit_code == code, result.output
    return result.stdout


def as_json(url: str, *arguments: str) -> Any:
    return json.loads(run(url, *arguments, "--json"))


def ids(url: str, *filters: str) -> list[int]:
    return [job["id"] for job in as_json(url, "jobs", *filters)["jobs"]]


def work(number: int) -> int:
    if number == 2:
        raise ValueError("two is too many")
    return number


def test_jobs_are_listed_shown_retried_cancelled_and_counted(url: str) -> None:
    app = EmbedQ(url, sigterm=False)
    task = app.job(name="cli:work", retry=embedq.NO_RETRY)(work)
    with app:
        one = app.options(tags=["näh"], queue="low").enqueue(task, 1)
        two = app.enqueue(task, 2)
        later = app.enqueue_in(3600, task, 3)
        for job in (one, two):
            job.wait(10)
        app.recurring("pulse", "0 3 * * *", task, 4)
        assert ids(url) == [later.id, two.id, one.id]
        assert ids(url, "--tag", "näh", "--queue", "low") == [one.id]
        assert ids(url, "--state", "dead", "--error", "too many") == [two.id]
        assert "ValueError: two is too many" in run(url, "show", str(two.id))
        shown = as_json(url, "show", str(two.id))
        assert shown["state"] == "dead"
        assert [attempt["ending"] for attempt in shown["attempts"]] == ["failed"]
        [server] = as_json(url, "servers")["servers"]
        assert server["workers"] == 10

        run(url, "retry", str(later.id))
        assert later.result(10) == 3
        run(url, "retry", "--all", "--yes")
        two.wait(10)
        assert len(two.attempts()) == 2
        assert [schedule["name"] for schedule in as_json(url, "schedules")["schedules"]] == ["pulse"]
        run(url, "schedules", "trigger", "pulse")
        eventually(lambda: app.count_jobs(schedule="pulse", state="succeeded") == 1)
        run(url, "schedules", "pause", "pulse")
        assert as_json(url, "schedules")["schedules"][0]["paused"] is True
        assert "run by hand" in run(url, "schedules", "show", "pulse")
        run(url, "schedules", "remove", "pulse")
    last = app.enqueue_in(3600, task, 5)
    run(url, "cancel", str(last.id))
    run(url, "show", "4711", code=3)
    stats = as_json(url, "stats")
    app.close()
    assert stats["counts"] | {"succeeded": 3, "dead": 1, "cancelled": 1} == stats["counts"]

"""Recurring jobs by page, by name and by state: in Python, on the dashboard, in the API, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from click.testing import CliRunner

import embedq
from embedq import ConfigurationError, EmbedQ, ScheduleNotFoundError, dashboard, every
from embedq.cli import main
from embedq.storage import firing
from embedq.storage.base import Transaction
from tests.dashboard.visitors import Visitor, words

NAMES = [f"report {number:03}" for number in range(130)]


@embedq.job(name="lists:report", retry=embedq.NO_RETRY)
def report(*args: object) -> None: ...


@embedq.job(name="lists:fail", retry=embedq.NO_RETRY)
def fail() -> None:
    raise ValueError("no paper")


@pytest.fixture
def app(url: str) -> Iterator[EmbedQ]:
    app = EmbedQ(url, stop_timeout=5)
    for name in NAMES:
        app.recurring(name, "0 4 * * *", report, timezone="Europe/Berlin")
    app.connect()
    app.pause_recurring(NAMES[7])
    now = app.clock.now()

    def trouble(tx: Transaction) -> None:
        firing.fail(tx, NAMES[8], "KeyError: 'queue'", again_at=now)
        tx.run("advance_schedule", (now - 7_200_000_000, None, None, None, 0, NAMES[9]))

    app.database.write(trouble)
    yield app
    app.close()


@pytest.fixture
def visitor(app: EmbedQ) -> Visitor:
    return Visitor(dashboard.wsgi(app, authorize=lambda request: True))


def test_the_app_gives_all_or_a_part(app: EmbedQ) -> None:
    assert [one.name for one in app.schedules()] == NAMES
    assert [one.name for one in app.schedules(limit=3)] == NAMES[:3]
    assert [one.name for one in app.schedules(after=NAMES[2], limit=2)] == NAMES[3:5]
    assert [one.name for one in app.schedules(name="t 01")] == NAMES[10:20]
    assert [one.name for one in app.schedules(name="%")] == []
    assert [one.name for one in app.schedules(state="paused")] == [NAMES[7]]
    assert [one.name for one in app.schedules(state="failing")] == [NAMES[8]]
    assert [one.name for one in app.schedules(state="late")] == [NAMES[9]]
    assert len(app.schedules(state="active")) == len(NAMES) - 1
    assert app.schedules(limit=0) == []
    assert app.schedule(NAMES[7]).paused
    with pytest.raises(ScheduleNotFoundError, match="'report'"):
        app.schedule("report")
    with pytest.raises(ConfigurationError, match="must be one of: active"):
        app.schedules(state="tired")


def test_pages_lead_on_and_back(app: EmbedQ) -> None:
    first = app.monitor.schedules(limit=50)
    second = app.monitor.schedules(limit=50, after=first.next)
    third = app.monitor.schedules(limit=50, after=second.next)
    pages = [first, second, third]
    assert [one.name for page in pages for one in page.schedules] == NAMES
    assert (first.previous, third.next) == (None, None)
    assert app.monitor.schedules(limit=50, before=third.previous) == second
    assert app.monitor.schedules(limit=50, before=second.previous) == first
    # A beginning is a whole page.
    assert app.monitor.schedules(limit=50, before=NAMES[10]) == first


def test_the_dashboard_shows_a_page_and_looks_for_names_and_states(app: EmbedQ, visitor: Visitor) -> None:
    page = visitor.get("/recurring")
    assert page.text.count("data-row") == 50
    assert NAMES[49] in page.text
    assert NAMES[50] not in page.text
    assert "KeyError" in page.text
    assert "2 h late" in words(page.text)
    assert visitor.get(f"/recurring?after={quote(NAMES[99])}").text.count("data-row") == 30
    assert visitor.get(f"/recurring?before={quote(NAMES[60])}&size=25").text.count("data-row") == 25
    assert visitor.get("/recurring?name=t+12&state=").status_code == 303
    assert visitor.get("/recurring?name=t+12").text.count("data-row") == 10
    assert visitor.get("/recurring?state=paused").text.count("data-row") == 1
    assert "No matching recurring jobs" in words(visitor.get("/recurring?name=nothing").text)
    assert visitor.get("/recurring?state=tired").status_code == 400
    assert [trouble.name for trouble in app.monitor.overview().schedules] == [NAMES[9], NAMES[8]]


def test_the_api_gives_pages_and_one(app: EmbedQ, visitor: Visitor) -> None:
    found, after = [], ""
    while after is not None:
        answer = visitor.get(f"/api/schedules?size=60&after={quote(after)}").json
        found += [one["name"] for one in answer["schedules"]]
        after = answer["next"]
    assert found == NAMES
    assert visitor.get(f"/api/schedules/{quote(NAMES[7])}").json["paused"]
    assert visitor.get("/api/schedules/none").status_code == 404
    assert [one["name"] for one in visitor.get("/api/schedules?state=late").json["schedules"]] == [NAMES[9]]


def test_the_command_line_gives_pages(app: EmbedQ) -> None:
    def run(*arguments: str) -> list[str]:
        result = CliRunner().invoke(main, ["--url", str(app.settings.url), "schedules", *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return [one["name"] for one in json.loads(result.output)["schedules"]]

    if "sqlite" not in str(app.settings.url):
        pytest.skip("the same code on every database")
    assert run() == NAMES
    assert run("--limit", "5", "--after", NAMES[4]) == NAMES[5:10]
    assert run("--name", "t 12", "--state", "active") == NAMES[120:]


def test_the_calendar_of_one_and_of_many_has_a_bound(app: EmbedQ, visitor: Visitor) -> None:
    now = datetime.now(UTC)
    one = app.monitor.calendar(now, now + timedelta(days=5), schedule=NAMES[20])
    assert {coming.schedule for coming in one.occurrences} == {NAMES[20]}
    assert len(one.occurrences) == 5
    assert (one.until, one.zones) == (None, ["Europe/Berlin"])
    app.recurring("often", every(minutes=1), report)
    some = app.monitor.calendar(now, now + timedelta(days=5), most=20)
    assert len(some.occurrences) == 20
    assert some.until is not None
    assert some.until >= some.occurrences[-1].at
    assert some.occurrences == sorted(some.occurrences, key=lambda coming: (coming.at, coming.schedule))
    whole = app.monitor.calendar(now, now + timedelta(days=5))
    before = [coming for coming in whole.occurrences if coming.at < some.until]
    assert [coming for coming in some.occurrences if coming.at < some.until] == before
    assert whole.until is None
    page = words(visitor.get("/recurring/calendar").text)
    assert "Complete up to" in page
    assert "often" in words(visitor.get("/recurring/calendar?name=ofte").text)


def test_a_schedule_whose_last_job_is_dead_is_in_trouble_until_one_succeeds(app: EmbedQ) -> None:
    app.recurring("fails", "@yearly", fail)
    app.start()
    app.trigger_recurring(NAMES[0]).wait(60)
    dead = app.trigger_recurring("fails")
    dead.wait(60)
    app.stop()
    # A run by hand is not the schedule's own.
    assert [trouble.name for trouble in app.monitor.overview().schedules] == [NAMES[8]]
    app.database.write(lambda tx: tx.run("advance_schedule", (app.clock.now() + 10**12, 1, dead.id, None, 0, "fails")))
    [found, other] = app.monitor.overview().schedules
    assert other.name == NAMES[8]
    assert (found.name, found.job, found.error) == ("fails", dead.id, "ValueError: no paper")
    assert app.monitor.trouble_of([app.schedule("fails"), app.schedule(NAMES[0])]).keys() == {"fails"}


def test_a_page_of_functions_has_a_bound_too(app: EmbedQ, visitor: Visitor) -> None:
    def ran(tx: Transaction) -> None:
        minute = app.clock.now() // 60_000_000
        for number in range(230):
            tx.run("count_minute", (minute, f"made_up:{number:03}", "default", "succeeded", number + 1, 10, 10, 10))

    app.database.write(ran)
    page = visitor.get("/tasks?sort=runs")
    assert page.text.count("data-row") == 200
    assert "made_up:229" in page.text
    assert "made_up:000" not in page.text
    assert "30 more functions" in words(page.text)

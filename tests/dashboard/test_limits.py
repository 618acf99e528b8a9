"""Limits in the dashboard: what is shown of them, changing them, and why a job waits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

import embedq
from embedq import EmbedQ, JobHandle, Limit, Rate
from embedq import dashboard as web
from embedq.dashboard.pages import limits as page
from tests.dashboard.visitors import Visitor, words
from tests.support import eventually

NAME = "reports <b>:make"


@pytest.fixture
def reports(app: EmbedQ) -> Iterator[list[JobHandle[None]]]:
    """Five reports of one tenant, of which one runs."""
    release = Event()

    @app.job(name=NAME, concurrency=Limit(1, per="tenant", total=10, rate=Rate(600, per=60, burst=5)))
    def make(tenant: str) -> None:
        release.wait(60)

    jobs = [app.enqueue(make, "acme <i>") for _ in range(5)]
    app.start()
    eventually(lambda: jobs[0].state == "running")
    yield jobs
    release.set()


def log(app: EmbedQ, actor: str) -> list[tuple[str, str, object, object]]:
    return [
        (one.verb, one.subject, one.details["total"], one.details["each"])
        for one in app.actions.log().actions
        if one.actor == actor
    ]


@pytest.mark.usefixtures("reports")
def test_the_page_shows_limits_with_their_use_full_keys_and_rates(visitor: Visitor) -> None:
    text = words(visitor.get("/limits").text)
    assert f"{NAME} 1 10 1 4 acme <i> 1 run, 1 may; 4 waiting, the oldest for" in text
    assert "600 in 60 s, burst 5: " in text
    assert "Change …" in text


def test_a_job_that_waits_shows_why(visitor: Visitor, reports: list[JobHandle[None]]) -> None:
    text = words(visitor.get(f"/jobs/{reports[4].id}").text)
    assert f"Waits behind 3 others of {NAME} acme <i> limit {NAME} of acme <i>: 1 run, 1 may · limits" in text
    assert "Waits" not in words(visitor.get(f"/jobs/{reports[0].id}").text)
    assert visitor.get(f"/api/jobs/{reports[1].id}").json["why_waiting"] == (f"limit {NAME} of acme <i>: 1 run, 1 may")
    assert visitor.get(f"/api/jobs/{reports[0].id}").json["why_waiting"] is None


def test_a_paused_job_shows_its_pause_once(visitor: Visitor, app: EmbedQ) -> None:
    job = app.enqueue(print, 1)
    app.pause(queue="default", reason="migration", actor="ada")
    assert words(visitor.get(f"/jobs/{job.id}").text).count("migration") == 1
    assert visitor.get(f"/api/jobs/{job.id}").json["why_waiting"] == "queue default is paused by ada: migration"


@pytest.mark.usefixtures("reports")
def test_a_limit_is_changed_after_a_question_and_reset(app: EmbedQ) -> None:
    ada = Visitor(web.wsgi(app, authorize=lambda request: web.Access(user="ada")))
    asked = ada.post("/limits/set", {"name": NAME}).text
    assert f"Change the limit {NAME}?" in words(asked)
    assert "1 job running, 4 waiting" in words(asked)
    assert 'placeholder="as in the code: 10"' in asked
    assert "Use the code" not in asked
    assert not app.limits()[0].changed
    sent = {"name": NAME, "confirmed": "1", "total": " 3 ", "each": ""}
    answer = words(ada.follow(ada.post("/limits/set", sent)).text)
    assert f"Changed: {NAME}" in answer
    assert re.search(r"set by ada, .{1,9} ?; in the code: 10 in total, 1 each key", answer)
    [use] = app.limits()
    assert (use.total, use.each, use.set_each) == (3, 1, None)
    asked = ada.post("/limits/set", {"name": NAME}).text
    assert 'name="total" type="number" min="0" max="1000000000" inputmode="numeric" value="3"' in asked
    assert "Use the code's values" in words(asked)
    # The fields are as they were; the button lets both of the code's values apply.
    answer = words(ada.follow(ada.post("/limits/set", {**sent, "reset": "1"})).text)
    assert f"The code's values apply again: {NAME}" in answer
    assert not app.limits()[0].changed
    assert log(app, "ada") == [
        ("set limit", f"limit {NAME}", None, None), ("set limit", f"limit {NAME}", 3, None),
    ]  # fmt: skip


@pytest.mark.usefixtures("reports")
def test_changing_requires_its_permission(app: EmbedQ) -> None:
    may = frozenset(web.Permission) - {web.Permission.LIMITS}
    eve = Visitor(web.wsgi(app, authorize=lambda request: web.Access(user="eve", may=may)))
    assert "Change …" not in eve.get("/limits").text
    assert eve.get("/limits").status_code == 200
    for fields in ({"name": NAME}, {"name": NAME, "confirmed": "1", "total": "0"}):
        assert eve.post("/limits/set", fields).status_code == 403
    for verb, sent in (("set", {"name": NAME, "total": 0}), ("reset", {"name": NAME})):
        assert eve.send(f"/api/limits/{verb}", sent).status_code == 403
    assert not app.limits()[0].changed
    [denied] = {one.verb for one in app.actions.log().actions}
    assert denied == "denied limits"
    only = Visitor(
        web.wsgi(app, authorize=lambda request: web.Access(user="bob", may=frozenset({web.Permission.LIMITS})))
    )
    token = re.search(r'name="csrf" value="(\w+)"', only.get("/limits").text)
    assert token
    sent = {"csrf": token[1], "name": NAME, "confirmed": "1", "total": "0", "each": ""}
    assert only.post("/limits/set", sent, token=False).status_code == 303
    assert app.limits()[0].total == 0


@pytest.mark.usefixtures("reports")
def test_a_form_without_its_token_changes_nothing(visitor: Visitor, app: EmbedQ) -> None:
    sent = {"name": NAME, "confirmed": "1", "total": "0", "each": ""}
    assert visitor.post("/limits/set", sent, token=False).status_code == 403
    assert not app.limits()[0].changed


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("entered", ["-1", "many", "1.5", "9" * 11, "2000000000"])
def test_what_is_no_number_is_entered_again(visitor: Visitor, app: EmbedQ, entered: str) -> None:
    answer = visitor.post("/limits/set", {"name": NAME, "confirmed": "1", "total": entered, "each": "7"})
    assert answer.status_code == 400
    assert "must be a whole number, 0 or more" in words(answer.text)
    assert f'value="{entered}"' in answer.text
    assert 'value="7"' in answer.text
    assert not app.limits()[0].changed


def test_a_limit_that_is_not_there_is_not_found(visitor: Visitor) -> None:
    for fields in ({"name": "none"}, {"name": "none", "confirmed": "1", "total": "1"}, {}):
        assert visitor.post("/limits/set", fields).status_code == 404
    for verb in ("set", "reset"):
        sent = {"name": "none", **({"total": 1} if verb == "set" else {})}
        assert visitor.send(f"/api/limits/{verb}", sent).status_code == 404


@pytest.mark.usefixtures("reports")
def test_the_json_api_lists_changes_and_resets(visitor: Visitor) -> None:
    [limit] = visitor.get("/api/limits").json["limits"]
    assert (limit["name"], limit["running"], limit["waiting"]) == (NAME, 1, {"number": 4, "capped": False})
    assert limit["saturated"][0]["key"] == "acme <i>"
    limit = visitor.send("/api/limits/set", {"name": NAME, "total": 4, "each": 0}).json["limit"]
    assert (limit["total"], limit["each"]) == (4, 0)
    # What is not given stays as it was set; null lets the code's value apply.
    limit = visitor.send("/api/limits/set", {"name": NAME, "each": None}).json["limit"]
    assert (limit["total"], limit["each"], limit["set_each"]) == (4, 1, None)
    limit = visitor.send("/api/limits/reset", {"name": NAME}).json["limit"]
    assert (limit["total"], limit["changed"]) == (10, False)


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(
    ("verb", "sent"),
    [
        ("set", {}), ("set", {"name": NAME}), ("set", {"name": 7, "total": 1}), ("set", {"name": NAME, "total": "1"}),
        ("set", {"name": NAME, "total": -1}), ("set", {"name": NAME, "total": True}),
        ("set", {"name": NAME, "each": 10**12}), ("set", {"name": NAME, "rates": []}),
        ("reset", {"name": NAME, "total": 1}), ("reset", {}),
    ],
)  # fmt: skip
def test_what_the_json_api_cannot_set_is_refused(
    visitor: Visitor, app: EmbedQ, verb: str, sent: dict[str, Any]
) -> None:
    assert visitor.send(f"/api/limits/{verb}", sent).status_code == 400
    assert not app.limits()[0].changed


def test_of_many_limits_and_keys_some_are_shown_and_the_number_of_the_others(
    visitor: Visitor, app: EmbedQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PAGE_SIZE", 2)
    monkeypatch.setattr(page, "SHOWN_KEYS", 2)
    for name in ("a", "b", "c"):
        embedq.limit(name, total=1)
        app.set_limit(name, total=2)
    zed = embedq.limit("zed", 0, per="tenant")
    app.set_limit("zed", total=None)

    @app.job(name="tests:zed", limits=[zed])
    def work(tenant: str) -> None: ...

    for number in range(3):
        app.enqueue(work, f"t{number}")
    text = words(visitor.get("/limits").text)
    assert "2 more limits. Shown are those" in text
    assert "zed 0 – 0 3 t0 0 run, 0 may; 1 waiting" in text
    assert "and 1 more full key" in text


def test_a_limit_that_is_full_or_closed_shows_it(visitor: Visitor, app: EmbedQ) -> None:
    busy = embedq.limit("busy", total=1)

    @app.job(name="tests:busy", limits=[busy])
    def work() -> None:
        raise embedq.RateLimited(retry_after=600, limit=busy)

    app.enqueue(work)
    app.start()
    eventually(lambda: app.limits() and app.limits()[0].closed_until is not None)
    assert "busy closed a job was refused; opens in " in words(visitor.get("/limits").text)
    app.set_limit("busy", total=0)
    eventually(lambda: "busy full closed" in words(visitor.get("/limits").text))

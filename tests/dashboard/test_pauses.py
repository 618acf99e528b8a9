"""Pausing and resuming in the dashboard, and where pauses are shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from embedq import EmbedQ
from embedq import dashboard as web
from tests.dashboard.visitors import Visitor, words
from tests.support import eventually


def test_a_queue_is_paused_after_a_question_with_an_end_and_a_reason(visitor: Visitor, app: EmbedQ) -> None:
    job = app.options(queue="mail <b>").enqueue(print, 1)
    assert "Pause …" in words(visitor.get("/queues").text)
    asked = words(visitor.post("/holds/pause", {"kind": "queue", "name": "mail <b>"}).text)
    assert "Pause the queue mail <b>?" in asked
    assert app.holds() == []
    sent = {"kind": "queue", "name": "mail <b>", "confirmed": "1", "length": "3600", "reason": "migration & co"}
    assert "Paused: queue mail" in visitor.follow(visitor.post("/holds/pause", sent)).text
    [hold] = app.holds()
    assert hold.until is not None
    assert (str(hold), hold.reason, hold.until - hold.since) == ("queue mail <b>", "migration & co", timedelta(hours=1))
    for page in ("/", "/queues", f"/jobs/{job.id}"):
        text = words(visitor.get(page).text)
        assert "Queue mail <b> is paused: by" in text, page
        assert "migration & co" in text, page
    assert "Resumed" in visitor.follow(visitor.post("/holds/resume", {"kind": "queue", "name": "mail <b>"})).text
    assert app.holds() == []
    assert "is paused" not in words(visitor.get("/queues").text)
    again = visitor.follow(visitor.post("/holds/resume", {"kind": "queue", "name": "mail <b>"})).text
    assert "It was not paused any more" in again


@pytest.mark.parametrize(
    ("kind", "name", "page", "shown"),
    [
        ("task", "builtins:print", "/tasks", "Task builtins:print is paused"),
        ("task", "builtins:print", "/tasks/of/builtins:print", "Task builtins:print is paused"),
        ("everything", "", "/queues", "Everything is paused"),
        ("everything", "", "/tasks", "Everything is paused"),
    ],
)
def test_a_task_and_everything_are_paused(
    visitor: Visitor, app: EmbedQ, kind: str, name: str, page: str, shown: str
) -> None:
    app.enqueue(print, 1)
    visitor.post("/holds/pause", {"kind": kind, "name": name, "confirmed": "1", "length": ""})
    assert shown in words(visitor.get(page).text)
    assert [hold.until for hold in app.holds()] == [None]
    visitor.post("/holds/resume", {"kind": kind, "name": name})
    assert app.holds() == []


def test_a_process_is_made_quiet_and_woken(visitor: Visitor, app: EmbedQ) -> None:
    app.start()
    [server] = app.servers()
    process = {"kind": "process", "name": server.uuid}
    assert "Let this process claim no job?" in words(visitor.post("/holds/pause", process).text)
    visitor.post("/holds/pause", {**process, "confirmed": "1", "length": "", "reason": "memory"})
    text = words(visitor.get("/servers").text)
    assert f"Process {server.hostname}:{server.pid} is quiet: by" in text
    job = app.enqueue(print, 1)
    assert app.engine.runtime is not None
    assert app.engine.runtime.dispatcher.quiet
    assert job.state == "ready"
    visitor.post("/holds/resume", process)
    job.wait(timeout=20)
    assert "quiet" not in words(visitor.get("/servers").text)


def test_pausing_requires_its_permission_and_is_in_the_audit_log(app: EmbedQ) -> None:
    sent = {"kind": "queue", "name": "mail", "confirmed": "1", "length": ""}
    eve = Visitor(
        web.wsgi(app, authorize=lambda request: web.Access(user="eve", may=frozenset({web.Permission.RETRY})))
    )
    assert eve.post("/holds/pause", sent).status_code == 403
    assert eve.post("/holds/resume", sent).status_code == 403
    app.options(queue="mail").enqueue(print, 1)
    app.pause(queue="mail", actor="grace")
    text = words(eve.get("/queues").text)
    assert "Queue mail is paused: by grace" in text
    assert "Resume" not in text
    assert "Pause …" not in text
    ada = Visitor(web.wsgi(app, authorize=lambda request: web.Access(user="ada")))
    ada.post("/holds/resume", sent)
    ada.post("/holds/pause", sent)
    entries = [(one.actor, one.verb, one.subject) for one in app.actions.log().actions if one.actor == "ada"]
    assert entries == [("ada", "pause", "queue mail"), ("ada", "resume", "queue mail")]


@pytest.mark.parametrize("target", [{"queue": "default"}, {}])
def test_a_paused_queue_makes_no_alarm_for_what_waits_in_it(
    visitor: Visitor, app: EmbedQ, target: dict[str, Any]
) -> None:
    app.start()
    app.pause(**target, actor="ada")
    app.enqueue(print, 1)
    app.database.write(lambda tx: tx.select("UPDATE embedq_jobs SET run_at = run_at - 7200000000"))
    assert visitor.get("/api/health").json["reasons"] == []
    app.resume(**target)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/holds/explode", {"kind": "queue", "name": "mail"}),
        ("/holds/pause", {"kind": "lane", "name": "mail"}),
        ("/holds/pause", {"kind": "queue", "name": "mail", "confirmed": "1", "length": "7"}),
        ("/holds/pause", {"kind": "queue", "name": "", "confirmed": "1", "length": ""}),
        ("/holds/pause", {"kind": "process", "name": "gone", "confirmed": "1", "length": ""}),
    ],
)
def test_what_no_page_sends_is_refused(visitor: Visitor, app: EmbedQ, path: str, fields: dict[str, str]) -> None:
    assert visitor.post(path, fields).status_code == 400
    assert app.holds() == []


def test_the_json_api_pauses_lists_and_resumes(visitor: Visitor, app: EmbedQ) -> None:
    sent = {"queue": "mail", "seconds": 3600, "reason": "migration"}
    hold = visitor.send("/api/holds/pause", sent).json["hold"]
    assert (hold["kind"], hold["name"], hold["reason"]) == ("queue", "mail", "migration")
    assert visitor.send("/api/holds/pause", {}).json["hold"]["kind"] == "everything"
    assert [one["name"] for one in visitor.get("/api/holds").json["holds"]] == ["", "mail"]
    assert visitor.send("/api/holds/resume", {}).json == {"resumed": True}
    assert visitor.send("/api/holds/resume", {"queue": "mail"}).json == {"resumed": True}
    assert visitor.send("/api/holds/resume", {"queue": "mail"}).json == {"resumed": False}


@pytest.mark.parametrize(
    "sent",
    [
        {"queue": 7}, {"queue": ""}, {"lane": "a"}, {"queue": "a", "task": "b"}, {"everything": ""},
        {"queue": "a", "seconds": "9"}, {"queue": "a", "seconds": 0}, {"queue": "a", "seconds": True},
        {"queue": "a", "seconds": 10**30}, {"process": "gone"},
    ],
)  # fmt: skip
def test_what_the_json_api_cannot_pause_is_refused(visitor: Visitor, app: EmbedQ, sent: dict[str, Any]) -> None:
    assert visitor.send("/api/holds/pause", sent).status_code == 400
    assert app.holds() == []


def test_a_pause_shows_how_many_jobs_it_has_parked(visitor: Visitor, app: EmbedQ) -> None:
    app.pause(task=print)
    jobs = [app.enqueue(print, number) for number in range(3)]
    app.start()
    eventually(lambda: {job.state for job in jobs} == {"parked"})
    assert "3 jobs parked" in words(visitor.get("/tasks").text)
    app.resume(task=print)
    eventually(lambda: {job.state for job in jobs} == {"succeeded"})

"""The JSON API: what the pages show and do, for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from embedq import Discard, EmbedQ, every
from embedq import dashboard as web
from tests.dashboard.visitors import Visitor


def test_a_registered_task_is_enqueued_by_its_name(visitor: Visitor, app: EmbedQ) -> None:
    @app.job(name="mail:send", queue="mail")
    def send(user: int, template: str = "welcome") -> str:
        return f"{template} to {user}"

    asked = {
        "task": "mail:send", "args": [7], "kwargs": {"template": "hi"}, "delay": 0.01,
        "options": {"priority": 3, "tags": ["api"], "idempotency_key": "k"},
    }  # fmt: skip
    answer = visitor.send("/api/jobs", asked)
    assert answer.status_code == 201
    job = app.job(answer.json["id"])
    stored = job.snapshot()
    assert (stored.queue, stored.priority, stored.tags) == ("mail", 3, ("api",))
    again = visitor.send("/api/jobs", asked)
    assert (again.status_code, again.json) == (200, {"id": job.id, "created": False})
    app.start()
    assert job.result(timeout=10) == "hi to 7"
    assert visitor.get("/api/tasks").json["registered"].count("mail:send") == 1
    assert app.actions.log().actions[0].verb == "enqueue"


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"task": "none:such"}, 404, "registered in this process"),
        ({"task": "os:system", "args": ["x"]}, 404, "registered in this process"),
        ({"task": "mail:send"}, 400, "user"),
        ({"task": "mail:send", "args": [1, 2, 3, 4]}, 400, ""),
        ({"task": "mail:send", "args": {}}, 400, "args a list"),
        ({"task": "mail:send", "args": [1], "queue": "x"}, 400, "unknown key 'queue'"),
        ({"task": "mail:send", "args": [1], "options": {"colour": "red"}}, 400, "colour"),
        ({"task": "mail:send", "args": [1], "options": {"priority": "high"}}, 400, "priority"),
        ({"task": "mail:send", "args": [1], "delay": "soon"}, 400, "seconds"),
        ({"task": "mail:send", "args": [1], "delay": 1e300}, 400, ""),
        ({"task": "mail:send", "args": [1], "run_at": "2026-01-01T00:00"}, 400, "zone"),
        ({"task": "mail:send", "args": [1], "run_at": 7}, 400, "zone"),
        ({"task": "mail:send", "args": [1], "delay": 1, "run_at": "2026-01-01T00:00Z"}, 400, "not both"),
        ([], 400, "object"),
        ({}, 400, "task must be a name"),
    ],
)
def test_what_cannot_be_enqueued_is_refused_with_the_reason(
    visitor: Visitor, app: EmbedQ, asked: object, status: int, message: str
) -> None:
    app.job(name="mail:send")(lambda user: None)
    answer = visitor.send("/api/jobs", asked)
    assert answer.status_code == status, answer.text
    assert message in answer.json["error"]
    assert app.count_jobs() == 0


def test_jobs_are_listed_shown_and_acted_upon(visitor: Visitor, app: EmbedQ) -> None:
    @app.job(name="tests:fail")
    def fail(n: int, token: str = "") -> None:
        raise Discard("broken")

    job = fail.enqueue(1, token="hush")
    later = app.enqueue_in(600, print, 1)
    app.start()
    job.wait(timeout=10)
    app.stop()
    [listed] = visitor.get("/api/jobs?state=dead").json["jobs"]
    assert (listed["id"], listed["error"], listed["arguments"]) == (
        job.id,
        "Discard: broken",
        [[1], {"token": "••••••"}],
    )
    page = visitor.get("/api/jobs?size=1").json
    assert [one["id"] for one in page["jobs"]] == [later.id]
    assert [one["id"] for one in visitor.get(f"/api/jobs?size=1&cursor={page['next']}").json["jobs"]] == [job.id]
    details = visitor.get(f"/api/jobs/{job.id}").json
    assert details["attempts"][0]["ending"] == "failed"
    assert "Traceback" in details["attempts"][0]["traceback"]
    assert [moment["what"] for moment in details["timeline"]][:1] == ["created"]
    retried = visitor.send(f"/api/jobs/{job.id}/retry")
    assert retried.json["changed"] == 1, retried.text
    assert visitor.send(f"/api/jobs/{later.id}/run").json["changed"] == 1
    assert visitor.send(f"/api/jobs/{later.id}/cancel").json["changed"] == 1
    refused = visitor.send(f"/api/jobs/{later.id}/cancel")
    assert (refused.status_code, refused.json["changed"]) == (409, 0)
    app.enqueue_in(600, print, "the newest job keeps its number, and stays")
    deleted = visitor.send(f"/api/jobs/{later.id}/delete")
    assert deleted.json["changed"] == 1, deleted.text
    assert visitor.send(f"/api/jobs/{later.id}/delete").status_code == 404
    assert visitor.get("/api/jobs/999").status_code == 404
    assert visitor.get("/api/jobs?state=lost").status_code == 400


def test_jobs_are_moved_and_all_that_match_are_acted_upon(visitor: Visitor, app: EmbedQ) -> None:
    jobs = [app.enqueue_in(600, print, n) for n in range(3)]
    moved = visitor.send(f"/api/jobs/{jobs[0].id}/move", {"to_queue": "low", "priority": -1})
    assert moved.json["changed"] == 1, moved.text
    assert (jobs[0].snapshot().queue, jobs[0].snapshot().priority) == ("low", -1)
    for asked in ({}, {"to_queue": 7}, {"priority": "high"}, {"colour": "red"}):
        assert visitor.send(f"/api/jobs/{jobs[0].id}/move", asked).status_code == 400
    begun = visitor.send("/api/actions", {"verb": "cancel", "filters": {"state": ["scheduled"], "queue": "default"}})
    assert (begun.status_code, begun.json["expected"]["number"]) == (202, 2)
    app.actions.wait(begun.json["id"], timeout=20)
    assert visitor.get(f"/api/actions/{begun.json['id']}").json["changed"] == 2
    assert [job.state for job in jobs] == ["scheduled", "cancelled", "cancelled"]
    for wrong in (
        {},
        {"verb": "cancel"},
        {"verb": "cancel", "filters": {}},
        {"verb": "cancel", "filters": {"colour": "red"}},
    ):
        assert visitor.send("/api/actions", wrong).status_code == 400
    assert visitor.get("/api/actions/999").status_code == 404


def test_recurring_jobs(visitor: Visitor, app: EmbedQ) -> None:
    app.recurring("each/day", every(days=1), print, "tick")
    [schedule] = visitor.get("/api/schedules").json["schedules"]
    assert (schedule["name"], schedule["when"], schedule["paused"]) == ("each/day", "every 1 d", False)
    run = visitor.send("/api/schedules/each/day/run")
    assert app.job(run.json["job"]).snapshot().schedule == "each/day"
    assert visitor.send("/api/schedules/each/day/pause").status_code == 200
    assert visitor.get("/api/schedules").json["schedules"][0]["paused"]
    assert visitor.send("/api/schedules/each/day/remove").status_code == 200
    assert visitor.send("/api/schedules/each/day/run").status_code == 404


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (timedelta(hours=25), "every 1 d 1 h"), (timedelta(hours=36), "every 1 d 12 h"),
        (timedelta(minutes=90), "every 1 h 30 min"), (timedelta(minutes=5), "every 5 min"),
        (timedelta(seconds=90), "every 1 min 30 s"), (timedelta(seconds=2.5), "every 2.5 s"),
        (timedelta(days=8, seconds=1), "every 8 d 1 s"),
    ],
)  # fmt: skip
def test_an_interval_is_shown_to_the_second(visitor: Visitor, app: EmbedQ, interval: timedelta, said: str) -> None:
    app.recurring("pulse", interval, print, "tick")
    assert visitor.get("/api/schedules").json["schedules"][0]["when"] == said
    assert said in visitor.get("/recurring").text


def test_the_state_of_the_queue(visitor: Visitor, app: EmbedQ) -> None:
    app.enqueue_in(600, print, 1)
    app.enqueue(print, "")
    stats = visitor.get("/api/stats").json
    assert (stats["counts"]["scheduled"], stats["counts"]["ready"], stats["capped"]) == (1, 1, [])
    assert "default" in stats["oldest_ready_seconds"]
    for path in ("/api", "/api/queues", "/api/tasks", "/api/servers", "/api/history?span=week", "/api/audit"):
        assert visitor.get(path).status_code == 200, path
    assert visitor.get("/api/history").json["span"] == "hour"
    assert visitor.get("/api/history?span=year").status_code == 400


def test_health_is_200_or_503_with_the_reasons(app: EmbedQ) -> None:
    app.start()
    visitor = Visitor(web.wsgi(app))
    assert visitor.get("/api/health").json == {"status": "ok", "reasons": []}
    app.stop()
    app.enqueue_at(datetime.now(UTC) - timedelta(hours=2), print, 1)
    answer = Visitor(web.wsgi(app)).get("/api/health?longest_wait=0")
    assert answer.status_code == 503
    assert "the oldest job of queue default has waited" in str(answer.json["reasons"])
    assert visitor.get("/api/health?longest_wait=soon").status_code == 400


def test_a_response_is_json_whatever_was_requested(visitor: Visitor) -> None:
    for path in ("/api/none", "/api/jobs/x", "/api/jobs?ids=x"):
        answer = visitor.get(path)
        assert answer.status_code in (400, 404)
        assert answer.json["error"]
    assert visitor.send("/api/jobs", content_type="text/plain").json["error"]

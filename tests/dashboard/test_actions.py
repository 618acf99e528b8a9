"""What people do through the pages: to one job, to a selection, to all that match, to recurring jobs; on the record."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest

from embedq import Discard, EmbedQ, JobHandle, every
from embedq import dashboard as web
from embedq.storage.inspect import searching
from tests.dashboard.visitors import Visitor, words


@pytest.fixture
def dead(app: EmbedQ) -> Callable[[int], list[JobHandle]]:
    """Makes dead jobs."""

    def fail(n: int) -> None:
        raise Discard(f"number {n} is broken")

    def make(count: int) -> list[JobHandle]:
        task = app.job(name="tests:fail", queue="bad")(fail)
        made = app.enqueue_many([task.call(n) for n in range(count)])
        app.start()
        for job in made:
            job.wait(timeout=20)
        app.stop()
        return made

    return make


def confirm(visitor: Visitor, page: str, **fields: str) -> str:
    """Answer a question with yes; what the page then says."""
    sent: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page):
        sent.setdefault(name, []).append(value)
    return words(visitor.follow(visitor.post("/act", {**sent, **fields})).text)


def test_one_job_is_retried_at_once(visitor: Visitor, dead: Callable[[int], list[JobHandle]]) -> None:
    [job] = dead(1)
    answer = visitor.post("/act", {"verb": "retry", "ids": job.id, "next": f"/ops/embedq/jobs/{job.id}"})
    assert answer.headers["Location"].endswith(f"/jobs/{job.id}")
    page = visitor.follow(answer).text
    assert "Retried 1 job" in page
    assert job.state == "ready"
    assert "Retried 1 job" not in visitor.get(f"/jobs/{job.id}").text, "it is said once"


def test_a_delayed_job_is_run_now_and_a_waiting_one_cancelled(visitor: Visitor, app: EmbedQ) -> None:
    later, other = app.enqueue_in(600, print, 1), app.enqueue_in(600, print, 2)
    assert "Started 1 job" in visitor.follow(visitor.post("/act", {"verb": "run", "ids": later.id})).text
    assert "Cancelled 1 job" in visitor.follow(visitor.post("/act", {"verb": "cancel", "ids": other.id})).text
    assert (later.state, other.state) == ("ready", "cancelled")


def test_a_selection_is_confirmed_first(visitor: Visitor, dead: Callable[[int], list[JobHandle]]) -> None:
    jobs = dead(3)
    ids = [job.id for job in jobs[:2]]
    asked = visitor.post("/act", {"verb": "retry", "ids": ids, "scope": "selected", "state": "dead"})
    assert asked.status_code == 200
    assert "Retry 2 jobs?" in words(asked.text)
    assert {job.state for job in jobs} == {"dead"}
    assert "Retried 2 jobs" in confirm(visitor, asked.text)
    assert [job.state for job in jobs] == ["ready", "ready", "dead"]


def test_all_that_match_are_counted_confirmed_and_done_in_the_background(visitor: Visitor, app: EmbedQ) -> None:
    jobs = app.enqueue_many([app.options(queue="many").call(print, n) for n in range(1200)])
    other = app.enqueue_in(60, print, "other")
    asked = visitor.post("/act", {"verb": "cancel", "scope": "all", "queue": "many", "ids": str(other.id)})
    assert "Cancel 1,200 jobs?" in words(asked.text)
    assert "state: any but succeeded and dead and cancelled, queue: many" in words(asked.text)
    assert "in the background" in words(asked.text)
    assert {jobs[0].state, jobs[-1].state} == {"ready"}
    text = confirm(visitor, asked.text)
    assert "of 1,200" in text, text
    [action] = app.actions.log().actions
    app.actions.wait(action.id, timeout=20)
    text = words(visitor.get(f"/audit/{action.id}").text)
    assert "done" in text
    assert "1,200 of 1,200" in text
    assert "queue: many" in text or "many" in text
    assert app.count_jobs(state="cancelled") == 1200
    assert other.state == "scheduled"
    found = re.search(r'href="([^"]+)">jobs that match now', visitor.get(f"/audit/{action.id}").text)
    assert found
    assert visitor.get(found[1].replace("&amp;", "&")).status_code == 200


def test_an_error_group_is_retried_together(
    visitor: Visitor, dead: Callable[[int], list[JobHandle]], app: EmbedQ
) -> None:
    jobs = dead(4)
    page = visitor.get("/dead").text
    group = re.search(r'name="error_group" value="([^"]+)"', page)
    assert group
    assert group[1] == "Discard: number # is broken"
    asked = visitor.post("/act", {"verb": "retry", "scope": "all", "state": "dead", "error_group": group[1]})
    assert "Retry 4 jobs?" in words(asked.text)
    confirm(visitor, asked.text)
    [action] = app.actions.log().actions
    assert app.actions.wait(action.id, timeout=20).changed == 4
    assert {job.state for job in jobs} == {"ready"}


def test_deleting_always_needs_a_confirmation(
    visitor: Visitor, dead: Callable[[int], list[JobHandle]], app: EmbedQ
) -> None:
    [job] = dead(1)
    newest = app.enqueue_in(600, print, "the newest job keeps its number, and stays")
    asked = visitor.post("/act", {"verb": "delete", "ids": job.id, "next": f"/ops/embedq/jobs/{job.id}"})
    assert "Delete 1 job?" in words(asked.text)
    assert job.state == "dead"
    assert "Deleted 1 job" in confirm(visitor, asked.text)
    assert [stored.id for stored in app.jobs()] == [newest.id]


def test_a_parent_is_deleted_only_with_its_children_called_off(visitor: Visitor, app: EmbedQ) -> None:
    parent = app.enqueue_in(600, print, 1)
    child = parent.then(print, 2)
    asked = visitor.post("/act", {"verb": "delete", "ids": parent.id}).text
    assert "Deleted 0 jobs" in confirm(visitor, asked)
    assert child.state == "awaiting"
    assert "Deleted 1 job" in confirm(visitor, asked, cancel_children="1")
    assert child.state == "cancelled"


def test_jobs_are_moved_to_a_queue_and_a_priority(visitor: Visitor, app: EmbedQ) -> None:
    job = app.enqueue_in(600, print, 1)
    asked = visitor.post("/act", {"verb": "move", "ids": job.id}).text
    assert "Moved 1 job" in confirm(visitor, asked, to_queue="urgent", priority="-7")
    stored = job.snapshot()
    assert (stored.queue, stored.priority) == ("urgent", -7)


def test_a_move_without_a_target_is_asked_about_again(visitor: Visitor, app: EmbedQ) -> None:
    job = app.enqueue_in(600, print, 1)
    for fields, message in (
        ({}, "move requires to_queue, priority, or both"), ({"priority": "high"}, "must be a whole number"),
        ({"to_queue": "urgent", "priority": "9" * 30}, "must be a whole number"), ({"to_queue": "x" * 999}, "queue"),
    ):  # fmt: skip
        answer = visitor.post("/act", {"verb": "move", "ids": job.id, "confirmed": "1", **fields})
        assert answer.status_code == 400
        assert message in words(answer.text)
        assert f'name="ids" value="{job.id}"' in answer.text
        assert f'name="to_queue" value="{fields.get("to_queue", "")}"' in answer.text
    assert "Moved 1 job" in confirm(visitor, answer.text, to_queue="urgent")


def test_the_focus_is_on_what_does_no_harm(visitor: Visitor, app: EmbedQ) -> None:
    job = app.enqueue_in(600, print, 1)
    focused = {
        verb: re.findall(r"<[^>]* autofocus[^>]*>", visitor.post("/act", {"verb": verb, "ids": [job.id, 1]}).text)
        for verb in ("cancel", "move", "delete")
    }
    assert [len(found) for found in focused.values()] == [1, 1, 1]
    assert "<button" in focused["cancel"][0]
    assert 'name="to_queue"' in focused["move"][0]
    assert "<a " in focused["delete"][0]


def test_what_a_bounded_look_did_not_find_may_be_there_all_the_same(
    visitor: Visitor, app: EmbedQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SCAN_LIMIT", 3)
    app.enqueue_many([app.options(queue="old" if n == 0 else "new").call(print, n) for n in range(9)])
    asked = visitor.post("/act", {"verb": "delete", "scope": "all", "queue": "old"})
    text = words(asked.text)
    assert "Delete all matching jobs?" in text
    assert "None of the newest 3" in text
    assert " disabled" not in asked.text
    confirm(visitor, asked.text)
    app.actions.wait(app.actions.log().actions[0].id, timeout=20)
    assert app.count_jobs(queue="old") == 0
    assert " disabled" in visitor.post("/act", {"verb": "delete", "ids": "999"}).text


def test_a_running_job_is_requested_to_stop(visitor: Visitor, app: EmbedQ) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.job(name="tests:stubborn")
    def stubborn() -> None:
        begun.set()
        go.wait(20)

    job = stubborn.enqueue()
    app.start()
    assert begun.wait(10)
    page = visitor.follow(
        visitor.post("/act", {"verb": "cancel", "ids": job.id, "next": f"/ops/embedq/jobs/{job.id}"})
    ).text
    go.set()
    assert "Requested 1 job to stop" in words(page)
    assert "running stopping" in words(page)
    assert re.search(r"<button[^>]* disabled[^>]*>Cancel<", page)


def test_a_continuation_names_the_job_that_it_waits_for(visitor: Visitor, app: EmbedQ) -> None:
    parent = app.enqueue_in(600, print, 1)
    child = parent.then(print, 2)
    assert f"Due waits for job {parent.id}" in words(visitor.get(f"/jobs/{child.id}").text)


def test_nothing_selected_and_unknown_verbs(visitor: Visitor, app: EmbedQ) -> None:
    job = app.enqueue_in(600, print, 1)
    assert "No jobs selected" in visitor.follow(visitor.post("/act", {"verb": "retry", "queue": "default"})).text
    assert visitor.post("/act", {"verb": "explode", "ids": job.id}).status_code == 400
    assert visitor.post("/act", {"verb": "cancel", "ids": "x"}).status_code == 400
    assert visitor.post("/recurring/explode", {"name": "x"}).status_code == 400
    assert job.state == "scheduled"


def test_what_cannot_be_done_is_reported(visitor: Visitor, dead: Callable[[int], list[JobHandle]]) -> None:
    [job] = dead(1)
    page = words(visitor.follow(visitor.post("/act", {"verb": "cancel", "ids": job.id})).text)
    assert "Cancelled 0 jobs" in page
    assert "1 skipped" in page


def test_recurring_jobs_are_run_paused_resumed_and_removed(visitor: Visitor, app: EmbedQ) -> None:
    name = 'each <hour> & "day"/x'
    app.recurring(name, every(hours=1), print, "tick")
    assert "Started each" in visitor.follow(visitor.post("/recurring/run", {"name": name})).text
    assert app.count_jobs(schedule=name) == 1
    visitor.post("/recurring/pause", {"name": name})
    assert app.schedules()[0].paused
    assert "paused" in words(visitor.get("/recurring").text)
    visitor.post("/recurring/resume", {"name": name})
    assert not app.schedules()[0].paused
    asked = visitor.post("/recurring/remove", {"name": name})
    assert "Remove the recurring job" in words(asked.text)
    assert app.schedules()
    visitor.post("/recurring/remove", {"name": name, "confirmed": "1"})
    assert not app.schedules()
    assert visitor.post("/recurring/pause", {"name": name}).status_code == 404


def test_everything_is_in_the_audit_log_with_who_did_it(app: EmbedQ) -> None:
    visitor = Visitor(web.wsgi(app, authorize=lambda request: web.Access(user="ada <b>")))
    app.recurring("tick", every(hours=1), print)
    job = app.enqueue_in(600, print, 1)
    visitor.post("/recurring/pause", {"name": "tick"})
    visitor.post("/recurring/pause", {"name": "gone"})
    visitor.post("/act", {"verb": "cancel", "ids": job.id})
    text = visitor.get("/audit").text
    assert text.count("ada &lt;b&gt;") == 4  # three lines, and the visitor's own name
    assert "pause schedule" in text
    assert [(action.verb, action.error is None) for action in app.actions.log().actions] == [
        ("cancel", True), ("pause schedule", False), ("pause schedule", True),
    ]  # fmt: skip

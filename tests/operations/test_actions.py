"""Actions through the app: on what, in the background, on the record."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from embedq import ConfigurationError, EmbedQ, JobState, WaitTimeoutError
from embedq.engine.stored_jobs import StoredJobs
from embedq.errors import JobStateError
from embedq.operations import action_runner
from embedq.storage import bulk
from embedq.storage.actions import ActionState


def nothing(number: int = 0) -> None: ...


def numbers(app: EmbedQ, count: int) -> list[int]:
    return [app.enqueue_in(60, nothing, number).id for number in range(count)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three jobs are a batch."""
    monkeypatch.setattr(action_runner, "BATCH", 3)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """After its first batch an action says so, and waits until it is let go."""
    here, go = threading.Event(), threading.Event()
    notify = StoredJobs.notify

    def notify_later(stored: StoredJobs, job_ids: Sequence[int]) -> None:
        here.set()
        go.wait(30)
        notify(stored, job_ids)

    monkeypatch.setattr(StoredJobs, "notify", notify_later)
    return here, go


def test_a_few_named_jobs_are_dealt_with_at_once(app: EmbedQ) -> None:
    app.connect()
    first, second, third = numbers(app, 3)
    done = app.actions.cancel(actor="ada", ids=[first, second])
    assert (done.state, done.changed, done.skipped, done.subject) == (ActionState.DONE, 2, 0, f"jobs {first}, {second}")
    again = app.actions.cancel(actor="ada", ids=[first, third])
    assert (again.changed, again.skipped, again.reason) == (1, 1, "it has ended")
    assert [action.actor for action in app.actions.log().actions] == ["ada", "ada"]


@pytest.mark.usefixtures("small")
def test_all_that_match_are_dealt_with_in_the_background(app: EmbedQ) -> None:
    app.connect()
    jobs = numbers(app, 10)
    action = app.actions.move(actor="ada", to_queue="low", state="scheduled", argument="[[")
    done = app.actions.wait(action.id, timeout=30)
    assert (done.state, done.changed, done.skipped, done.error) == (ActionState.DONE, 10, 0, None)
    assert str(done.expected) == "10"
    assert done.subject == "scheduled; argument '[['"
    assert {job.queue for job in app.jobs()} == {"low"}
    assert app.actions.wait(app.actions.run_now(actor="bob", queue="low").id, timeout=30).changed == len(jobs)
    assert app.count_jobs(state="ready") == 10


@pytest.mark.usefixtures("small")
def test_an_action_can_be_stopped_and_taken_up_where_it_stands(
    app: EmbedQ, held: tuple[threading.Event, threading.Event]
) -> None:
    app.connect()
    numbers(app, 7)
    here, go = held
    action = app.actions.move(actor="ada", priority=5, state="scheduled")
    assert here.wait(30)
    with pytest.raises(WaitTimeoutError):
        app.actions.wait(action.id, timeout=0)
    with pytest.raises(JobStateError, match="it is running"):
        app.actions.resume(action.id)
    stopped = app.actions.stop(action.id)
    assert (stopped.state, stopped.changed) == (ActionState.STOPPED, 3)
    go.set()
    app.actions.resume(action.id)
    done = app.actions.wait(action.id, timeout=30)
    assert (done.state, done.changed, done.run) == (ActionState.DONE, 7, 2)
    assert {job.priority for job in app.jobs()} == {5}
    with pytest.raises(JobStateError, match="it is done"):
        app.actions.resume(action.id)


def test_an_action_that_fails_states_why_and_can_be_taken_up(app: EmbedQ, monkeypatch: pytest.MonkeyPatch) -> None:
    app.connect()
    numbers(app, 2)
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "run_now", lambda tx, ids, now: 1 / 0)
        action = app.actions.wait(app.actions.run_now(actor="ada").id, timeout=30)
    assert (action.state, action.error) == (ActionState.FAILED, "ZeroDivisionError: division by zero")
    app.actions.resume(action.id)
    assert app.actions.wait(action.id, timeout=30).changed == 2


def test_retry_means_dead_letters_and_delete_must_say_which(app: EmbedQ) -> None:
    app.connect()
    [first, _] = numbers(app, 2)
    app.actions.cancel(actor="ada", ids=[first])
    assert app.actions.wait(app.actions.retry(actor="ada").id, timeout=30).changed == 0
    assert app.actions.wait(app.actions.retry(actor="ada", state="cancelled").id, timeout=30).changed == 1
    with pytest.raises(ConfigurationError, match="select jobs"):
        app.actions.delete(actor="ada", queue="default")
    with pytest.raises(ConfigurationError, match="retry does not apply to running jobs"):
        app.actions.retry(actor="ada", state="running")
    assert app.actions.wait(app.actions.delete(actor="ada", state="ready").id, timeout=30).changed == 1
    assert [job.state for job in app.jobs()] == [JobState.SCHEDULED]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"to_queue": ""}, "queue"),
        ({"priority": "high"}, "priority"),
        ({}, "to_queue, priority, or both"),
        ({"to_queue": "low", "colour": "red"}, "unknown filter colour; there are: argument"),
        ({"to_queue": "low", "state": "tired"}, "must be one of"),
        ({"to_queue": "low", "actor": ""}, "actor must be the name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(app: EmbedQ, given: Any, message: str) -> None:
    app.connect()
    with pytest.raises(ConfigurationError, match=message):
        app.actions.move(**{"actor": "ada", **given})
    assert app.actions.log().actions == []


def test_what_was_done_in_another_way_goes_on_record_too(app: EmbedQ) -> None:
    app.connect()
    app.actions.record(actor="ada", verb="pause schedule", subject="nightly", why="holidays")
    app.actions.record(actor="ada", verb="remove schedule", subject="weekly", error="there is none")
    failed, done = app.actions.log().actions
    assert (done.state, done.details, done.expected) == (ActionState.DONE, {"why": "holidays"}, None)
    assert (failed.state, failed.error) == (ActionState.FAILED, "there is none")

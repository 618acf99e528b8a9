"""Pauses in started apps, two of which stand for two processes: what is seen where, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import embedq
from embedq import EmbedQ, JobState
from embedq.storage.holds import SLICE
from embedq.worker.dispatcher import Dispatcher
from tests.support import eventually

KEY = "k" * 40
ran: list[Any] = []
gate = threading.Event()


def note(what: object) -> None:
    ran.append(what)


def wait_at_the_gate() -> None:
    ran.append("began")
    gate.wait(30)
    ran.append("ended")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran.clear()
    gate.clear()
    yield
    gate.set()


@pytest.fixture
def apps(url: str) -> Iterator[list[EmbedQ]]:
    """Two apps on one database, of which neither is started."""
    made = [EmbedQ(url, workers=2, stop_timeout=5, interrupt_grace=0.5, secret_key=KEY).connect() for _ in range(2)]
    yield made
    gate.set()
    for app in made:
        app.close()


def dispatcher(app: EmbedQ) -> Dispatcher:
    assert app.engine.runtime is not None
    return app.engine.runtime.dispatcher


def number_of(app: EmbedQ) -> int:
    """Its number in `servers()`."""
    assert app.engine.runtime is not None
    return app.engine.runtime.membership.registration.server_id


def done(app: EmbedQ, *handles: embedq.JobHandle[object]) -> bool:
    return all(app.job(handle.id).state is JobState.SUCCEEDED for handle in handles)


def idle(app: EmbedQ) -> None:
    """Let every worker be idle, so that an enqueue would be handed over directly."""
    app.enqueue(note, "warm").result(timeout=20)
    ran.clear()


@pytest.mark.parametrize("what", ["queue", "task", "everything"])
def test_what_is_paused_does_not_start_in_any_process_and_goes_on_when_resumed(apps: list[EmbedQ], what: str) -> None:
    here, there = apps
    for app in apps:
        app.start()
    idle(here)
    targets: dict[str, dict[str, Any]] = {"queue": {"queue": "default"}, "task": {"task": note}, "everything": {}}
    target = targets[what]
    hold = here.pause(**target, reason="migration", actor="ada")
    assert (hold.kind, hold.reason, hold.actor, hold.until) == (what, "migration", "ada", None)
    # Not handed over, however idle the workers are.
    held = [here.enqueue(note, number) for number in range(20)]
    eventually(
        lambda: there.engine.runtime is not None and there.engine.runtime.dispatcher.barred("default", note_name())
    )
    held += [there.enqueue(note, number) for number in range(20, 40)]
    if what != "everything":
        other = there.options(queue="other").enqueue(len, [1]) if what == "queue" else there.enqueue(len, [1])
        assert other.result(timeout=20) == 1
    assert ran == []
    assert there.resume(**target)
    eventually(lambda: done(here, *held), seconds=20)
    assert sorted(ran) == list(range(40))
    assert here.holds() == [] == there.holds()


def note_name() -> str:
    return f"{note.__module__}:{note.__qualname__}"


def test_a_pause_survives_a_restart_of_all_processes(apps: list[EmbedQ], url: str) -> None:
    here, there = apps
    here.pause(task=note)
    here.close()
    there.start()
    job = there.enqueue(note, 1)
    other = there.enqueue(len, [1])
    assert other.result(timeout=20) == 1
    there.close()
    again = EmbedQ(url, workers=2, secret_key=KEY).start()
    try:
        assert again.enqueue(len, [1]).result(timeout=20) == 1
        assert [str(hold) for hold in again.holds()] == [f"task {note_name()}"]
        assert ran == []
        again.resume(task=note)
        again.job(job.id).result(timeout=20)
    finally:
        again.close()


def test_a_pause_ends_at_its_time_without_any_other_event(apps: list[EmbedQ]) -> None:
    app = apps[0].start()
    idle(app)
    hold = app.pause(queue="default", until=timedelta(seconds=1))
    assert hold.until is not None
    job = app.enqueue(note, 1)
    job.result(timeout=20)
    started = job.snapshot().started_at
    assert started is not None
    assert timedelta(0) <= started - hold.until < timedelta(seconds=0.4), "woken by the end, not by a poll"


def test_what_runs_goes_on_while_its_task_is_paused(apps: list[EmbedQ]) -> None:
    app = apps[0].start()
    running = app.enqueue(wait_at_the_gate)
    eventually(lambda: ran == ["began"])
    app.pause(task=wait_at_the_gate)
    waiting = app.enqueue(wait_at_the_gate)
    gate.set()
    running.result(timeout=20)
    assert waiting.state is not JobState.SUCCEEDED
    app.resume(task=wait_at_the_gate)
    waiting.result(timeout=20)


def test_jobs_claimed_ahead_go_back_when_their_queue_is_paused(apps: list[EmbedQ]) -> None:
    app = apps[0].start()
    blocking = [app.enqueue(wait_at_the_gate) for _ in range(2)]
    eventually(lambda: ran.count("began") == 2)
    behind = [app.enqueue(note, number) for number in range(50)]
    apps[1].pause(queue="default")
    eventually(lambda: dispatcher(app).barred("default", ""))
    gate.set()
    eventually(lambda: done(app, *blocking), seconds=20)
    assert app.options(queue="other").enqueue(len, [1]).result(timeout=20) == 1
    assert not [entry for entry in ran if entry not in ("began", "ended")]
    app.resume(queue="default")
    eventually(lambda: done(app, *behind), seconds=20)


def test_a_quiet_process_claims_nothing_finishes_what_it_has_and_can_be_woken(apps: list[EmbedQ]) -> None:
    quiet, other = (app.start() for app in apps)
    idle(quiet)
    running = quiet.enqueue(wait_at_the_gate)
    eventually(lambda: ran == ["began"])
    server = running.snapshot().server
    assert server is not None
    target, rest = (quiet, other) if number_of(quiet) == server else (other, quiet)
    rest.pause(process=server, actor="ada")
    eventually(lambda: dispatcher(target).quiet)
    gate.set()
    running.result(timeout=20)
    jobs = [target.enqueue(note, number) for number in range(20)]
    eventually(lambda: done(rest, *jobs), seconds=20)
    assert {job.snapshot().server for job in jobs} == {number_of(rest)}
    rest.stop()
    late = target.enqueue(note, "late")
    assert target.resume(process=server)
    late.result(timeout=20)


def test_a_pause_from_inside_a_job_names_the_job(apps: list[EmbedQ]) -> None:
    app = apps[0].start()

    @app.job(name="trip")
    def trip() -> None:
        app.pause(task=note, until=timedelta(hours=1), reason="the bank does not answer")

    job = app.enqueue(trip)
    job.result(timeout=20)
    held = app.enqueue(note, 1)
    assert app.enqueue(len, [1]).result(timeout=20) == 1
    [hold] = app.holds()
    assert (hold.actor, hold.reason) == (f"job {job.id}", "the bank does not answer")
    assert held.state is not JobState.SUCCEEDED
    assert ran == []


def test_recurring_jobs_of_a_paused_queue_wait_once(apps: list[EmbedQ]) -> None:
    app = apps[0].start()
    app.pause(queue="pulse")
    app.recurring("pulse", embedq.every(seconds=1), app.options(queue="pulse").task(note), "pulse")
    eventually(lambda: len(app.occurrences("pulse")) >= 2, seconds=20)
    # One waits, and those that are due meanwhile are skipped.
    assert (app.count_jobs(queue="pulse"), ran) == (1, [])
    app.remove_recurring("pulse")
    app.resume(queue="pulse")
    eventually(lambda: len(ran) == 1, seconds=20)


def test_a_hundred_thousand_held_jobs_delay_no_other_for_long(apps: list[EmbedQ]) -> None:
    app = apps[0]
    app.pause(task=note)
    many = 5 * SLICE
    app.enqueue_many([app.call(note, number) for number in range(many)])
    other = app.enqueue(len, [1])
    app.start()
    assert other.result(timeout=60) == 1
    app.resume(task=note)
    eventually(lambda: len(ran) == many, seconds=100)
    assert sorted(ran) == list(range(many))


def test_every_pause_and_resume_is_in_the_audit_log(apps: list[EmbedQ]) -> None:
    app = apps[0]
    app.pause(queue="mail", until=datetime.now(UTC) + timedelta(hours=1), reason="migration", actor="ada")
    app.resume(queue="mail", actor="grace")
    assert not app.resume(queue="mail", actor="grace")
    entries = [(one.verb, one.subject, one.actor, one.details.get("reason")) for one in app.actions.log().actions]
    assert entries == [("resume", "queue mail", "grace", None), ("pause", "queue mail", "ada", "migration")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queue": "mail", "task": "f"}, "queue and task: pause and resume take one of them"),
        ({"queue": ""}, "queue='' must be the name of a queue"),
        ({"queue": 7}, "queue=7 must be the name of a queue"),
        ({"process": 999}, "no process 999 runs jobs; app.servers"),
        ({"queue": "mail", "until": 60}, "until=60: give an aware datetime, or a timedelta from now"),
        ({"queue": "mail", "until": datetime(2099, 1, 1)}, "until="),  # noqa: DTZ001
        ({"queue": "mail", "until": timedelta(seconds=-1)}, "is not in the future; to end a pause, resume it"),
        ({"queue": "mail", "actor": ""}, "actor must be the name of a user"),
        ({"queue": "mail", "reason": None}, "reason=None must be a text"),
    ],
)
def test_what_cannot_be_paused_is_refused_with_advice(app: EmbedQ, given: dict[str, object], message: str) -> None:
    with pytest.raises(embedq.ConfigurationError, match=message):
        app.pause(**given)  # type: ignore[arg-type]
    assert app.holds() == []


def test_a_process_that_stops_leaves_no_hold_behind(apps: list[EmbedQ]) -> None:
    here, there = apps
    there.start()
    here.pause(process=number_of(there))
    there.stop()
    assert here.holds() == []

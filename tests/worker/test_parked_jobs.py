"""Jobs that this process cannot run are kept and shown, cost no attempt, and run as soon as they can."""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import embedq
from embedq import EmbedQ, Ending, JobHandle, JobState
from embedq.tasks.registry import REGISTRY
from tests.support import eventually


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
def producer(app: EmbedQ) -> Iterator[EmbedQ]:
    """An app that only enqueues, into the same database."""
    producer = EmbedQ(app.settings.url, secret_key=app.settings.secret_key).connect()
    yield producer
    producer.close()


def enqueue_unknown(producer: EmbedQ, name: str = "mail.send", *arguments: object) -> JobHandle:
    """A job of a task that another process has, and this one has not."""

    @producer.job(name=name)
    def send(*arguments: object) -> None: ...

    handle = send.enqueue(*arguments)
    forget(name)
    return handle


def forget(name: str) -> None:
    del REGISTRY._by_name[name]


def parked(handle: JobHandle) -> bool:
    return handle.state is JobState.PARKED


def test_a_job_whose_function_is_unknown_is_kept_with_the_reason_and_no_attempt_is_spent(
    app: EmbedQ, producer: EmbedQ
) -> None:
    handle = enqueue_unknown(producer)
    app.start()
    eventually(lambda: parked(handle))
    job = handle.snapshot()
    assert (job.attempt, job.crashes, job.server) == (0, 0, None)
    assert job.error is not None
    assert "no task is registered as 'mail.send' in this process" in job.error
    assert "import the module that defines it before embedq.start()" in job.error
    assert "aliases" in job.error
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.PARKED]
    assert app.stats().counts[JobState.PARKED] == 1
    assert [job.id for job in app.jobs(state="parked")] == [handle.id]


def test_parked_jobs_delay_no_other_job(app: EmbedQ, producer: EmbedQ) -> None:
    unknown = [enqueue_unknown(producer, f"task {n}") for n in range(30)]
    app.start()
    known = [app.enqueue(add, n, 1) for n in range(30)]
    assert [handle.result(10) for handle in known] == list(range(1, 31))
    eventually(lambda: all(parked(handle) for handle in unknown))


def test_a_parked_job_is_not_tried_over_and_over(app: EmbedQ, producer: EmbedQ) -> None:
    handle = enqueue_unknown(producer)
    app.start()
    eventually(lambda: parked(handle))
    # The dispatcher looks at what is parked every half second, and here twice.
    later = app.enqueue_in(1.2, add, 1, 2)
    assert later.result(10) == 3
    assert len(handle.attempts()) == 1


def test_it_runs_once_its_function_is_registered_here(app: EmbedQ, producer: EmbedQ) -> None:
    handles = [enqueue_unknown(producer, "mail.send", n) for n in range(5)]
    app.start()
    eventually(lambda: all(parked(handle) for handle in handles))

    @app.job(name="mail.send")
    def send(n: int) -> int:
        return n * 10

    assert [handle.result(10) for handle in handles] == [0, 10, 20, 30, 40]
    assert [handle.snapshot().attempt for handle in handles] == [1] * 5
    assert [attempt.ending for attempt in handles[0].attempts()] == [Ending.PARKED, Ending.SUCCEEDED]


def test_a_function_that_was_renamed_takes_the_jobs_of_its_former_name(app: EmbedQ, producer: EmbedQ) -> None:
    handle = enqueue_unknown(producer, "old.name", "hello")
    app.start()
    eventually(lambda: parked(handle))

    @app.job(name="new.name", aliases=["old.name"])
    def renamed(text: str) -> str:
        return text.upper()

    assert handle.result(10) == "HELLO"
    assert handle.snapshot().name == "old.name"


def test_an_app_with_the_function_takes_what_another_parked(app: EmbedQ, producer: EmbedQ) -> None:
    """In one process both share the functions, so the second app comes when the first has gone."""
    handle = enqueue_unknown(producer)
    app.start()
    eventually(lambda: parked(handle))
    app.stop()

    @producer.job(name="mail.send")
    def send() -> str:
        return "sent"

    producer.start()
    assert handle.result(10) == "sent"


def test_an_argument_of_a_class_that_is_not_here_parks_the_job_until_it_is(app: EmbedQ, producer: EmbedQ) -> None:
    shop = types.ModuleType("shop_of_another_process")
    sys.modules[shop.__name__] = shop

    @dataclass
    class Order:
        number: int

    class Colour(enum.Enum):
        RED = 1

    for kind in (Order, Colour):
        kind.__module__, kind.__qualname__ = shop.__name__, kind.__name__
        setattr(shop, kind.__name__, kind)

    @app.job(name="ship")
    def ship(order: object, colour: object) -> str:
        return repr((order, colour))

    try:
        handle = producer.enqueue(ship, Order(7), Colour.RED)
        del sys.modules[shop.__name__]
        app.start()
        eventually(lambda: parked(handle))
        assert "shop_of_another_process" in str(handle.snapshot().error)
        sys.modules[shop.__name__] = shop
        assert handle.result(10) == "(Order(number=7), <Colour.RED: 1>)"
    finally:
        sys.modules.pop(shop.__name__, None)


def test_a_parked_job_is_cancelled_like_any_that_waits(app: EmbedQ, producer: EmbedQ) -> None:
    handle = enqueue_unknown(producer)
    child = handle.then(add, 1, 2, on="finished")
    app.start()
    eventually(lambda: parked(handle))
    assert handle.cancel() is JobState.CANCELLED
    assert child.result(10) == 3


def test_a_parked_job_that_is_retried_by_hand_is_looked_at_again(app: EmbedQ, producer: EmbedQ) -> None:
    handle = enqueue_unknown(producer)
    app.start()
    eventually(lambda: parked(handle))
    handle.retry()
    eventually(lambda: len(handle.attempts()) == 2)
    eventually(lambda: parked(handle))


def test_a_parked_jobs_continuations_keep_waiting(app: EmbedQ, producer: EmbedQ) -> None:
    handle = enqueue_unknown(producer)
    child = handle.then(add, 1, 2)
    app.start()
    eventually(lambda: parked(handle))
    assert child.state is JobState.AWAITING

    @app.job(name="mail.send")
    def send() -> None: ...

    assert child.result(10) == 3


def test_a_parked_job_of_a_queue_that_is_not_worked_here_is_left(tmp_path: Path) -> None:
    app = EmbedQ(tmp_path / "app.db").connect()

    @app.job(name="only elsewhere")
    def task() -> str:
        return "ran"

    elsewhere = task.options(queue="elsewhere")
    handle = app.submit(elsewhere.call())
    forget("only elsewhere")
    app.start()
    eventually(lambda: parked(handle))
    app.stop()
    REGISTRY.add(task)
    picky = EmbedQ(tmp_path / "app.db", queues=["default"]).start()
    assert picky.enqueue_in(1.2, add, 1, 2).result(10) == 3
    assert parked(handle)
    picky.close()
    assert app.start().job(handle.id).result(10) == "ran"
    app.close()


def test_recurring_jobs_of_unknown_functions_are_parked_too_and_stop_no_other_schedule(
    app: EmbedQ, producer: EmbedQ
) -> None:
    @producer.job(name="nightly")
    def nightly() -> None: ...

    producer.recurring("unknown", embedq.every(seconds=0.3), nightly)
    forget("nightly")
    app.recurring("known", embedq.every(seconds=0.3), add, 1, 2)
    app.start()
    eventually(lambda: app.count_jobs(state="parked", schedule="unknown") == 1)
    eventually(lambda: app.count_jobs(state="succeeded", schedule="known") >= 2)
    # They do not pile up until the function is back.
    eventually(lambda: any("was parked" in (line.reason or "") for line in app.occurrences("unknown")))
    assert app.count_jobs(schedule="unknown") == 1
    assert app.schedules()[1].error is None

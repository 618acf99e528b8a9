"""What can never work is refused where it is asked for, with words that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import PARENT_RESULT, ConfigurationError, Draft, EmbedQ, EnqueueError
from tests.support import FakeClock

HALF = "half \ud83d a smile"


def note(what: object = None) -> object:
    return what


@pytest.mark.parametrize(
    ("what", "enqueue"),
    [
        ("queue", lambda app: app.options(queue=HALF).enqueue(note)),
        ("tag", lambda app: app.options(tags=["fine", HALF]).enqueue(note)),
        ("idempotency_key", lambda app: app.options(idempotency_key=HALF).enqueue(note)),
        ("name", lambda app: app.enqueue(app.job(name=HALF)(note))),
        ("queue", lambda app: app.enqueue_many([app.options(queue=HALF).call(note)])),
        ("queue", lambda app: app.enqueue(note).then(app.options(queue=HALF).task(note))),
        ("queue", lambda app: app.recurring("pulse", "@daily", app.options(queue=HALF).task(note))),
        ("the recurring job's name", lambda app: app.recurring(HALF, "@daily", note)),
    ],
)
def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands(
    app: EmbedQ, what: str, enqueue: Callable[[EmbedQ], object]
) -> None:
    with pytest.raises(EnqueueError, match=f"^{what} 'half .* has half of a surrogate pair"):
        enqueue(app)
    assert app.schedules() == []


def test_what_middleware_makes_of_a_draft_is_looked_at_too(app: EmbedQ) -> None:
    app.engine.enqueue_middleware.append(lambda draft: replace(draft, tags=(HALF,)))
    with pytest.raises(EnqueueError, match=r"^tag .* surrogate"):
        app.enqueue(note)


def test_text_that_is_whole_is_kept_whatever_it_is(app: EmbedQ) -> None:
    job = app.options(queue="schöne 😀", tags=["😀"], idempotency_key="\u2028").enqueue(note, HALF)
    stored = job.snapshot()
    assert (stored.queue, stored.tags, stored.idempotency_key) == ("schöne 😀", ("😀",), "\u2028")
    app.start()
    assert job.result(10) == HALF


@pytest.mark.parametrize("argument", [PARENT_RESULT, [{"deep": PARENT_RESULT}]])
def test_a_job_for_the_failure_of_another_cannot_ask_for_its_result(app: EmbedQ, argument: object) -> None:
    parent = app.enqueue(note, 1)
    with pytest.raises(EnqueueError, match=r"a job that failed leaves no result\. Leave it out, or use on="):
        parent.then(note, argument, on="failure")
    assert app.count_jobs() == 1
    # It may well have succeeded when it has "finished"; and a text that only looks like it is a text.
    parent.then(note, argument, on="finished")
    parent.then(note, '{"$":["parent_result",null]}', on="failure")
    assert app.count_jobs() == 3


def enqueue_middleware(draft: Draft) -> Draft:
    return draft


def middleware(context: embedq.JobContext) -> Any:
    return nullcontext()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("clock", {"clock": FakeClock()}),
        ("enqueue middleware", {"enqueue_middleware": [enqueue_middleware, enqueue_middleware]}),
        ("middleware", {"middleware": [middleware, middleware]}),
    ],
)
def test_another_clock_or_middleware_than_the_first_time_is_refused(
    tmp_path: Path, clock: FakeClock, name: str, other: dict[str, Any]
) -> None:
    given: dict[str, Any] = {
        "clock": clock,
        "enqueue_middleware": [enqueue_middleware],
        "middleware": [middleware],
    }
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", **given).connect()
    app.configure(**given)
    app.configure()
    with pytest.raises(ConfigurationError, match=f"connected to .* with other {name}; .* make another app"):
        app.configure(**other)
    app.close()
    app.configure(**other)

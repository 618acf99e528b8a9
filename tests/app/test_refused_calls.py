"""What can never work is refused where it is asked for, with words that say what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
    with pytest.raises(EnqueueError, match=f"^{what} 'half .* contains half of a surrogate pair"):
        enqueue(app)
    assert app.schedules() == []


def test_what_middleware_makes_of_a_draft_is_looked_at_too(app: EmbedQ) -> None:
    app.engine.enqueue_middleware.append(lambda draft: replace(draft, tags=(HALF,)))
    with pytest.raises(EnqueueError, match=r"^tag .* surrogate"):
        app.enqueue(note)


@pytest.mark.parametrize(
    "changes",
    [
        {"queue": ""}, {"queue": 7}, {"priority": "high"}, {"priority": 2**40}, {"timeout": -1}, {"timeout": "soon"},
        {"tags": "words"}, {"tags": [""]}, {"idempotency_key": ""}, {"args": None}, {"kwargs": None},
        {"meta": {"a": object()}}, {"meta": None},
    ],
)  # fmt: skip
def test_what_middleware_makes_of_a_draft_is_held_to_what_options_are(url: str, changes: dict[str, Any]) -> None:
    app = EmbedQ(url, enqueue_middleware=[lambda draft: replace(draft, **changes)], secret_key="k" * 32).connect()
    with pytest.raises(ConfigurationError, match=r"note cannot be enqueued as enqueue middleware changed it: \w+"):
        app.enqueue(note)
    assert app.jobs() == []
    app.close()


def test_what_middleware_may_make_of_a_draft_is_kept(app: EmbedQ) -> None:
    def change(draft: Draft) -> Draft:
        return replace(draft, args=["told"], tags=["a", "b"], timeout=timedelta(seconds=5), meta={"a": [1]})  # type: ignore[arg-type]

    other = EmbedQ(app.settings.url, enqueue_middleware=[change]).connect()
    handle = other.enqueue(note)
    job = handle.snapshot()
    assert (job.arguments, job.tags, handle.meta) == ('[["told"],{}]', ("a", "b"), {"a": [1]})
    other.close()


def test_text_that_is_whole_is_kept_whatever_it_is(app: EmbedQ) -> None:
    job = app.options(queue="schöne 😀", tags=["😀"], idempotency_key="\u2028").enqueue(note, HALF)
    stored = job.snapshot()
    assert (stored.queue, stored.tags, stored.idempotency_key) == ("schöne 😀", ("😀",), "\u2028")
    app.start()
    assert job.result(10) == HALF


@pytest.mark.parametrize("argument", [PARENT_RESULT, [{"deep": PARENT_RESULT}]])
def test_a_job_for_the_failure_of_another_cannot_request_its_result(app: EmbedQ, argument: object) -> None:
    parent = app.enqueue(note, 1)
    with pytest.raises(EnqueueError, match=r"a failed job has no result\. Remove it, or use on="):
        parent.then(note, argument, on="failure")
    assert app.count_jobs() == 1
    # It may well have succeeded when it has "finished"; and a text that only looks like it is a text.
    parent.then(note, argument, on="finished")
    parent.then(note, '{"$":["parent_result",null]}', on="failure")
    assert app.count_jobs() == 3


@pytest.mark.parametrize("argument", [PARENT_RESULT, [{"deep": (PARENT_RESULT,)}]])
@pytest.mark.parametrize(
    "enqueue",
    [
        lambda app, argument: app.enqueue(note, argument),
        lambda app, argument: app.enqueue(note, what=argument),
        lambda app, argument: app.enqueue_in(60, note, argument),
        lambda app, argument: app.enqueue_at(datetime(2100, 1, 1, tzinfo=UTC), note, argument),
        lambda app, argument: app.job(name="note")(note).enqueue(argument),
        lambda app, argument: asyncio.run(app.aenqueue(note, argument)),
        lambda app, argument: app.enqueue_many([embedq.call(note, 1), embedq.call(note, argument)]),
        lambda app, argument: app.enqueue_many([app.job(name="many")(note).call(what) for what in (1, argument)]),
        lambda app, argument: app.recurring("pulse", "@daily", embedq.call(note, argument)),
    ],
    ids=["enqueue", "by name", "in", "at", "task", "async", "many", "many of a task", "recurring"],
)
def test_a_job_that_continues_no_other_cannot_request_a_parents_result(
    app: EmbedQ, enqueue: Callable[[EmbedQ, object], object], argument: object
) -> None:
    with pytest.raises(
        EnqueueError, match=r"is not a continuation, but PARENT_RESULT is .* parent\.then\((note|many), "
    ):
        enqueue(app, argument)
    assert (app.count_jobs(), app.schedules()) == (0, [])


def test_middleware_cannot_request_the_result_of_a_parent_that_is_not_there(url: str) -> None:
    app = EmbedQ(url, enqueue_middleware=[lambda draft: replace(draft, args=(PARENT_RESULT,))]).connect()
    with pytest.raises(EnqueueError, match="is not a continuation"):
        app.enqueue(note)
    assert app.count_jobs() == 0
    app.close()


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


@pytest.mark.parametrize("limit", [-1, "5", 1.5, True, None])
def test_a_limit_that_is_no_number_of_things_is_refused(app: EmbedQ, limit: Any) -> None:
    for call in (app.jobs, lambda limit: app.occurrences("nightly", limit)):
        with pytest.raises(ConfigurationError, match=r"limit=.* must be how many \w+, 0 or more"):
            call(limit=limit)
    assert app.jobs(limit=0) == app.jobs(limit=2**70) == []
    assert app.occurrences("nightly", 2**70) == []

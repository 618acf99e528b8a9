"""Options: on the decorator, for one enqueue, or both; and mistakes in them."""

from __future__ import annotations

from datetime import timedelta

import pytest

import embedq
from embedq import ConfigurationError, JobState


def greet(name: str) -> str:
    return f"hello {name}"


def test_the_option_nearer_to_the_enqueue_wins(app: embedq.EmbedQ) -> None:
    task = app.job(queue="mail", priority=3, tags=["a"])(greet)
    plain = task.enqueue("Ada").snapshot()
    assert (plain.queue, plain.priority, plain.tags) == ("mail", 3, ("a",))
    other = task.options(queue="slow").options(tags=["b", "c", "b"]).enqueue("Ada").snapshot()
    assert (other.queue, other.priority, other.tags) == ("slow", 3, ("b", "c"))


def test_options_reach_continuations_and_recurring_jobs_through_a_task(app: embedq.EmbedQ) -> None:
    low = app.options(queue="low", priority=-1).task(greet)
    child = app.enqueue(greet, "Ada").then(low, "Grace").snapshot()
    assert (child.queue, child.priority) == ("low", -1)
    app.recurring("greeting", "@daily", low, "Ada")
    assert [schedule.queue for schedule in app.schedules()] == ["low"]
    assert app.trigger_recurring("greeting").snapshot().priority == -1


def test_a_job_that_could_not_start_in_time_is_cancelled(app: embedq.EmbedQ) -> None:
    job = app.options(expires_in=timedelta(0)).enqueue_in(0.05, greet, "Ada")
    app.start()
    assert job.wait(timeout=10) is JobState.CANCELLED
    assert job.snapshot().error == "expired before it could start"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quue": "mail"}, "unknown option quue; did you mean queue"),
        ({"queue": ""}, "queue='' must be a string of 1 to 255 characters"),
        ({"priority": 1.5}, "priority=1.5 must be a whole number"),
        ({"priority": True}, "priority=True must be a whole number"),
        ({"timeout": -1}, "timeout=-1 must be seconds or a timedelta"),
        ({"timeout": float("nan")}, "must be seconds or a timedelta"),
        ({"expires_in": "1 h"}, "expires_in='1 h' must be seconds or a timedelta"),
        ({"retry": 3}, "must be an embedq.Retry"),
        ({"retention": timedelta(days=1)}, "must be an embedq.Retention"),
        ({"tags": "a,b"}, "must be a list of strings"),
        ({"idempotency_key": "k" * 256}, "must be a string of 1 to 255 characters"),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(
    app: embedq.EmbedQ, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        app.options(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_key_belongs_to_an_enqueue_and_not_to_a_function(app: embedq.EmbedQ) -> None:
    with pytest.raises(ConfigurationError, match="belongs to one enqueue"):
        app.job(idempotency_key="once")(greet)
    with pytest.raises(ConfigurationError, match="cannot have an idempotency_key"):
        app.recurring("greeting", "@daily", app.options(idempotency_key="once").task(greet), "Ada")

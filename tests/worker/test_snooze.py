"""Jobs that put themselves off, in a started app and on every executor."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import embedq
from embedq import ConfigurationError, Ending, JobDeadError, JobState, Snooze
from embedq.tasks.options import Executor
from tests.worker import snoozing_jobs as jobs


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    app = embedq.EmbedQ(url, workers=2, secret_key="a secret of the tests")
    app.start()
    yield app
    assert app.stop(timeout=10)
    app.close()


@pytest.mark.parametrize(
    ("function", "executor"), [(jobs.in_a_thread, "thread"), (jobs.on_a_loop, "async"), (jobs.in_a_process, "process")]
)
def test_it_runs_again_with_no_attempt_counted(
    app: embedq.EmbedQ, function: Callable[[], Any], executor: Executor
) -> None:
    # With a retry policy that allows no second attempt, and a continuation.
    job = app.options(executor=executor, retry=embedq.NO_RETRY).enqueue(function)
    after = job.then(jobs.in_a_thread)
    assert job.result(timeout=60) == "run 3, attempt 1"
    assert [one.ending for one in job.attempts()] == [Ending.SNOOZED, Ending.SNOOZED, Ending.SUCCEEDED]
    assert after.result(timeout=60) == "run 3, attempt 1"


def test_too_often_is_dead_whatever_the_policy_and_is_said(
    app: embedq.EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="embedq"):
        job = app.options(retry=embedq.Retry(attempts=10)).enqueue(jobs.forever)
        with pytest.raises(JobDeadError, match="put itself off 2 times"):
            job.result(timeout=60)
    assert job.state is JobState.DEAD
    told = [(record.job_outcome, record.levelno) for record in caplog.records if hasattr(record, "job_outcome")]
    assert told == [("snoozed", logging.INFO)] * 2 + [("failed", logging.ERROR)]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True, "60", None])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="seconds or a timedelta"):
        Snooze(seconds)


@pytest.mark.parametrize("at_most", [-1, 1.5, True, "3"])
def test_a_cap_that_is_none_is_refused(at_most: Any) -> None:
    with pytest.raises(ConfigurationError, match="at_most"):
        Snooze(1, at_most=at_most)


def test_it_is_given_seconds_or_a_timedelta_and_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(Snooze(timedelta(minutes=1), at_most=7)))
    assert (sent.seconds, sent.at_most) == (60.0, 7)

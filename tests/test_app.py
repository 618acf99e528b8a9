"""The app's verbs, on worker threads of this process."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import embedq
from embedq import JobState


def add(a: int, b: int) -> int:
    return a + b


def test_an_enqueued_function_runs_and_its_result_comes_back(app: embedq.EmbedQ) -> None:
    app.start()
    assert app.enqueue(add, 1, b=2).result(timeout=10) == 3


def test_a_naive_datetime_is_refused(app: embedq.EmbedQ) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        app.enqueue_at(datetime(2027, 1, 1), add, 1, 2)  # noqa: DTZ001
    assert app.enqueue_at(datetime(2027, 1, 1, tzinfo=UTC), add, 1, 2).state is JobState.SCHEDULED

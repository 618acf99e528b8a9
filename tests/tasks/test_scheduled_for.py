"""Which occurrence a recurring job's run is for: the same on every attempt, and its own for each missed occurrence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import embedq
from embedq import EmbedQ, Retry
from embedq.testing import app_under_test

seen: list[tuple[int, Any]] = []
START = datetime(2026, 3, 6, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    seen.clear()


def look() -> str:
    job = embedq.current_job()
    job.meta["attempt"] = job.attempt
    return repr(job.scheduled_for)


def look_and_fail_once() -> None:
    job = embedq.current_job()
    job.meta["attempt"] = job.attempt
    seen.append((job.attempt, job.scheduled_for))
    if job.attempt == 1:
        raise ConnectionError("once more")


@pytest.fixture
def on(url: str) -> Iterator[EmbedQ]:
    """An app on each database, started."""
    app = EmbedQ(url, secret_key="the key of a test of occurrences", processes=1)
    with app:
        yield app
    app.close()


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_run_by_hand_is_for_when_it_was_requested_and_a_plain_job_for_none(on: EmbedQ, executor: Any) -> None:
    assert on.options(executor=executor).enqueue(look).result(60) == "None"
    on.recurring("look", "0 0 1 1 *", on.options(executor=executor, timeout=50).task(look), timezone="UTC")
    job = on.trigger_recurring("look")
    [line] = on.occurrences("look")
    assert job.result(60) == repr(line.fire_at)
    assert job.meta == {"attempt": 1}


def test_each_missed_occurrence_has_its_own_time_and_a_retry_keeps_it() -> None:
    with app_under_test(now=START) as kit:
        retry = Retry(attempts=3)
        kit.app.recurring("days", "0 2 * * *", kit.app.job(retry=retry)(look_and_fail_once), misfire="all")
        kit.clock.advance(days=3, jump=True, raise_errors=False)
        kit.clock.advance(hours=1, raise_errors=False)
    days = [datetime(2026, 3, day, 2, tzinfo=UTC) for day in (7, 8, 9)]
    assert sorted(seen) == [(attempt, day) for attempt in (1, 2) for day in days]

"""Pauses under the clock of the testing kit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import embedq
from embedq.testing import AppUnderTest

pytest_plugins = ["pytest_embedq"]

START = datetime(2026, 3, 6, 12, tzinfo=UTC)
pytestmark = pytest.mark.embedq(now=START)

ran: list[tuple[str, object]] = []


def note(what: object) -> None:
    ran.append((f"{embedq.default_app().clock.moment:%H:%M}", what))  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


TARGETS: list[dict[str, Any]] = [{"queue": "default"}, {"task": note}, {}]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_paused_is_not_drained_and_runs_when_it_is_resumed(
    embedq_app: AppUnderTest, target: dict[str, Any]
) -> None:
    embedq.pause(**target)
    embedq.enqueue(note, 1)
    embedq.enqueue_in(60, note, 2)
    assert not embedq_app.drain()
    embedq_app.clock.advance(hours=1)
    assert ran == []
    assert embedq.resume(**target)
    embedq_app.drain()
    assert ran == [("13:00", 1), ("13:00", 2)]


@pytest.mark.parametrize("target", TARGETS)
def test_the_clock_passes_the_end_of_a_pause_at_its_moment(embedq_app: AppUnderTest, target: dict[str, Any]) -> None:
    embedq.pause(**target, until=timedelta(minutes=10))
    embedq.enqueue(note, 1)
    embedq.enqueue_in(20 * 60, note, 2)
    embedq_app.clock.advance(hours=1)
    assert ran == [("12:10", 1), ("12:20", 2)]
    assert embedq.holds() == []


def test_recurring_jobs_wait_and_follow(embedq_app: AppUnderTest) -> None:
    embedq.recurring("pulse", embedq.every(minutes=10), note, "pulse")
    embedq.pause(task=note, until=timedelta(minutes=25))
    embedq_app.clock.advance(minutes=35)
    # The run of 12:10 has not ended at 12:20.
    assert ran == [("12:25", "pulse"), ("12:30", "pulse")]


def test_another_task_is_drained_from_behind_a_paused_one(embedq_app: AppUnderTest) -> None:
    embedq.pause(task=note)
    for number in range(20):
        embedq.enqueue(note, number)
    embedq.enqueue(len, [1])
    assert [run.job.name for run in embedq_app.drain().ran] == ["builtins:len"]

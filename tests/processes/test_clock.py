"""The wall clock steps while jobs run: back an hour, forward a day. Nobody is taken for dead, nothing fires twice."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import embedq
from embedq import JobState
from embedq.clock import SECOND, SystemClock
from tests.support import eventually

HOUR = 3600.0
DAY = 24 * HOUR


class SteppingClock:
    """The machine's clock, until somebody sets it."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.offset = 0.0

    def now(self) -> int:
        return self._real.now() + int(self.offset * SECOND)

    def monotonic(self) -> float:
        return self._real.monotonic()


@pytest.fixture
def wall() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def apps(url: str, wall: SteppingClock, caplog: pytest.LogCaptureFixture) -> Iterator[list[embedq.EmbedQ]]:
    """Three apps on one database and under one clock, each with threads, locks and a heart of its own: one host."""
    # What ended is kept for longer than the clock steps.
    settings: dict[str, Any] = {"workers": 3, "lease": 3.0, "retention": embedq.Retention(succeeded=timedelta(days=9))}
    started = [embedq.EmbedQ(url, clock=wall, **settings) for _ in range(3)]
    with caplog.at_level(logging.WARNING, logger="embedq"):
        for app in started:
            app.start()
        yield started
        for app in started:
            app.stop()
            app.database.close()
    # Nobody was taken for dead, and nobody gave up the clock with an error.
    assert [record.getMessage() for record in caplog.records] == []


class Board:
    """The jobs of a test, and which of them ran."""

    def __init__(self, app: embedq.EmbedQ) -> None:
        self.ran: Counter[int] = Counter()
        self.release = threading.Event()
        self.note = app.job(name="clock:note")(self._note)
        self.hold = app.job(name="clock:hold")(self._hold)

    def _note(self) -> None:
        self.ran[embedq.current_job().id] += 1

    def _hold(self) -> str:
        self._note()
        assert self.release.wait(60)
        return "held"


@pytest.fixture
def board(apps: list[embedq.EmbedQ]) -> Iterator[Board]:
    board = Board(apps[0])
    yield board
    board.release.set()


@pytest.mark.parametrize(("step", "name"), [(-HOUR, "back an hour"), (DAY, "forward a day")])
def test_a_step_of_the_clock_disturbs_no_running_job_and_no_process(
    apps: list[embedq.EmbedQ], board: Board, wall: SteppingClock, step: float, name: str
) -> None:
    # A timeout that the step would exceed, measured by the wall clock.
    held = [app.options(timeout=600).enqueue(board.hold) for app in apps]
    eventually(lambda: sum(board.ran.values()) == 3)
    servers = {server.uuid for server in apps[0].servers()}

    wall.offset += step
    quick = []
    for _ in range(15):
        quick.append(apps[0].enqueue(board.note))
        assert quick[-1].wait(timeout=10) is JobState.SUCCEEDED
        # Several looks at the neighbours, heartbeats and bids for the lead come in between.
        time.sleep(0.15)

    assert {server.uuid for server in apps[0].servers()} == servers
    assert [job.state for job in held] == [JobState.RUNNING] * 3
    board.release.set()
    assert [job.result(timeout=10) for job in held] == ["held"] * 3
    assert all(board.ran[job.id] == 1 for job in held + quick)
    assert {(job.snapshot().attempt, job.snapshot().crashes) for job in held + quick} == {(1, 0)}


def test_delayed_jobs_follow_the_clock_that_people_see(
    apps: list[embedq.EmbedQ], board: Board, wall: SteppingClock
) -> None:
    tomorrow = apps[0].enqueue_in(timedelta(days=1), board.note)
    soon = apps[1].enqueue_in(timedelta(hours=2), board.note)
    wall.offset -= HOUR
    at_once = apps[2].enqueue_in(0.3, board.note)
    assert at_once.wait(timeout=10) is JobState.SUCCEEDED
    assert [tomorrow.state, soon.state] == [JobState.SCHEDULED] * 2
    wall.offset += HOUR + DAY + 60
    assert tomorrow.wait(timeout=10) is JobState.SUCCEEDED
    assert soon.wait(timeout=10) is JobState.SUCCEEDED
    assert board.ran == {tomorrow.id: 1, soon.id: 1, at_once.id: 1}


def test_recurring_jobs_fire_nothing_twice_when_the_clock_steps(
    apps: list[embedq.EmbedQ], board: Board, wall: SteppingClock
) -> None:
    app = apps[0]
    for each in apps:
        each.recurring("pulse", embedq.every(seconds=1), board.note)
    eventually(lambda: len(app.occurrences("pulse")) >= 2)

    wall.offset -= HOUR
    before = len(app.occurrences("pulse"))
    time.sleep(2.5)
    # These seconds have been.
    assert len(app.occurrences("pulse")) <= before + 1
    wall.offset += HOUR
    eventually(lambda: len(app.occurrences("pulse")) >= before + 2)

    def enqueued() -> list[embedq.Occurrence]:
        return [line for line in app.occurrences("pulse", limit=1000) if line.outcome == "enqueued"]

    before = len(enqueued())
    wall.offset += DAY
    eventually(lambda: len(enqueued()) >= before + 4)
    # The day that never was is one line of the ledger, and at most one late run.
    passed = [line for line in app.occurrences("pulse", limit=1000) if line.outcome == "passed"]
    assert max(line.count for line in passed) in range(86_390, 86_410)
    assert len(enqueued()) < before + 20
    assert len({line.fire_at for line in enqueued()}) == len(enqueued())
    for each in apps:
        each.stop()
    jobs = app.jobs(schedule="pulse", limit=1000)
    assert sorted(job.id for job in jobs) == sorted(line.job_id or 0 for line in enqueued())
    assert all(times == 1 for times in board.ran.values())

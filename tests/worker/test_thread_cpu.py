"""Processor time of runs on a thread: sums hold, a long run has its own."""

from __future__ import annotations

import time

import pytest

from embedq.worker.cpu import READ_EVERY, ThreadCpu


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The thread's processor time, in nanoseconds; change it to spend some."""
    spent = [0]
    monkeypatch.setattr(time, "thread_time_ns", lambda: spent[0])
    return spent


def test_a_run_of_a_millisecond_or_more_has_its_own_time(spend: list[int]) -> None:
    cpu = ThreadCpu()
    spend[0] = 400_000_000
    assert cpu.of_run(1_000_000, 2_000_000) == 400_000
    spend[0] += 1_000_000
    assert cpu.of_run(2_000_000, 3_000_000) == 1_000


def test_short_runs_share_what_they_took_together(spend: list[int]) -> None:
    cpu = ThreadCpu()
    at, given = 10_000_000, []
    for _ in range(1000):
        spend[0] += 50_000
        given.append(cpu.of_run(at, at + 100))
        at += 100
    assert sum(given) == pytest.approx(50_000, rel=0.05)
    assert max(given) <= 100


def test_a_long_run_after_many_short_ones_is_not_charged_for_them(spend: list[int]) -> None:
    cpu = ThreadCpu()
    at = 10_000_000
    for _ in range(READ_EVERY // 100 - 1):
        spend[0] += 100_000
        cpu.of_run(at, at + 100)
        at += 100
    spend[0] += 10_000
    assert cpu.of_run(at, at + 5_000_000) <= 110


def test_a_clock_that_is_set_back_changes_nothing(spend: list[int]) -> None:
    cpu = ThreadCpu()
    spend[0] = 5_000_000
    cpu.of_run(10_000_000, 20_000_000)
    spend[0] += 3_000_000
    assert cpu.of_run(1_000_000, 1_010_000) == 3_000

"""Unique, debounced, throttled and snoozing jobs under the clock of the testing kit."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tenacity

import embedq
from embedq import JobState
from embedq.testing import AppUnderTest, JobFailedError, app_under_test

pytest_plugins = ["pytest_embedq"]

START = datetime(2027, 1, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.embedq(now=START)

ran: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


def index(document: int, version: int = 1) -> None:
    ran.append((f"{embedq.default_app().clock.moment:%H:%M:%S}", document, version))  # type: ignore[attr-defined]


def unique(scope: str = "waiting", on_conflict: str = "keep") -> embedq.Unique:
    return embedq.Unique(scope, by=("document",), on_conflict=on_conflict)  # type: ignore[arg-type]


# -- unique ------------------------------------------------------------------------------------------------------------


def test_a_second_call_is_kept_out_while_the_first_one_waits(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=unique())(index)
    first, second, other = task.enqueue(7, 1), task.enqueue(7, 2), task.enqueue(8)
    assert (second.id, second.created, other.created) == (first.id, False, True)
    assert [(job.id, job.args) for job in embedq_app.enqueued] == [(first.id, (7, 1)), (other.id, (8,))]
    [call] = embedq_app.kept_out
    assert (call.args, call.on_conflict, call.job.id, call.enqueued_at) == ((7, 2), "keep", first.id, START)
    assert str(call) == "index(7, 2): job 1 stands for it"
    embedq_app.drain()
    task.enqueue(7, 3)
    embedq_app.drain()
    assert ran == [("12:00:00", 7, 1), ("12:00:00", 8, 1), ("12:00:00", 7, 3)]
    assert len(embedq_app.kept_out) == 1


def test_a_waiting_job_gets_the_new_arguments_and_is_found_by_them(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=unique(on_conflict="replace"))(index)
    task.enqueue(7, 1)
    embedq_app.assert_enqueued(task, 7, version=1)
    task.enqueue(7, 2)
    [job] = embedq_app.assert_enqueued(task, 7)
    assert job.args == (7, 2)
    embedq_app.assert_not_enqueued(task, 7, version=1)
    [call] = embedq_app.assert_kept_out(task, 7, version=2)
    assert (call.on_conflict, call.job, str(call)) == ("replace", job, "index(7, 2): job 1 got its arguments")
    embedq_app.drain()
    task.enqueue(7, 3)
    assert [job.args for job in embedq_app.assert_enqueued(task, 7)] == [(7, 2), (7, 3)]


def test_a_refused_call_is_kept_out_too(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=unique("unfinished", "raise"))(index)
    first = task.enqueue(7, 1)
    with pytest.raises(embedq.UniqueConflictError):
        task.enqueue(7, 2)
    with pytest.raises(embedq.UniqueConflictError):
        embedq.enqueue_many([embedq.call(task, 8), embedq.call(task, 7, 3)])
    assert [str(call) for call in embedq_app.kept_out] == [
        "index(7, 2): refused, for job 1",
        "index(7, 3): refused, for job 1",
    ]
    assert [job.id for job in embedq_app.enqueued] == [first.id], "none of those that came with it"


def test_a_call_during_the_run_is_kept_out_until_it_has_ended(embedq_app: AppUnderTest) -> None:
    @embedq.job(name="unfinished", unique=embedq.Unique("unfinished"))
    def unfinished() -> None:
        ran.append(unfinished.enqueue().created)

    @embedq.job(name="waiting", unique=embedq.Unique("waiting"))
    def waiting(again: bool = True) -> None:
        if again:
            ran.append([waiting.options(unique=embedq.Unique("waiting", by=())).enqueue(False).created, "second"])
            ran.append([waiting.options(unique=embedq.Unique("waiting", by=())).enqueue(False).created, "third"])

    unfinished.enqueue()
    embedq_app.drain()
    waiting.enqueue()
    embedq_app.drain()
    assert ran == [False, [True, "second"], [False, "third"]]
    assert len(embedq_app.assert_enqueued(waiting, False)) == 1


def test_a_period_ends_by_the_clock(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=embedq.Unique(period=60, by=("document",)))(index)
    assert task.enqueue(7).created
    embedq_app.clock.advance(seconds=59)
    assert not task.enqueue(7).created
    embedq_app.clock.advance(seconds=1)
    assert task.enqueue(7).created


def test_a_retry_gives_way_to_a_newer_job_with_its_key(embedq_app: AppUnderTest) -> None:
    @embedq.job(name="index", unique=unique(), retry=embedq.Retry(attempts=3, wait=tenacity.wait_fixed(10)))
    def fails(document: int, version: int) -> None:
        if version == 1:
            assert fails.enqueue(document, 2).created
            raise ConnectionError("the index is down")

    old = fails.enqueue(7, 1)
    report = embedq_app.drain(raise_errors=False)
    assert [(run.job.args, run.state) for run in report.ran] == [
        ((7, 1), JobState.CANCELLED),
        ((7, 2), JobState.SUCCEEDED),
    ]
    assert report.retried == ()
    assert "superseded by job 2" in str(old.snapshot().error)
    assert not embedq_app.clock.advance(hours=1)


def test_a_recurring_job_is_one_with_what_waits(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=embedq.Unique("waiting", by=()))(index)
    embedq.recurring("pulse", embedq.every(minutes=1), task, 1)
    embedq.pause(task=task, until=timedelta(minutes=10))
    embedq_app.clock.advance(minutes=5)
    assert len(embedq_app.assert_enqueued(task)) == 1


def test_a_job_that_is_cancelled_leaves_no_key(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=embedq.Unique(period=3600))(index)
    task.enqueue(7).cancel()
    assert task.enqueue(7).created
    assert embedq_app.kept_out == []


# -- what can be asserted ----------------------------------------------------------------------------------------------


def test_that_no_call_was_kept_out_is_a_failure_that_shows_what_was(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=unique())(index)
    task.enqueue(7)
    with pytest.raises(AssertionError) as caught:
        embedq_app.assert_kept_out(task, 7)
    assert str(caught.value) == ("no call index(7) was kept out; none was at all.\nThese jobs match:\n  1  index(7)")
    task.enqueue(7, 2)
    with pytest.raises(AssertionError) as caught:
        embedq_app.assert_kept_out(task, 8)
    assert str(caught.value) == "no call index(8) was kept out.\nThese were:\n  index(7, 2): job 1 stands for it"
    with pytest.raises(AssertionError) as caught:
        embedq_app.assert_enqueued(task, 7, version=2)
    assert str(caught.value).splitlines() == [
        "no job index(7, version=2) was enqueued.",
        "These calls made no job of their own:",
        "  index(7, 2): job 1 stands for it",
        "These are other jobs of that function:",
        "  1  index(7)",
        "       version is 1",
    ]
    with pytest.raises(TypeError, match="no job can be"):
        embedq_app.assert_kept_out(task, documnt=7)


def test_options_of_kept_out_calls_match_as_those_of_jobs(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="index", unique=unique())(index)
    task.enqueue(7)
    task.options(queue="low", priority=3, tags=["a", "b"]).enqueue(7)
    [call] = embedq_app.assert_kept_out(task.options(queue="low", tags=["b"]), 7)
    assert (call.queue, call.priority, call.tags) == ("low", 3, ("a", "b"))
    with pytest.raises(AssertionError):
        embedq_app.assert_kept_out(task.options(queue="high"), 7)


def test_a_second_call_with_an_idempotency_key_is_kept_out_too(embedq_app: AppUnderTest) -> None:
    keyed = embedq.options(idempotency_key="webhook 1")
    keyed.enqueue(index, 7)
    keyed.enqueue(index, 7)
    [call] = embedq_app.assert_kept_out(index, 7)
    assert (call.idempotency_key, call.on_conflict) == ("webhook 1", "keep")


def test_calls_are_told_from_wherever_they_are_enqueued(embedq_app: AppUnderTest, tmp_path: Path) -> None:
    task = embedq.job(name="index", unique=unique())(index)
    task.enqueue(7)
    with embedq.hold():
        task.enqueue(7, 2)
        with embedq.hold():
            task.enqueue(7, 3)
        assert embedq_app.kept_out == []
    embedq.enqueue_many([embedq.call(task, 7, 4), embedq.call(task, 9), embedq.call(task, 9, 2)])
    asyncio.run(task.aenqueue(7, 5))
    task.enqueue(8).then(task, 7, 6)
    connection = sqlite3.connect(tmp_path / "shop.db")
    with embedq.transaction(connection):
        task.enqueue(7, 7)
    with pytest.raises(ZeroDivisionError), embedq.transaction(connection):  # noqa: PT012
        task.enqueue(7, 8)
        _ = 1 / 0
    connection.close()
    assert [call.args for call in embedq_app.kept_out] == [(7, 2), (7, 3), (7, 4), (9, 2), (7, 5), (7, 7)]


def test_calls_are_told_when_the_programs_transaction_has_committed(embedq_app: AppUnderTest, tmp_path: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session

    task = embedq.job(name="index", unique=unique(on_conflict="replace"))(index)
    task.enqueue(7)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
    with Session(engine) as session:
        for end, version in ((session.rollback, 2), (session.commit, 3)):
            session.execute(sqlalchemy.text("SELECT 1"))
            with embedq.on_commit(session):
                task.enqueue(7, version)
            assert embedq_app.kept_out == []
            end()
    engine.dispose()
    assert [call.args for call in embedq_app.kept_out] == [(7, 3)]
    embedq_app.assert_enqueued(task, 7, 3)


def test_on_the_programs_own_database_calls_in_its_transactions_are_told(tmp_path: Path) -> None:
    task = embedq.job(name="index", unique=unique(on_conflict="replace"))(index)
    refused = embedq.job(name="refused", unique=unique(on_conflict="raise"))(index)
    with app_under_test(url=f"sqlite:///{tmp_path}/shop.db") as embedq_app:
        connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        with embedq.transaction(connection):
            task.enqueue(7, 1)
            task.enqueue(7, 2)
            refused.enqueue(8, 1)
            with pytest.raises(embedq.UniqueConflictError):
                refused.enqueue(8, 2)
            assert embedq_app.kept_out == []
        connection.execute("COMMIT")
        connection.close()
        assert [call.args for call in embedq_app.kept_out] == [(7, 2), (8, 2)]
        embedq_app.assert_enqueued(task, 7, 2)


def test_a_job_that_was_rolled_back_keeps_no_call_out(embedq_app: AppUnderTest, tmp_path: Path) -> None:
    task = embedq.job(name="map", throttle=embedq.Throttle(3600))(index)
    connection = sqlite3.connect(tmp_path / "shop.db")
    with pytest.raises(ZeroDivisionError), embedq.transaction(connection):  # noqa: PT012
        task.enqueue(7)
        _ = 1 / 0
    connection.close()
    assert task.enqueue(7).created
    assert embedq_app.kept_out == []


# -- debounce and throttle ---------------------------------------------------------------------------------------------


def test_a_debounced_job_runs_once_after_the_last_call(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="feed", debounce=embedq.Debounce(wait=5, at_most=12, by=("document",)))(index)
    first = task.enqueue(7, 1)
    embedq_app.assert_enqueued_in(5, task, 7)
    embedq_app.clock.advance(seconds=4)
    assert task.enqueue(7, 2).id == first.id
    [job] = embedq_app.assert_enqueued_at(START + timedelta(seconds=9), task, 7, 2)
    embedq_app.assert_kept_out(task, 7, 2)
    embedq_app.clock.advance(seconds=4)
    assert ran == []
    embedq_app.clock.advance(seconds=1)
    assert ran == [("12:00:09", 7, 2)]
    assert job.state is JobState.SUCCEEDED
    assert task.enqueue(7, 3).created


def test_however_many_calls_follow_a_debounced_job_runs_in_time(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="feed", debounce=embedq.Debounce(wait=5, at_most=12, by=("document",)))(index)
    for version in range(6):
        task.enqueue(7, version)
        embedq_app.clock.advance(seconds=4)
    assert ran == [("12:00:12", 7, 2), ("12:00:24", 7, 5)]


def test_a_throttled_job_runs_at_once_and_drops_the_calls_of_its_period(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="map", throttle=embedq.Throttle(60, by=("document",)))(index)
    task.enqueue(7, 1)
    embedq_app.drain()
    embedq_app.clock.advance(seconds=59)
    task.enqueue(7, 2)
    embedq_app.assert_kept_out(task, 7, 2)
    embedq_app.clock.advance(seconds=1)
    task.enqueue(7, 3)
    embedq_app.drain()
    assert ran == [("12:00:00", 7, 1), ("12:01:00", 7, 3)]


def test_a_throttled_job_may_run_once_more_at_the_end_of_its_period(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="map", throttle=embedq.Throttle(60, then="last", by=("document",)))(index)
    for version in range(1, 4):
        task.enqueue(7, version)
        embedq_app.drain()
        embedq_app.clock.advance(seconds=10)
    embedq_app.assert_enqueued_at(START + timedelta(minutes=1), task, 7, 3)
    embedq_app.assert_kept_out(task, 7, 3)
    embedq_app.clock.advance(minutes=5)
    assert ran == [("12:00:00", 7, 1), ("12:01:00", 7, 3)]


# -- snooze ------------------------------------------------------------------------------------------------------------


def test_a_job_puts_itself_off_by_the_clock_and_no_attempt_is_counted(embedq_app: AppUnderTest) -> None:
    reports = iter([None, None, "ready"])

    @embedq.job(name="fetch")
    def fetch() -> str:
        report = next(reports)
        if report is None:
            raise embedq.Snooze(60)
        return report

    job = fetch.enqueue()
    report = embedq_app.drain()
    [run] = report.put_off
    assert (run.state, run.ending, run.retry_at) == (JobState.SCHEDULED, "snoozed", START + timedelta(minutes=1))
    assert (report.failed, report.retried) == ((), ())
    assert str(run) == "fetch(): attempt 1 snoozed, to run again 2027-01-01 12:01:00 UTC"
    embedq_app.clock.advance(seconds=59)
    assert job.state is JobState.SCHEDULED
    embedq_app.clock.advance(minutes=2)
    assert (job.result(), job.snapshot().attempt) == ("ready", 1)
    assert job.snapshot().finished_at == START + timedelta(minutes=2)
    [entry] = embedq_app.enqueued
    assert entry.run_at == START, "when it was due as it was enqueued"


def test_a_job_that_puts_itself_off_too_often_fails_the_test(embedq_app: AppUnderTest) -> None:
    @embedq.job(name="never")
    def never() -> None:
        raise embedq.Snooze(60, at_most=2)

    job = never.enqueue()
    with pytest.raises(JobFailedError, match="it put itself off 2 times, as often as it may"):
        embedq_app.clock.advance(minutes=10)
    assert job.state is JobState.DEAD


def test_inline_a_snooze_is_no_error_and_what_is_kept_out_does_not_run(embedq_app: AppUnderTest) -> None:
    @embedq.job(name="later", unique=embedq.Unique("unfinished"))
    def later() -> None:
        ran.append("ran")
        raise embedq.Snooze(60)

    with embedq_app.inline():
        assert later.enqueue().state is JobState.SCHEDULED
        assert not later.enqueue().created
    assert ran == ["ran"]
    embedq_app.assert_kept_out(later)


# -- on every database -------------------------------------------------------------------------------------------------


def test_calls_and_their_times_on_each_database(url: str) -> None:
    feed = embedq.job(name="feed", debounce=embedq.Debounce(wait=5, at_most=60, by=("document",)))(index)
    one = embedq.job(name="one", unique=unique("unfinished", "raise"))(index)
    with app_under_test(url=url, now=START) as embedq_app:
        feed.enqueue(7, 1)
        feed.enqueue(7, 2)
        one.enqueue(9)
        with pytest.raises(embedq.UniqueConflictError):
            one.enqueue(9)
        assert [call.on_conflict for call in embedq_app.kept_out] == ["replace", "raise"]
        embedq_app.clock.advance(minutes=1)
        assert ran == [("12:00:00", 9, 1), ("12:00:05", 7, 2)]

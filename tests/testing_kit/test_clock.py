"""`embedq_app.clock`: time stands still until the test lets it pass; what is due on the way runs at its own time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import tenacity

import embedq
from embedq import JobState
from embedq.clock import to_micros
from embedq.testing import AppUnderTest, EndlessJobsError, JobFailedError

pytest_plugins = ["pytest_embedq"]

START = datetime(2026, 3, 6, 12, tzinfo=UTC)
pytestmark = pytest.mark.embedq(now=START)

ran: list[tuple[str, str]] = []


def note(what: str) -> None:
    ran.append((f"{embedq.default_app().clock.moment:%d %H:%M:%S}", what))  # type: ignore[attr-defined]


def fail_at_first(what: str) -> None:
    note(what)
    if embedq.current_job().attempt < 3:
        raise ConnectionError("not yet")


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


def test_it_begins_when_the_test_says_and_stands_still(embedq_app: AppUnderTest) -> None:
    job = embedq.enqueue_in(60, note, "later")
    assert embedq_app.clock.moment == START
    assert job.snapshot().run_at == START + timedelta(minutes=1)
    assert len(embedq_app.clock.advance(seconds=59)) == 0
    embedq_app.clock.advance(timedelta(seconds=1))
    assert ran == [("06 12:01:00", "later")]
    embedq_app.clock.travel_to(datetime(2026, 3, 7, tzinfo=UTC))
    assert embedq_app.clock.moment == datetime(2026, 3, 7, tzinfo=UTC)


def test_time_does_not_go_backwards(embedq_app: AppUnderTest) -> None:
    with pytest.raises(ValueError, match="time does not go backwards"):
        embedq_app.clock.advance(days=-1)
    with pytest.raises(ValueError, match=r"it is 2026-03-06T12:00:00\+00:00 already"):
        embedq_app.clock.travel_to(START - timedelta(seconds=1))
    with pytest.raises(ValueError, match="has no time zone"):
        embedq_app.clock.travel_to(datetime(2030, 1, 1))  # noqa: DTZ001


def test_each_occurrence_runs_at_its_own_time_in_its_zone_among_all_else_that_is_due(embedq_app: AppUnderTest) -> None:
    # On the 8th clocks in New York go forward.
    embedq.recurring("report", "30 2 * * *", note, "report", timezone="America/New_York")
    embedq.enqueue_at(datetime(2026, 3, 8, 6, tzinfo=UTC), note, "between")
    report = embedq_app.clock.advance(days=3)
    assert ran == [("07 07:30:00", "report"), ("08 06:00:00", "between"), ("08 07:00:00", "report"),
                   ("09 06:30:00", "report")]  # fmt: skip
    assert [run.at for run in report.ran][-1] == datetime(2026, 3, 9, 6, 30, tzinfo=UTC)
    assert {occurrence.outcome for occurrence in embedq_app.app.occurrences("report")} == {"enqueued"}
    assert len(embedq_app.assert_enqueued(note, "report")) == 3, "though the first are not kept any more"


@pytest.mark.parametrize(("misfire", "runs"), [("once", 1), ("all", 3), ("skip", 0)])
def test_a_jump_is_a_machine_that_slept(embedq_app: AppUnderTest, misfire: str, runs: int) -> None:
    embedq.recurring("report", "0 2 * * *", note, "report", misfire=misfire)
    embedq.options(expires_in=3600).enqueue_in(60, note, "expires")
    embedq_app.clock.advance(days=3, jump=True)
    assert ran == [("09 12:00:00", "report")] * runs
    [job] = embedq_app.find(note, "expires")
    assert job.state is JobState.CANCELLED


def test_what_was_not_drained_runs_first(embedq_app: AppUnderTest) -> None:
    embedq.enqueue(note, "now")
    embedq_app.clock.advance(hours=1)
    assert ran == [("06 12:00:00", "now")]


def test_retries_happen_at_their_time(embedq_app: AppUnderTest) -> None:
    policy = embedq.Retry(attempts=3, wait=tenacity.wait_fixed(3600))
    job = embedq.options(retry=policy).enqueue(fail_at_first, "try")
    with pytest.raises(JobFailedError, match="2 of 3 job runs failed"):
        embedq_app.clock.advance(days=1)
    assert embedq_app.clock.moment == START + timedelta(days=1), "the clock has arrived"
    assert ran == [("06 12:00:00", "try"), ("06 13:00:00", "try"), ("06 14:00:00", "try")]
    assert [attempt.ending for attempt in job.attempts()] == ["failed", "failed", "succeeded"]


def test_a_retry_can_be_followed_step_by_step(embedq_app: AppUnderTest) -> None:
    policy = embedq.Retry(attempts=3, wait=tenacity.wait_fixed(60))
    job = embedq.options(retry=policy).enqueue(fail_at_first, "try")
    assert len(embedq_app.drain(raise_errors=False).retried) == 1
    assert len(embedq_app.clock.advance(minutes=1, raise_errors=False).retried) == 1
    assert len(embedq_app.clock.advance(minutes=1).succeeded) == 1
    assert job.state is JobState.SUCCEEDED


def test_a_job_whose_process_died_runs_again_when_the_lease_is_over(embedq_app: AppUnderTest) -> None:
    job = embedq.enqueue(note, "report")
    other = embedq.options(queue="mail").enqueue(note, "mail")
    assert embedq_app.crash_next(queue="default").handle == job
    assert (job.state, other.state) == (JobState.RUNNING, JobState.READY)
    assert [run.job.handle for run in embedq_app.drain().ran] == [other]
    assert not embedq_app.clock.advance(seconds=30)
    [run] = embedq_app.clock.advance(hours=1).ran
    assert (run.job.handle, run.attempt) == (job, 1)
    assert ran == [("06 12:00:00", "mail"), ("06 12:00:30", "report")]
    assert [attempt.ending for attempt in job.attempts()] == [embedq.Ending.CRASHED, embedq.Ending.SUCCEEDED]


def test_one_that_was_in_crashes_again_and_again_runs_and_is_dead_in_the_end(embedq_app: AppUnderTest) -> None:
    job = embedq.options(retry=embedq.Retry(wait=tenacity.wait_fixed(60))).enqueue(fail_at_first, "poison")
    for crashes in (1, 2, 3):
        assert embedq_app.crash_next().handle == job
        embedq_app.clock.advance(seconds=31, raise_errors=False)
        assert job.snapshot().crashes == crashes
        if crashes < 3:
            assert job.state is JobState.RETRYING
            embedq_app.clock.set(to_micros(job.snapshot().run_at))
    assert job.state is JobState.DEAD
    assert len(ran) == 2


def test_there_must_be_a_job_to_crash_in(embedq_app: AppUnderTest) -> None:
    embedq.enqueue_in(60, note, "later")
    with pytest.raises(LookupError, match="no job is due"):
        embedq_app.crash_next()
    assert embedq_app.app.servers() == []
    assert len(embedq_app.clock.advance(seconds=60)) == 1


def test_what_has_been_kept_long_enough_is_gone(embedq_app: AppUnderTest) -> None:
    job = embedq.enqueue(note, "kept for a day")
    embedq.enqueue_in(3600, note, "the newest row is never deleted")
    embedq_app.clock.advance(hours=23)
    assert job.state is JobState.SUCCEEDED
    embedq_app.clock.advance(hours=1)
    with pytest.raises(embedq.JobNotFoundError):
        _ = job.state
    embedq_app.assert_enqueued(note, "kept for a day")


def test_a_paused_schedule_stays_silent(embedq_app: AppUnderTest) -> None:
    embedq.recurring("pulse", embedq.every(hours=1), note, "pulse")
    embedq.pause_recurring("pulse")
    embedq_app.clock.advance(hours=3)
    embedq.resume_recurring("pulse")
    embedq_app.clock.advance(hours=2)
    assert [at for at, _ in ran] == ["06 16:00:00", "06 17:00:00"]


def test_a_schedule_that_is_due_now_fires_in_a_drain(embedq_app: AppUnderTest) -> None:
    embedq.recurring("pulse", embedq.every(hours=1), note, "pulse")
    embedq_app.clock.set(embedq_app.clock.now() + 3600 * 1_000_000)
    embedq_app.drain()
    assert ran == [("06 13:00:00", "pulse")]


def test_too_much_in_flight_is_reported_soon(embedq_app: AppUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedq.testing.kit.MOST_ON_THE_WAY", 50)
    embedq.recurring("pulse", embedq.every(seconds=1), note, "pulse")
    with pytest.raises(EndlessJobsError, match="50 jobs ran on the way to 2026-03-06 12:00:50 UTC"):
        embedq_app.clock.advance(days=365)

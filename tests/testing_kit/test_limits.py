"""Limits, rates and lanes under the clock of the testing kit."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import embedq
from embedq import JobState
from embedq.testing import AppUnderTest, EndlessJobsError, JobFailedError, JobNotRunError, app_under_test

pytest_plugins = ["pytest_embedq"]

START = datetime(2027, 1, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.embedq(now=START)

ran: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


def note(what: object) -> None:
    ran.append(what)


def timed(what: object) -> None:
    ran.append((f"{embedq.default_app().clock.moment:%H:%M:%S}", what))  # type: ignore[attr-defined]


async def anote(what: object) -> None:
    await asyncio.sleep(0)
    ran.append(what)


def running() -> int:
    return sum(use.running for use in embedq.limits())


# -- what runs, and in which order -------------------------------------------------------------------------------------


def test_jobs_under_limits_rates_and_in_lanes_are_drained(url: str) -> None:
    """On every database."""
    api = embedq.limit("api", total=2, rate=embedq.Rate(100, per=60, burst=10))
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1, per="what"), limits=[api])(note)
    fair = embedq.job(name="fair", fair_by="what")(note)
    rated = embedq.job(name="rated", rate=embedq.Rate(1, per=60))(timed)
    with app_under_test(url=url, now=START) as embedq_app:
        for what in range(3):
            limited.enqueue(what)
            fair.enqueue(what)
            rated.enqueue(what)
        report = embedq_app.drain()
        assert len(report) == 7
        assert running() == 0
        assert sorted(run.job.args[0] for run in report.ran if run.job.name != "rated") == [0, 0, 1, 1, 2, 2]
        embedq_app.clock.advance(minutes=5)
        assert [one for one in ran if isinstance(one, tuple)] == [("12:00:00", 0), ("12:01:00", 1), ("12:02:00", 2)]
        assert {use.name: use.running for use in embedq.limits()} == {"api": 0, "limited": 0, "rated": 0}


def test_a_permit_is_held_while_the_job_runs_and_is_back_then(embedq_app: AppUnderTest) -> None:
    @embedq.job(name="one at a time", concurrency=embedq.Limit(1))
    def look() -> int:
        return running()

    jobs = [look.enqueue() for _ in range(3)]
    embedq_app.drain()
    assert [job.result() for job in jobs] == [1, 1, 1]
    assert running() == 0


def test_lanes_take_turns_by_their_weights(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="rows", fair_by="what")(note)
    for what in ("a", "a", "a", "b", "c", "c"):
        task.enqueue(what)
    embedq_app.drain()
    assert sorted(ran[:3]) == ["a", "b", "c"]  # type: ignore[type-var]
    assert sorted(ran[3:5]) == ["a", "c"]  # type: ignore[type-var]
    assert ran[5:] == ["a"]
    ran.clear()
    for what, weight in (("x", 2), ("y", 1)):
        for _ in range(4):
            task.options(weight=weight).enqueue(what)
    embedq_app.drain()
    assert [ran[:6].count("x"), ran[:6].count("y")] == [4, 2]


def test_lanes_and_plain_jobs_take_turns_and_the_oldest_job_is_first(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1))(note)
    for number in range(3):
        embedq.enqueue(note, f"plain {number}")
        limited.enqueue(f"limited {number}")
    embedq_app.drain()
    assert ran == ["plain 0", "limited 0", "plain 1", "limited 1", "plain 2", "limited 2"]
    ran.clear()
    limited.enqueue("first")
    for number in range(2):
        embedq.enqueue(note, number)
    embedq_app.drain()
    assert ran == ["first", 0, 1]


def test_a_higher_priority_goes_first_whatever_the_executor(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1))(note)
    alimited = embedq.job(name="alimited", concurrency=embedq.Limit(1))(anote)
    embedq.enqueue(note, "plain")
    alimited.options(priority=1).enqueue("async, 1")
    limited.options(priority=5).enqueue("5")
    embedq.options(priority=3).enqueue(anote, "plain async, 3")
    limited.options(priority=-1).enqueue("-1")
    embedq_app.drain()
    assert ran == ["5", "plain async, 3", "async, 1", "plain", "-1"]


def test_a_reached_limit_is_in_no_other_jobs_way(embedq_app: AppUnderTest) -> None:
    """With more lanes before it than one claim visits."""
    task = embedq.job(name="rows", concurrency=embedq.Limit(1, per="what"), rate=embedq.Rate(1, per=60, key="what"))(
        note
    )
    for _ in range(2):
        for tenant in range(60):
            task.enqueue(tenant)
    embedq.enqueue(anote, "async")
    embedq_app.drain()
    assert (len(ran), set(ran)) == (61, {"async", *range(60)})
    task.enqueue("another")
    embedq_app.drain()
    assert ran[-1] == "another"
    embedq_app.clock.advance(minutes=1)
    assert len(ran) == 122


def test_one_queue_of_two_with_lanes(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1))(note)
    for queue in ("a", "b"):
        limited.options(queue=queue).enqueue(queue)
    embedq_app.drain(queue="b")
    assert ran == ["b"]
    assert len(embedq_app.drain(limit=1)) == 1
    assert ran == ["b", "a"]


def test_jobs_without_end_under_a_limit_are_found_out_and_waiting_ones_are_none(
    embedq_app: AppUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedq.testing.running.MOST_RUNS", 10)

    @embedq.job(name="again", concurrency=embedq.Limit(1))
    def again() -> None:
        again.enqueue()

    rated = embedq.job(name="rated", rate=embedq.Rate(1, per=60, burst=10))(note)
    for number in range(11):
        rated.enqueue(number)
    assert len(embedq_app.drain()) == 10
    again.enqueue()
    with pytest.raises(EndlessJobsError, match=r"10 jobs have run"):
        embedq_app.drain()
    assert running() == 0, "what shows that there are more is not claimed"


def test_inline_a_job_runs_when_its_limit_is_free(embedq_app: AppUnderTest) -> None:
    @embedq.job(name="nested", concurrency=embedq.Limit(1))
    def nested(level: int) -> None:
        if level:
            nested.enqueue(level - 1)
        note(level)

    with embedq_app.inline():
        nested.enqueue(2)
    assert ran == [2, 1, 0], "each has to end before the next may start"


# -- time --------------------------------------------------------------------------------------------------------------


def test_the_clock_passes_each_start_that_a_rate_allows(embedq_app: AppUnderTest) -> None:
    rated = embedq.job(name="rated", rate=embedq.Rate(6, per=60, burst=2))(timed)
    for number in range(5):
        rated.enqueue(number)
    assert len(embedq_app.drain()) == 2
    assert len(embedq_app.drain()) == 0
    embedq_app.clock.advance(seconds=25)
    assert ran == [("12:00:00", 0), ("12:00:00", 1), ("12:00:10", 2), ("12:00:20", 3)]
    embedq_app.clock.advance(minutes=10, jump=True)
    assert ran[4:] == [("12:10:25", 4)]


def test_a_rate_of_one_a_day_outlasts_what_is_deleted_meanwhile(embedq_app: AppUnderTest) -> None:
    daily = embedq.job(name="daily", rate=embedq.Rate(1, per=86_400))(timed)
    daily.enqueue("first")
    daily.enqueue("second")
    embedq_app.clock.advance(hours=12)
    embedq_app.clock.advance(hours=11)
    assert ran == [("12:00:00", "first")]
    embedq_app.clock.advance(hours=1)
    assert ran[1:] == [("12:00:00", "second")]


def test_a_job_that_is_refused_for_now_runs_again_then_and_the_others_wait(embedq_app: AppUnderTest) -> None:
    api = embedq.limit("api", total=5)
    answers = iter(["busy", "fine", "fine"])

    @embedq.job(name="ask", limits=[api])
    def ask(what: str) -> None:
        timed(what)
        if next(answers) == "busy":
            raise embedq.RateLimited(retry_after=30, limit=api)

    first = ask.enqueue("first")
    ask.enqueue("second")
    embedq.enqueue(timed, "under no limit")
    report = embedq_app.drain()
    assert ran == [("12:00:00", "first"), ("12:00:00", "under no limit")]
    [run] = report.put_off
    assert (run.job.id, run.retry_at, report.failed, report.retried) == (
        first.id,
        START + timedelta(seconds=30),
        (),
        (),
    )
    assert str(report).splitlines()[-1] == "ask('second'): waits; limit api is closed for 30 s: a job was refused"
    embedq_app.clock.advance(seconds=29)
    assert len(ran) == 2
    embedq_app.clock.advance(seconds=1)
    assert ran[2:] == [("12:00:30", "first"), ("12:00:30", "second")]
    assert first.snapshot().attempt == 1


def test_a_lost_machines_permit_is_back_after_its_lease(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1))(timed)
    limited.enqueue("lost")
    limited.enqueue("next")
    embedq_app.crash_next()
    assert not embedq_app.drain()
    embedq_app.clock.advance(minutes=1)
    assert ran == [("12:00:30", "lost"), ("12:00:30", "next")]


def test_delayed_retried_and_recurring_jobs_are_under_their_limits(embedq_app: AppUnderTest) -> None:
    rated = embedq.job(name="rated", rate=embedq.Rate(1, per=60))(timed)
    embedq.recurring("pulse", embedq.every(minutes=2), rated, "pulse")
    rated.enqueue_in(110, "delayed")
    embedq_app.clock.advance(minutes=5)
    assert ran == [("12:01:50", "delayed"), ("12:02:50", "pulse"), ("12:04:00", "pulse")]


def test_a_pause_holds_what_is_under_a_limit_too(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1))(timed)
    embedq.pause(task=limited, until=timedelta(minutes=10))
    limited.enqueue("held")
    assert not embedq_app.drain()
    embedq_app.clock.advance(hours=1)
    assert ran == [("12:10:00", "held")]


def test_a_job_that_was_lost_twice_runs_last_and_within_its_limit(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1))(note)
    limited.enqueue("lost")
    for _ in range(2):
        embedq_app.crash_next()
        embedq.pause()
        embedq_app.clock.advance(seconds=31)
        embedq.resume()
    limited.enqueue("next")
    embedq_app.drain()
    assert ran == ["next", "lost"]


def test_jobs_for_processes_of_their_own_are_under_limits_too(embedq_app: AppUnderTest) -> None:
    own = embedq.job(name="own", executor="process", rate=embedq.Rate(1, per=60))(timed)
    own.enqueue(1)
    own.enqueue(2)
    embedq_app.clock.advance(minutes=1)
    assert ran == [("12:00:00", 1), ("12:01:00", 2)]


def test_a_job_under_a_limit_that_cannot_run_here_runs_once_it_can(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="later defined", concurrency=embedq.Limit(1))(note)
    job = task.enqueue("found")
    task.enqueue("behind it")
    registry = embedq_app.app.engine.registry
    del registry._by_name["later defined"]
    with pytest.raises(JobFailedError, match=r"it cannot run here(.|\n)*no task is registered as 'later defined'"):
        embedq_app.drain()
    assert job.state is JobState.PARKED
    registry.add(task)
    embedq_app.drain()
    assert ran == ["found", "behind it"]


def test_an_expired_job_takes_no_start_of_others(embedq_app: AppUnderTest) -> None:
    limited = embedq.job(name="limited", concurrency=embedq.Limit(1), rate=embedq.Rate(1, per=60))(timed)
    expired = limited.options(expires_in=5).enqueue("expired")
    limited.enqueue("other")
    embedq_app.clock.advance(minutes=1, jump=True)
    assert (expired.state, ran) == (JobState.CANCELLED, [("12:01:00", "other")])


def test_inline_a_limit_that_is_raised_lets_the_waiting_jobs_run(embedq_app: AppUnderTest) -> None:
    api = embedq.limit("api", total=0)
    ask = embedq.job(name="ask", limits=[api])(anote)
    with embedq_app.inline():
        ask.enqueue(1)
        assert ran == []
        embedq.set_limit(api, total=1)
        assert ran == [1]


def test_inline_many_threads_under_one_limit(embedq_app: AppUnderTest) -> None:
    most = []

    @embedq.job(name="one", concurrency=embedq.Limit(1))
    def one() -> None:
        most.append(running())

    with embedq_app.inline(), ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(one.enqueue) for _ in range(20)]:
            done.result()
    embedq_app.drain()
    assert most == [1] * 20


# -- why it waits ------------------------------------------------------------------------------------------------------


def test_a_limit_of_0_lets_nothing_start_and_the_kit_says_why(embedq_app: AppUnderTest) -> None:
    api = embedq.limit("api", total=3)
    task = embedq.job(name="ask", limits=[api])(note)
    embedq.set_limit(api, total=0)
    job = task.enqueue(1)
    report = embedq_app.drain()
    assert str(report) == "nothing ran\nask(1): waits; limit api: 0 run, 0 may"
    [waiting] = report.waiting
    assert (waiting.job.id, waiting.limits, job.state) == (job.id, ("api",), JobState.READY)
    with pytest.raises(JobNotRunError, match=r"is ready: limit api: 0 run, 0 may; .*embedq\.set_limit"):
        job.result()
    assert not embedq_app.clock.advance(days=2)
    embedq.set_limit(api, total=None)
    assert embedq_app.drain().waiting == ()
    assert ran == [1]


def test_a_limit_of_0_in_the_code(embedq_app: AppUnderTest) -> None:
    job = embedq.job(name="off", concurrency=embedq.Limit(0))(note).enqueue(1)
    with pytest.raises(JobNotRunError, match="limit off: 0 run, 0 may"):
        job.wait()
    assert embedq.why_waiting(job.id) == "no process that knows the limit off has run"
    embedq_app.drain()
    assert embedq.why_waiting(job.id) == "limit off: 0 run, 0 may"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"queue": "default"}, "queue default is paused (migration); resume it: embedq.resume(queue='default')"),
        ({"task": "noted"}, "task noted is paused (migration); resume it: embedq.resume(task='noted')"),
        ({}, "everything is paused (migration); resume it: embedq.resume()"),
    ],
)
def test_what_is_paused_is_told_too(embedq_app: AppUnderTest, given: dict[str, str], told: str) -> None:
    job = embedq.job(name="noted")(note).enqueue(1)
    embedq.pause(**given, reason="migration")  # type: ignore[arg-type]
    text, _, _ = told.partition(";")
    assert str(embedq_app.drain()) == f"nothing ran\nnoted(1): waits; {text}"
    with pytest.raises(JobNotRunError) as caught:
        job.result()
    assert told in str(caught.value)


def test_that_a_job_waits_for_a_limit_can_be_asserted(embedq_app: AppUnderTest) -> None:
    api, other = embedq.limit("api", total=5, rate=embedq.Rate(1, per=60)), embedq.limit("other", total=5)
    ask = embedq.job(name="ask", limits=[api])(note)
    first, second, third = ask.enqueue("first"), ask.enqueue("second"), ask.enqueue("third")
    ask.enqueue_in(600, "later")
    with pytest.raises(AssertionError, match=r"no job ask\('first'\) waits for a limit(.|\n)*no limit keeps it; drain"):
        embedq_app.assert_waits_for(None, ask, "first")
    embedq_app.drain()
    assert [job.id for job in embedq_app.assert_waits_for(api, ask)] == [second.id, third.id]
    assert [job.id for job in embedq_app.assert_waits_for("api", ask, "third")] == [third.id]
    assert len(embedq_app.assert_waits_for(None, ask)) == 2
    with pytest.raises(AssertionError) as caught:
        embedq_app.assert_waits_for(other, ask)
    assert str(caught.value).splitlines() == [
        "no job ask() waits for the limit other. These were enqueued:",
        "  1  ask('first')",
        "       it is succeeded",
        "  2  ask('second')",
        "       it is ready, and waits: rate: next in 1 min 0 s",
        "  3  ask('third')",
        "       it is ready, and waits: behind one other of api; rate: next in 1 min 0 s",
        "  4  ask('later')  due 0:10:00 later, at 2027-01-01 12:10:00 UTC",
        "       it is scheduled until 2027-01-01 12:10:00 UTC",
    ]
    with pytest.raises(AssertionError, match=r"no job ask\('fourth'\) was enqueued"):
        embedq_app.assert_waits_for(api, ask, "fourth")
    with pytest.raises(ValueError, match="has the function's job name"):
        embedq_app.assert_waits_for(embedq.Limit(1), ask)
    assert first.state is JobState.SUCCEEDED


def test_a_functions_own_limit_has_the_jobs_name(embedq_app: AppUnderTest) -> None:
    send = embedq.job(name="mail:send", concurrency=embedq.Limit(1, per="what"))(note)
    for what in ("a", "b"):
        send.enqueue(what)
    send.enqueue("a")
    embedq_app.crash_next()
    embedq_app.crash_next()
    [job] = embedq_app.assert_waits_for("mail:send", send)
    assert job.args == ("a",)
    assert str(embedq_app.drain().waiting[0]) == "send('a'): waits; limit mail:send of a: 1 run, 1 may"


def test_the_values_of_a_test_are_gone_after_it(tmp_path: Path) -> None:
    api = embedq.limit("api", total=3)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        with app_under_test(folder=tmp_path / folder):
            assert embedq.limits() == []
            embedq.set_limit(api, total=1)

"""`embedq_app.drain()` and inline mode: jobs run in the test's own thread, by production's code, in a known order."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tenacity

import embedq
from embedq import JobState
from embedq.testing import AppUnderTest, EndlessJobsError, JobFailedError, JobNotRunError, app_under_test

pytest_plugins = ["pytest_embedq"]

ran: list[object] = []
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")
SOON = embedq.Retry(attempts=2, wait=tenacity.wait_fixed(10))


def note(what: object) -> object:
    ran.append(what)
    return what


def note_and_enqueue(what: object, after: object) -> None:
    note(what)
    embedq.enqueue(note, after)


def fail(what: str = "") -> None:
    note(what)
    raise ValueError(f"{what} is bad")


async def anote(what: object) -> object:
    await asyncio.sleep(0)
    return note(what)


def for_ever() -> None:
    embedq.enqueue(for_ever)


def read_request_id() -> str:
    return request_id.get()


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


def test_nothing_runs_before_the_drain_and_all_of_it_then(embedq_app: AppUnderTest) -> None:
    jobs = embedq.enqueue_many([embedq.call(note, number) for number in range(3)])
    assert ran == []
    report = embedq_app.drain()
    assert ran == [0, 1, 2]
    assert [run.job.args for run in report.ran] == [(0,), (1,), (2,)]
    assert len(report.succeeded) == len(report) == 3
    assert [job.result() for job in jobs] == [0, 1, 2]
    assert str(embedq_app.drain()) == "nothing ran"


def test_what_jobs_enqueue_and_what_continues_them_runs_in_the_same_drain(embedq_app: AppUnderTest) -> None:
    first = embedq.enqueue(note_and_enqueue, "first", "child")
    first.then(note, embedq.PARENT_RESULT)
    first.then(note, "never", on="failure")
    embedq_app.drain()
    assert ran == ["first", None, "child"]


def test_urgent_jobs_come_first_async_ones_among_them(embedq_app: AppUnderTest) -> None:
    embedq.enqueue(anote, "async")
    embedq.enqueue(note, "sync")
    embedq.options(priority=9, queue="b").enqueue(anote, "urgent")
    embedq.options(priority=9, queue="a").enqueue(note, "urgent too")
    embedq_app.drain()
    assert ran == ["urgent", "urgent too", "async", "sync"]


def test_queues_come_in_the_order_of_the_app_and_the_others_after_them(embedq_app: AppUnderTest) -> None:
    embedq.start("sqlite:///elsewhere.db", queues=["high", "default"])
    for queue in ("heavy", "default", "high"):
        embedq.options(queue=queue, priority=len(queue)).enqueue(note, queue)
    embedq_app.drain()
    assert ran == ["high", "default", "heavy"]


def test_one_queue_or_a_few_jobs_can_be_run(embedq_app: AppUnderTest) -> None:
    mail = embedq.options(queue="mail").enqueue(note, "mail")
    embedq.enqueue(note, 1)
    embedq.enqueue(note, 2)
    embedq_app.drain(queue="mail")
    assert ran == ["mail"]
    assert mail.state is JobState.SUCCEEDED
    assert len(embedq_app.drain(limit=1)) == 1
    with pytest.raises(ValueError, match="limit=0 must be 1 or more"):
        embedq_app.drain(limit=0)
    with pytest.raises(TypeError, match="must be the name of one queue"):
        embedq_app.drain(queue=["mail", "default"])  # type: ignore[arg-type]
    assert ran == ["mail", 1]


def test_async_jobs_run_on_one_loop_in_the_tests_thread(embedq_app: AppUnderTest) -> None:
    seen = []

    @embedq.job(name="look")
    async def look() -> None:
        seen.append((asyncio.get_running_loop(), threading.current_thread()))

    look.enqueue()
    look.enqueue()
    embedq_app.drain()
    assert seen[0] == seen[1]
    assert seen[0][1] is threading.current_thread()


def test_a_failing_job_fails_the_test_with_its_own_traceback_and_the_others_have_run(embedq_app: AppUnderTest) -> None:
    embedq.enqueue(fail, "one")
    embedq.enqueue(note, "between")
    embedq.enqueue(fail, "two")
    with pytest.raises(JobFailedError, match="2 of 3 job runs failed") as caught:
        embedq_app.drain()
    assert ran == ["one", "between", "two"]
    assert "fail('one'): attempt 1 failed, to be tried again" in str(caught.value)
    assert "two is bad" in str(caught.value)
    cause = caught.value.__cause__
    assert isinstance(cause, ValueError)
    assert cause.__traceback__ is not None
    assert cause.__traceback__.tb_frame.f_code.co_name == "fail", "it begins in the job's own code"
    assert [run.job.args for run in caught.value.report.failed] == [("one",), ("two",)]


def test_failures_can_be_looked_at_instead(embedq_app: AppUnderTest) -> None:
    tried = embedq.options(retry=SOON).enqueue(fail, "again")
    spent = embedq.options(retry=embedq.NO_RETRY).enqueue(fail, "once")
    report = embedq_app.drain(raise_errors=False)
    assert [run.job.id for run in report.failed] == [tried.id, spent.id]
    [run] = report.retried
    assert (run.job.id, run.error) == (tried.id, "ValueError: again is bad")
    assert run.retry_at is not None
    assert (run.retry_at - run.at).total_seconds() == 10
    assert (tried.state, spent.state) == (JobState.RETRYING, JobState.DEAD)
    assert "again is bad" in str(tried.attempts()[0].traceback)


def test_a_job_that_cannot_run_here_is_a_failure_and_runs_once_it_can(embedq_app: AppUnderTest) -> None:
    task = embedq.job(name="later defined")(note)
    job = task.enqueue("found")
    registry = embedq_app.app.engine.registry
    del registry._by_name["later defined"]
    with pytest.raises(JobFailedError, match=r"it cannot run here(.|\n)*no task is registered as 'later defined'"):
        embedq_app.drain()
    assert job.state is JobState.PARKED
    registry.add(task)
    embedq_app.drain()
    assert ran == ["found"]


def test_jobs_without_end_are_found_out(embedq_app: AppUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedq.testing.running.MOST_RUNS", 20)
    embedq.enqueue(for_ever)
    with pytest.raises(EndlessJobsError, match=r"20 jobs have run(.|\n)*for_ever\(\): attempt 1 succeeded"):
        embedq_app.drain()
    assert len(embedq_app.drain(limit=30)) == 30


def test_what_a_job_logs_and_reports_is_kept(embedq_app: AppUnderTest) -> None:
    def work() -> None:
        embedq.current_job().log("half of it")
        embedq.current_job().progress(0.5)

    job = embedq.enqueue(work)
    embedq_app.drain()
    assert [line.message for line in job.logs()] == ["half of it"]
    assert job.snapshot().progress == 0.5


def test_middleware_and_settings_of_the_program_hold_and_its_start_and_stop_change_nothing(
    embedq_app: AppUnderTest,
) -> None:
    seen: list[str] = []

    @contextmanager
    def middleware(job: embedq.JobContext) -> Iterator[None]:
        seen.append(f"{job.meta['from']} {job.name.rpartition(':')[2]}")
        yield

    def stamp(draft: embedq.Draft) -> embedq.Draft:
        draft.meta["from"] = "here"
        return draft

    threads = threading.active_count()
    with embedq.start("sqlite:///never.db", middleware=[middleware], enqueue_middleware=[stamp], timeout=7):
        embedq.enqueue(note, 1)
        # A thread of an earlier test may end meanwhile.
        assert threading.active_count() <= threads
    embedq.stop()
    assert embedq_app.app.settings.timeout == 7
    assert not embedq_app.app.started
    embedq_app.drain()
    assert (seen, ran) == (["here note"], [1])
    with pytest.raises(embedq.ConfigurationError, match="workers=0"):
        embedq.start(workers=0)


def test_a_job_sees_nothing_of_the_context_that_enqueued_it(embedq_app: AppUnderTest) -> None:
    token = request_id.set("of the test")
    job = embedq.enqueue(read_request_id)
    embedq_app.drain()
    request_id.reset(token)
    assert job.result() == "none", "as on a worker thread"


def test_waiting_for_a_job_that_nothing_runs_fails_at_once(embedq_app: AppUnderTest) -> None:
    with pytest.raises(JobNotRunError, match=r"is ready; run what is due first: embedq_app.drain\(\)"):
        embedq.enqueue(note, 1).result()
    with pytest.raises(JobNotRunError, match=r"is scheduled until .* embedq_app.clock.advance"):
        asyncio.run(embedq.enqueue_in(60, note, 1).aresult())


def test_ctrl_c_and_pytests_own_outcomes_are_the_tests_and_not_the_jobs(embedq_app: AppUnderTest) -> None:
    embedq.enqueue(pytest.fail, "said in a job")
    with pytest.raises(pytest.fail.Exception, match="said in a job"):
        embedq_app.drain(raise_errors=False)


def test_a_timeout_is_kept(embedq_app: AppUnderTest) -> None:
    def busy() -> None:
        while True:
            pass

    embedq.options(timeout=0.05, retry=embedq.NO_RETRY).enqueue(busy)
    with pytest.raises(JobFailedError, match=r"timed out, dead(.|\n)*longer than its timeout of 0.05 s"):
        embedq_app.drain()


# -- inline ------------------------------------------------------------------------------------------------------------


def test_inline_a_job_runs_in_its_enqueue_with_what_it_enqueues_itself(embedq_app: AppUnderTest) -> None:
    with embedq_app.inline():
        job = embedq.enqueue(note_and_enqueue, "outer", "inner")
        assert ran == ["outer", "inner"]
        assert job.snapshot().state is JobState.SUCCEEDED
        job.then(note, "after")
        later = embedq.enqueue_in(60, note, "later")
        assert ran == ["outer", "inner", "after"]
        embedq.enqueue_many([embedq.call(note, 1), embedq.call(anote, 2)])
    assert ran == ["outer", "inner", "after", 1, 2]
    assert later.state is JobState.SCHEDULED
    embedq.enqueue(note, "not any more")
    assert "not any more" not in ran


def test_inline_a_job_can_wait_for_the_job_that_it_enqueues(embedq_app: AppUnderTest) -> None:
    def outer() -> str:
        inner = embedq.enqueue(anote, "inner")
        assert embedq.current_job().name.endswith("outer")
        return f"waited for {inner.state.value}"

    with embedq_app.inline():
        assert embedq.enqueue(outer).result() == "waited for succeeded"


def test_inline_the_jobs_own_exception_is_raised_unless_it_should_be_recorded(embedq_app: AppUnderTest) -> None:
    with embedq_app.inline(), pytest.raises(ValueError, match="x is bad"):
        embedq.enqueue(fail, "x")
    with embedq_app.inline(raise_errors=False):
        job = embedq.options(retry=SOON).enqueue(fail, "y")
    assert job.state is JobState.RETRYING
    assert job.snapshot().error == "ValueError: y is bad"


def test_inline_jobs_run_within_each_other_so_deep_and_no_deeper(embedq_app: AppUnderTest) -> None:
    with embedq_app.inline(), pytest.raises(EndlessJobsError, match="20 jobs run inside each other"):
        embedq.enqueue(for_ever)


def test_inline_in_async_code(embedq_app: AppUnderTest) -> None:
    async def outer() -> None:
        await embedq.aenqueue(anote, "from the job's loop")
        embedq.enqueue(anote, "while it waits")

    async def test() -> None:
        await embedq.aenqueue(outer)
        embedq.enqueue(anote, "while the test's loop waits")

    with embedq_app.inline():
        asyncio.run(test())
    assert ran == ["from the job's loop", "while it waits", "while the test's loop waits"]


# -- with what else the program may do ---------------------------------------------------------------------------------


def test_jobs_for_processes_of_their_own_run_here_too(embedq_app: AppUnderTest) -> None:
    job = embedq.options(executor="process").enqueue(os.getpid)
    embedq_app.drain()
    assert job.result() == os.getpid()


def test_jobs_of_the_programs_transactions_are_there_unless_an_exception_leaves_them(
    embedq_app: AppUnderTest, tmp_path: Path
) -> None:
    connection = sqlite3.connect(tmp_path / "shop.db")
    with embedq.transaction(connection):
        assert embedq.enqueue(note, "committed").id == 1
    with pytest.raises(ZeroDivisionError), embedq.transaction(connection):  # noqa: PT012
        embedq.enqueue(note, "rolled back")
        embedq_app.assert_enqueued(note, "rolled back")
        _ = 1 / 0
    with embedq.hold():
        embedq.enqueue(note, "held")
        embedq_app.assert_not_enqueued(note, "held")
    connection.close()
    embedq_app.assert_not_enqueued(note, "rolled back")
    embedq_app.drain()
    assert ran == ["committed", "held"]


def test_on_the_programs_own_database_its_transactions_are_real(tmp_path: Path) -> None:
    with app_under_test(url=f"sqlite:///{tmp_path}/shop.db") as embedq_app:
        connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
        for end in ("ROLLBACK", "COMMIT"):
            connection.execute("BEGIN IMMEDIATE")
            with embedq.transaction(connection):
                embedq.enqueue(note, end)
            connection.execute(end)
        connection.close()
        embedq_app.drain()
    assert ran == ["COMMIT"]

"""Jobs that take too long, or are called off: those that yield, those that do not, and everybody around them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from embedq import NO_RETRY, Ending, JobState, Retry
from embedq.process.interrupts import Interruptible
from tests.support import eventually

GRACE = 0.2
# Stopped from outside, for the jobs that do not stop by themselves. They look every few milliseconds.
let_go = threading.Event()
started = threading.Event()
notes: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_events() -> Iterator[None]:
    let_go.clear()
    started.clear()
    notes.clear()
    yield
    let_go.set()


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    """An app with two workers and little patience."""
    app = embedq.EmbedQ(
        url, workers=2, interrupt_grace=GRACE, cancel_grace=0.1, stop_timeout=5, secret_key="a secret of the tests"
    )
    app.connect()
    app.start()
    yield app
    let_go.set()
    assert app.stop(timeout=5)
    app.close()


def quick(n: int = 1) -> int:
    return n


def spin() -> None:
    """Python code that never ends by itself; it cannot be stopped but by an interrupt, and says how it went."""
    started.set()
    try:
        # Not `while not let_go.is_set()`: an exception that comes at the end of such a loop's body passes by the
        # handlers around it on Python 3.13 (https://github.com/python/cpython/issues/130279).
        while True:
            if let_go.is_set():
                break
        notes.append("let go")
    except BaseException as error:
        notes.append(type(error).__name__)
        raise
    finally:
        notes.append("cleaned up")


def spin_and_swallow_exceptions() -> str:
    started.set()
    try:
        while True:
            if let_go.is_set():
                break
    except Exception as error:
        return f"swallowed {error!r}"
    return "let go"


def swallow_everything() -> str:
    """As stubborn as Python code can be."""
    started.set()
    while not let_go.is_set():
        try:
            while True:
                if let_go.wait(0.005):
                    break
        except BaseException as error:
            notes.append(type(error).__name__)
    return "let go"


def sleep_in_c() -> str:
    """One call into C that gives up neither to an interrupt nor to anything else until the test is over."""
    started.set()
    let_go.wait()
    return "let go"


def enqueue_quickly(app: embedq.EmbedQ, timeout: float = 0.1) -> embedq.BoundOptions:
    return app.options(timeout=timeout, retry=NO_RETRY)


# -- on a thread -------------------------------------------------------------------------------------------------------


def test_a_job_that_outruns_its_timeout_is_interrupted_and_may_clean_up(app: embedq.EmbedQ) -> None:
    handle = enqueue_quickly(app).enqueue(spin)
    assert handle.wait(10) is JobState.DEAD
    assert notes == ["JobTimeout", "cleaned up"]
    [attempt] = handle.attempts()
    assert attempt.ending is Ending.TIMED_OUT
    assert attempt.error == "TimeoutError: the job ran longer than its timeout of 0.1 s"
    assert attempt.traceback is not None
    assert "in spin" in attempt.traceback
    assert (attempt.finished_at - attempt.started_at).total_seconds() >= 0.1


def test_the_usual_except_exception_does_not_swallow_a_timeout(app: embedq.EmbedQ) -> None:
    handle = enqueue_quickly(app).enqueue(spin_and_swallow_exceptions)
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]


def test_a_timed_out_job_is_retried_by_its_policy(app: embedq.EmbedQ) -> None:
    import tenacity

    policy = Retry(attempts=2, wait=tenacity.wait_none())
    handle = app.options(timeout=0.05, retry=policy).enqueue(spin)
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT] * 2


def test_a_policy_may_discard_on_a_timeout(app: embedq.EmbedQ) -> None:
    handle = app.options(timeout=0.05, retry=Retry(discard_on=(TimeoutError,))).enqueue(spin)
    assert handle.wait(10) is JobState.DEAD
    assert len(handle.attempts()) == 1


def test_the_nearest_timeout_counts_and_zero_is_none(tmp_path: Path) -> None:
    with embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db", timeout=0.2, workers=4).start() as app:

        @app.job(name="patient", timeout=60)
        def patient(seconds: float) -> str:
            let_go.wait(seconds)
            return "done"

        @app.job(name="plain")
        def plain(seconds: float) -> str:
            for _ in range(round(seconds / 0.01)):
                time.sleep(0.01)
            return "done"

        by_decorator = patient.enqueue(0.4)
        by_options = plain.options(timeout=0).enqueue(0.4)
        by_app = plain.options(retry=NO_RETRY).enqueue(30)
        assert by_decorator.result(10) == by_options.result(10) == "done"
        with pytest.raises(embedq.JobDeadError, match=r"longer than its timeout of 0\.2 s"):
            by_app.result(10)
    app.close()


def test_a_job_that_ends_in_time_is_left_in_peace(app: embedq.EmbedQ) -> None:
    assert app.options(timeout=5).enqueue(quick, 7).result(10) == 7


@pytest.mark.parametrize("error", [embedq.JobTimeout, embedq.JobStopped])
def test_an_interrupt_that_the_job_raises_itself_is_a_failure_like_any_other(
    tmp_path: Path, error: type[embedq.JobInterrupt]
) -> None:
    with embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db", timeout=None).start() as app:

        @app.job(name="raise it", retry=NO_RETRY)
        def raise_it() -> None:
            raise error

        handle = raise_it.enqueue()
        assert handle.wait(10) is JobState.DEAD
        assert [attempt.ending for attempt in handle.attempts()] == [Ending.FAILED]
    app.close()


# -- jobs that do not yield --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stubborn", [sleep_in_c, swallow_everything])
def test_a_job_that_does_not_yield_is_overdue_its_worker_replaced_and_its_result_refused(
    app: embedq.EmbedQ, stubborn: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(stubborn)
    stuck = [app.options(timeout=0.05, retry=Retry(attempts=2)).enqueue(stubborn) for _ in range(2)]
    eventually(lambda: all(handle.snapshot().overdue for handle in stuck))
    assert [handle.state for handle in stuck] == [JobState.RUNNING] * 2
    # Both workers are stuck, and there is as much capacity as before.
    assert [handle.result(10) for handle in [app.enqueue(quick, n) for n in range(5)]] == [0, 1, 2, 3, 4]
    assert app.stats().counts[JobState.RUNNING] == 2
    assert "does not yield" in caplog.text
    let_go.set()
    eventually(lambda: all(handle.state is JobState.RETRYING for handle in stuck))
    for handle in stuck:
        [attempt] = handle.attempts()
        assert attempt.ending is Ending.TIMED_OUT
        snapshot = handle.snapshot()
        assert (snapshot.result, snapshot.overdue) == (None, False)


def test_an_overdue_jobs_retry_waits_until_it_has_ended(app: embedq.EmbedQ) -> None:
    import tenacity

    policy = Retry(attempts=2, wait=tenacity.wait_none())
    handle = app.options(timeout=0.05, retry=policy).enqueue(sleep_in_c)
    eventually(lambda: handle.snapshot().overdue)
    assert handle.snapshot().attempt == 1
    with pytest.raises(embedq.JobStateError, match="it is running"):
        handle.retry()
    let_go.set()
    # The second run finds the event set and ends in time.
    assert handle.result(10) == "let go"
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT, Ending.SUCCEEDED]


def test_threads_do_not_pile_up_once_stuck_jobs_have_ended(app: embedq.EmbedQ) -> None:
    def workers() -> int:
        return sum(thread.name.startswith("embedq-worker") for thread in threading.enumerate())

    before = workers()
    stuck = [app.options(timeout=0.05, retry=NO_RETRY).enqueue(sleep_in_c) for _ in range(2)]
    eventually(lambda: all(handle.snapshot().overdue for handle in stuck))
    assert workers() == before + 2
    let_go.set()
    for handle in stuck:
        assert handle.wait(10) is JobState.DEAD
    eventually(lambda: workers() == before)


class DropsWhatIsRaised:
    """Python prints what is raised in here, and goes on as if nothing had been."""

    def __del__(self) -> None:
        while not notes:
            try:
                time.sleep(0.001)
            except embedq.JobTimeout:
                notes.append("dropped")
                raise


def lose_an_interrupt() -> None:
    del_me = DropsWhatIsRaised()
    del del_me
    spin()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_was_lost_in_a_destructor_is_sent_once_more(app: embedq.EmbedQ) -> None:
    handle = enqueue_quickly(app).enqueue(lose_an_interrupt)
    assert handle.wait(10) is JobState.DEAD
    assert notes == ["dropped", "JobTimeout", "cleaned up"]
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]


def test_what_interrupts_one_run_does_not_reach_the_next_one_of_the_same_thread() -> None:
    """The watchdog may be a moment late, and the thread in another job by then."""
    reached: list[bool] = []

    def two_runs() -> None:
        interruptible = Interruptible()
        first = interruptible.next_run()
        interruptible.arm()
        interruptible.disarm()
        second = interruptible.next_run()
        reached.append(second(embedq.JobTimeout))
        interruptible.arm()
        try:
            reached.append(first(embedq.JobTimeout))
            reached.append(second(embedq.JobTimeout))
            time.sleep(0)
        except embedq.JobTimeout:
            notes.append("interrupted")
        interruptible.disarm_for_good()
        reached.append(second(embedq.JobTimeout))

    thread = threading.Thread(target=two_runs)
    thread.start()
    thread.join(10)
    assert reached[:2] == [False, False]
    assert reached[-1] is False
    assert notes == ["interrupted"]


# -- async jobs --------------------------------------------------------------------------------------------------------


async def sleep_on_the_loop() -> None:
    started.set()
    try:
        await asyncio.sleep(60)
    except BaseException as error:
        notes.append(type(error).__name__)
        raise
    finally:
        notes.append("cleaned up")


async def swallow_cancellation() -> str:
    started.set()
    while not let_go.is_set():
        try:
            await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            notes.append("swallowed")
    return "let go"


async def block_the_loop() -> str:
    started.set()
    let_go.wait()
    return "let go"


async def quick_async(n: int = 1) -> int:
    await asyncio.sleep(0)
    return n


async def cancel_oneself() -> None:
    raise asyncio.CancelledError


def test_an_async_job_that_outruns_its_timeout_is_cancelled_and_may_clean_up(app: embedq.EmbedQ) -> None:
    handle = enqueue_quickly(app).enqueue(sleep_on_the_loop)
    assert handle.wait(10) is JobState.DEAD
    assert notes == ["CancelledError", "cleaned up"]
    [attempt] = handle.attempts()
    assert (attempt.ending, attempt.error) == (
        Ending.TIMED_OUT, "TimeoutError: the job ran longer than its timeout of 0.1 s",
    )  # fmt: skip


def test_an_async_job_that_swallows_its_cancellation_is_overdue_and_the_others_continue(app: embedq.EmbedQ) -> None:
    handle = enqueue_quickly(app).enqueue(swallow_cancellation)
    eventually(lambda: handle.snapshot().overdue)
    assert app.enqueue(quick_async, 3).result(10) == 3
    assert handle.state is JobState.RUNNING
    let_go.set()
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]
    assert handle.snapshot().result is None


def test_a_job_that_blocks_the_event_loop_is_overdue_and_the_next_ones_get_another_loop(app: embedq.EmbedQ) -> None:
    handle = enqueue_quickly(app).enqueue(block_the_loop)
    assert started.wait(10)
    behind = app.enqueue(quick_async, 1)
    eventually(lambda: handle.snapshot().overdue)
    # The watchdog finds the loop blocked a moment after it has marked the job; then there is a fresh one.
    eventually(lambda: app.options(retry=NO_RETRY).enqueue(quick_async, 4).result(10) == 4)
    let_go.set()
    assert handle.wait(10) is JobState.DEAD
    assert behind.result(10) == 1


def test_an_async_job_that_cancels_itself_fails(app: embedq.EmbedQ) -> None:
    handle = app.options(retry=NO_RETRY).enqueue(cancel_oneself)
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.error for attempt in handle.attempts()] == ["CancelledError"]


# -- cancelling --------------------------------------------------------------------------------------------------------


def watch_for_a_cancel() -> str:
    job = embedq.current_job()
    started.set()
    while not job.cancelled:
        time.sleep(0.002)
    notes.append("saw it")
    return "not wanted any more"


def test_a_running_job_that_looks_ends_in_good_order_when_it_is_cancelled(app: embedq.EmbedQ) -> None:
    handle = app.enqueue(watch_for_a_cancel)
    assert started.wait(10)
    assert handle.cancel() is JobState.RUNNING
    assert handle.wait(10) is JobState.CANCELLED
    assert notes == ["saw it"]
    with pytest.raises(embedq.JobCancelledError, match="cancelled while it ran"):
        handle.result(1)
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.CANCELLED]


def test_a_running_job_that_does_not_look_is_interrupted_when_it_is_cancelled(app: embedq.EmbedQ) -> None:
    handle = app.enqueue(spin)
    assert started.wait(10)
    handle.cancel()
    assert handle.wait(10) is JobState.CANCELLED
    assert notes == ["JobCancelled", "cleaned up"]


def test_a_running_async_job_is_cancelled(app: embedq.EmbedQ) -> None:
    handle = app.enqueue(sleep_on_the_loop)
    assert started.wait(10)
    handle.cancel()
    assert handle.wait(10) is JobState.CANCELLED
    assert notes == ["CancelledError", "cleaned up"]


def test_a_cancelled_job_that_does_not_yield_is_overdue_and_then_cancelled(app: embedq.EmbedQ) -> None:
    handle = app.enqueue(sleep_in_c)
    assert started.wait(10)
    handle.cancel()
    eventually(lambda: handle.snapshot().overdue)
    assert app.enqueue(quick, 2).result(10) == 2
    assert handle.state is JobState.RUNNING
    let_go.set()
    assert handle.wait(10) is JobState.CANCELLED


def fail_when_cancelled() -> None:
    try:
        spin()
    except embedq.JobCancelled:
        raise ValueError("half done") from None


def test_a_cancelled_job_that_fails_on_its_way_out_is_not_tried_again(app: embedq.EmbedQ) -> None:
    handle = app.enqueue(fail_when_cancelled)
    assert started.wait(10)
    handle.cancel()
    assert handle.wait(10) is JobState.CANCELLED
    assert [attempt.error for attempt in handle.attempts()] == ["ValueError: half done"]


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_stop_interrupts_what_does_not_end_and_puts_it_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    app = embedq.EmbedQ(url, interrupt_grace=GRACE).start()
    handle = app.enqueue(spin)
    assert started.wait(10)
    assert app.stop(timeout=0.05)
    assert notes == ["JobStopped", "cleaned up"]
    snapshot = handle.snapshot()
    assert (snapshot.state, snapshot.attempt, snapshot.crashes) == (JobState.READY, 0, 0)
    assert handle.attempts() == []
    assert app.servers() == []
    app.close()


def test_a_stop_is_visible_to_a_job_that_checks_and_releases_it(tmp_path: Path) -> None:
    app = embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db").start()
    handle = app.enqueue(watch_for_a_cancel)
    assert started.wait(10)
    assert app.stop(timeout=10)
    assert handle.state is JobState.READY
    app.close()


def test_a_stop_that_cannot_wait_any_longer_leaves_the_stuck_job_its_claim_until_it_ends(tmp_path: Path) -> None:
    app = embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db", interrupt_grace=GRACE).start()
    handle = app.enqueue(sleep_in_c)
    assert started.wait(10)
    assert not app.stop(timeout=0.05)
    assert handle.state is JobState.RUNNING
    let_go.set()
    eventually(lambda: handle.state is JobState.READY)
    eventually(lambda: app.servers() == [])
    app.close()


# -- nobody else is torn -----------------------------------------------------------------------------------------------


def child_job(n: int) -> int:
    return n


def enqueue_for_ever(app_number: int) -> None:
    """Does all that a job may do with embedq, until it is interrupted somewhere in the middle of it."""
    app = APPS[app_number]
    job = embedq.current_job()
    n = 0
    while True:
        n += 1
        job.log(f"round {n}")
        handle = app.enqueue(child_job, n)
        job.progress(0.5, "on the way")
        assert handle.state in JobState
        app.options(queue="other", tags=["t"]).enqueue(child_job, n).then(child_job, n, on="finished")


APPS: dict[int, embedq.EmbedQ] = {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_interrupt_lands_where_it_could_tear_something(url: str) -> None:
    app = embedq.EmbedQ(
        url, workers=4, interrupt_grace=0.5, durability="normal", stop_timeout=10, secret_key="a secret of the tests"
    ).connect()
    app.start()
    APPS[1] = app
    deadline = time.monotonic() + 6
    handles: list[embedq.JobHandle] = []
    while time.monotonic() < deadline and len(handles) < 2000:
        handles += app.enqueue_many(
            app.options(timeout=0.0005 + 0.00002 * n, retry=NO_RETRY, priority=1).call(enqueue_for_ever, 1)
            for n in range(100)
        )
        assert handles[-1].wait(30) is JobState.DEAD
    assert all(handle.wait(30) is JobState.DEAD for handle in handles)
    eventually(lambda: not unfinished(app), seconds=60, message="some jobs are stuck")
    # Nothing that guards the engine was left locked, reserved, or without its thread.
    assert app.enqueue(quick, 5).result(10) == 5
    assert [handle.result(10) for handle in [app.enqueue(quick, n) for n in range(20)]] == list(range(20))
    # And nobody was hit by what was meant for another.
    assert app.stats().counts[JobState.DEAD] == len(handles)
    assert {attempt.ending for handle in handles for attempt in handle.attempts()} == {Ending.TIMED_OUT}
    assert app.stop(timeout=10)
    assert app.servers() == []
    app.close()


def unfinished(app: embedq.EmbedQ) -> int:
    counts = app.stats().counts
    return sum(counts[state] for state in (JobState.READY, JobState.RUNNING, JobState.AWAITING, JobState.RETRYING))

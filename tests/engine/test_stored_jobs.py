"""What can be asked of stored jobs through the app: cancel, retry, continue; one, or all that match."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tenacity

import embedq
from embedq import NO_RETRY, PARENT_RESULT, EmbedQ, JobState, Retry
from tests.support import eventually

ran: list[object] = []
let_go = threading.Event()
failing = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran.clear()
    let_go.clear()
    failing.set()
    yield
    let_go.set()


def add(a: int, b: int) -> int:
    return a + b


def note(what: object) -> None:
    ran.append(what)


def fail() -> None:
    raise ValueError("no")


def fail_while_told_to() -> str:
    if failing.is_set():
        raise OSError("not yet")
    return "at last"


def hold() -> str:
    let_go.wait(30)
    return "let go"


def nothing() -> None: ...


# -- continuations -----------------------------------------------------------------------------------------------------


def test_a_continuation_runs_when_its_parent_has_succeeded_and_takes_its_result(app: EmbedQ) -> None:
    app.start()
    parent = app.enqueue(add, 1, 2)
    child = parent.then(add, PARENT_RESULT, 10)
    grandchild = child.then(add, PARENT_RESULT, b=PARENT_RESULT)
    assert grandchild.result(10) == 26
    assert (child.snapshot().parent_id, child.snapshot().trigger) == (parent.id, "success")


@pytest.mark.parametrize(
    ("function", "expected"), [(nothing, ["success", "finished"]), (fail, ["failure", "finished"])]
)
@pytest.mark.parametrize("after_its_end", [False, True])
def test_each_continuation_runs_on_the_end_it_waits_for(
    app: EmbedQ, function: object, expected: list[str], after_its_end: bool
) -> None:
    assert callable(function)
    app.start()
    parent = app.options(retry=NO_RETRY).enqueue_in(0 if after_its_end else 0.1, function)
    if after_its_end:
        parent.wait(10)
    handles = [parent.then(note, on, on=on) for on in ("success", "failure", "finished")]
    for on, handle in zip(("success", "failure", "finished"), handles, strict=True):
        if on in expected:
            assert handle.wait(10) is JobState.SUCCEEDED
        elif on == "failure":
            # Nobody's loss, and not kept, but for the newest job.
            with suppress(embedq.JobNotFoundError):
                assert handle.wait(10) is JobState.CANCELLED
        else:
            assert handle.wait(10) is JobState.CANCELLED
    eventually(lambda: sorted(ran) == sorted(expected))  # type: ignore[type-var]


def test_a_continuation_waits_for_the_last_attempt_of_its_parent(app: EmbedQ) -> None:
    app.start()
    parent = app.options(retry=Retry(attempts=3, wait=tenacity.wait_fixed(0.05))).enqueue(fail_while_told_to)
    child = parent.then(note, "after success")
    eventually(lambda: len(parent.attempts()) >= 1)
    assert child.state is JobState.AWAITING
    failing.clear()
    assert child.wait(10) is JobState.SUCCEEDED
    assert ran == ["after success"]


def test_a_continuation_may_have_options_of_its_own_and_lambdas(app: EmbedQ) -> None:
    app.start()
    parent = app.enqueue(add, 1, 2)

    @app.job(name="tail", queue="tails", priority=3)
    def tail(n: int) -> int:
        return n * 2

    child = parent.then(tail.options(tags=["t"]), PARENT_RESULT)
    assert child.result(10) == 6
    assert (child.snapshot().queue, child.snapshot().priority, child.snapshot().tags) == ("tails", 3, ("t",))
    assert parent.then(lambda n: n + 1, PARENT_RESULT).result(10) == 4


def test_the_result_of_a_parent_that_left_none_is_passed_to_the_child(app: EmbedQ) -> None:
    app.start()
    dead = app.options(retry=NO_RETRY).enqueue(fail)
    child = dead.then(app.options(retry=NO_RETRY).task(add), PARENT_RESULT, 1, on="finished")
    with pytest.raises(embedq.JobDeadError, match=rf"the parent job {dead.id} left no result: it is dead"):
        child.result(10)


def test_a_trigger_that_there_is_not_is_refused(app: EmbedQ) -> None:
    with pytest.raises(embedq.ConfigurationError, match='"success", "failure" or "finished"'):
        app.enqueue(nothing).then(nothing, on="always")


# -- cancelling --------------------------------------------------------------------------------------------------------


def test_a_waiting_job_never_runs_once_it_is_cancelled(app: EmbedQ) -> None:
    ready, delayed = app.enqueue(note, 1), app.enqueue_in(3600, note, 2)
    assert ready.cancel() is delayed.cancel() is JobState.CANCELLED
    app.start()
    assert app.enqueue(add, 1, 2).result(10) == 3
    assert ran == []


def test_a_job_that_is_claimed_and_not_begun_is_cancelled_without_ever_running(tmp_path: Path) -> None:
    """It lies in this process's buffer, behind jobs that hold every worker."""
    with EmbedQ(tmp_path / "app.db", workers=1).start() as app:
        # Quick jobs make the dispatcher claim ahead.
        for handle in app.enqueue_many(app.call(nothing) for _ in range(2000)):
            assert handle.wait(30) is JobState.SUCCEEDED
        held = app.enqueue(hold)
        behind = app.enqueue_many(app.call(note, n) for n in range(50))
        for handle in behind:
            handle.cancel()
        assert [handle.wait(10) for handle in behind] == [JobState.CANCELLED] * 50
        assert [(handle.snapshot().attempt, handle.attempts()) for handle in behind] == [(0, [])] * 50
        let_go.set()
        assert held.result(10) == "let go"
        assert ran == []
    app.close()


def test_cancelling_a_job_that_has_ended_changes_nothing(app: EmbedQ) -> None:
    app.start()
    handle = app.enqueue(add, 1, 2)
    assert handle.result(10) == 3
    assert handle.cancel() is JobState.SUCCEEDED
    assert handle.result(10) == 3


def test_a_cancel_from_another_app_reaches_the_process_that_runs_the_job(app: EmbedQ) -> None:
    app.start()

    @app.job(name="watch")
    def watch() -> None:
        job = embedq.current_job()
        while not job.cancelled:
            let_go.wait(0.005)

    handle = watch.enqueue()
    eventually(lambda: handle.state is JobState.RUNNING)
    elsewhere = EmbedQ(app.settings.url).connect()
    assert elsewhere.job(handle.id).cancel() is JobState.RUNNING
    assert handle.wait(10) is JobState.CANCELLED
    elsewhere.close()


def test_all_that_match_are_cancelled(app: EmbedQ) -> None:
    for n in range(5):
        app.options(queue="old", tags=["x"]).enqueue(note, n)
    kept = app.options(queue="new").enqueue(note, "kept")
    assert app.cancel_all(queue="old", tag="x") == 5
    assert app.count_jobs(state="cancelled") == 5
    app.start()
    assert kept.wait(10) is JobState.SUCCEEDED
    assert ran == ["kept"]


# -- retrying ----------------------------------------------------------------------------------------------------------


def test_a_dead_job_runs_again_when_it_is_retried_and_its_children_wait_again(app: EmbedQ) -> None:
    app.start()
    parent = app.options(retry=NO_RETRY).enqueue(fail_while_told_to)
    child = parent.then(note, PARENT_RESULT)
    grandchild = child.then(note, "grandchild")
    alarm = parent.then(note, "alarm", on="failure")
    assert [handle.wait(10) for handle in (parent, child, grandchild, alarm)] == [
        JobState.DEAD, JobState.CANCELLED, JobState.CANCELLED, JobState.SUCCEEDED,
    ]  # fmt: skip
    failing.clear()
    parent.retry()
    assert parent.result(10) == "at last"
    assert [handle.wait(10) for handle in (child, grandchild)] == [JobState.SUCCEEDED] * 2
    assert ran == ["alarm", "at last", "grandchild"]
    assert [attempt.error for attempt in parent.attempts()] == ["OSError: not yet", None]


def test_a_retried_job_has_all_its_attempts_again(app: EmbedQ) -> None:
    app.start()
    handle = app.options(retry=Retry(attempts=2, wait=tenacity.wait_none())).enqueue(fail)
    assert handle.wait(10) is JobState.DEAD
    handle.retry()
    eventually(lambda: len(handle.attempts()) == 4)
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.number for attempt in handle.attempts()] == [1, 2, 1, 2]


def test_a_delayed_job_and_one_that_waits_for_its_next_attempt_run_at_once_when_retried(app: EmbedQ) -> None:
    app.start()
    delayed = app.enqueue_in(3600, note, "delayed")
    waiting = app.options(retry=Retry(wait=tenacity.wait_fixed(3600))).enqueue(fail_while_told_to)
    eventually(lambda: waiting.state is JobState.RETRYING)
    failing.clear()
    for handle in (delayed, waiting):
        handle.retry()
        assert handle.wait(10) is JobState.SUCCEEDED


def test_a_retry_that_makes_no_sense_is_refused(app: EmbedQ) -> None:
    handle = app.enqueue(add, 1, 2)
    with pytest.raises(embedq.JobStateError, match="it already waits for a worker"):
        handle.retry()
    app.start()
    handle.wait(10)
    with pytest.raises(embedq.JobStateError, match="it succeeded"):
        handle.retry()


def test_all_dead_letters_that_match_are_retried(app: EmbedQ) -> None:
    app.start()
    late = [app.options(retry=NO_RETRY, queue="a").enqueue(fail_while_told_to) for _ in range(7)]
    wrong = app.options(retry=NO_RETRY, queue="a").enqueue(fail)
    other = app.options(retry=NO_RETRY, queue="b").enqueue(fail_while_told_to)
    for handle in (*late, wrong, other):
        assert handle.wait(10) is JobState.DEAD
    failing.clear()
    assert app.retry_all(queue="a", error="not yet") == 7
    assert [handle.result(10) for handle in late] == ["at last"] * 7
    assert [wrong.state, other.state] == [JobState.DEAD] * 2
    cancelled = app.enqueue_in(3600, note, "cancelled")
    cancelled.cancel()
    assert app.retry_all(state="cancelled") == 1
    assert cancelled.wait(10) is JobState.SUCCEEDED
    with pytest.raises(embedq.ConfigurationError, match="must be one of"):
        app.retry_all(state="asleep")


def test_more_dead_letters_than_one_page_are_all_retried(app: EmbedQ) -> None:
    app.start()
    handles = app.enqueue_many(app.options(retry=NO_RETRY).call(fail_while_told_to) for _ in range(1203))
    for handle in handles:
        assert handle.wait(30) is JobState.DEAD
    failing.clear()
    seen: list[int] = []
    assert app.retry_all(progress=seen.append) == 1203
    assert sum(seen) == 1203
    assert len(seen) > 1
    assert all(handle.wait(30) is JobState.SUCCEEDED for handle in handles)


# -- retries by policy -------------------------------------------------------------------------------------------------


def test_a_job_is_tried_again_until_it_succeeds_and_its_history_shows_it(app: EmbedQ) -> None:
    app.start()
    attempts: list[int] = []

    @app.job(name="third time", retry=Retry(attempts=5, wait=tenacity.wait_none()))
    def third_time() -> str:
        attempts.append(embedq.current_job().attempt)
        if len(attempts) < 3:
            raise ConnectionError(f"attempt {len(attempts)}")
        return "done"

    handle = third_time.enqueue()
    assert handle.result(10) == "done"
    assert attempts == [1, 2, 3]
    assert [attempt.error for attempt in handle.attempts()] == [
        "ConnectionError: attempt 1", "ConnectionError: attempt 2", None,
    ]  # fmt: skip


def test_a_discard_ends_a_job_at_once(app: EmbedQ) -> None:
    app.start()

    @app.job(name="give up")
    def give_up() -> None:
        raise embedq.Discard("the user is gone")

    handle = give_up.enqueue()
    with pytest.raises(embedq.JobDeadError, match="Discard: the user is gone"):
        handle.result(10)
    assert len(handle.attempts()) == 1


@pytest.mark.parametrize(
    "error",
    [
        "ValueError('half a pair: \\udcff')",
        "ValueError('nul: \\0')",
        "SystemExit(3)",
        "KeyboardInterrupt()",
        "GeneratorExit()",
        "Unprintable()",
        "RecursionError('x' * 100000)",
    ],
)
def test_whatever_a_job_raises_is_recorded_and_delays_no_other_job(app: EmbedQ, error: str) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    app.start()

    @app.job(name="raises", retry=NO_RETRY)
    def raises() -> None:
        raise eval(error, {"Unprintable": Unprintable})

    handle = raises.enqueue()
    assert handle.wait(10) is JobState.DEAD
    [attempt] = handle.attempts()
    assert attempt.error is not None
    assert attempt.error.split(":")[0].split("(")[0].split(".")[-1] in error
    assert attempt.traceback is not None
    assert app.enqueue(add, 1, 2).result(10) == 3


def test_whatever_a_job_returns_or_logs_its_end_is_recorded(app: EmbedQ) -> None:
    app.start()

    class Odd:
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise RuntimeError("ask me not")

    @app.job(name="odd")
    def odd(n: int) -> object:
        embedq.current_job().log("half a pair: \udcff")
        embedq.current_job().progress(0.5, "half a pair: \udcff")
        deep: list[object] = []
        for _ in range(10_000):
            deep = [deep]
        return [Odd(), "\udcff", float("nan"), deep, 2**4000, {1: {2: b"\xff"}}][n]

    handles = [odd.enqueue(n) for n in range(6)]
    assert [handle.wait(10) for handle in handles] == [JobState.SUCCEEDED] * 6
    assert handles[1].result() == "\udcff"
    assert handles[4].result() == 2**4000
    assert handles[5].result() == {1: {2: b"\xff"}}
    for handle in (handles[0], handles[3]):
        with pytest.raises(embedq.ResultUnavailableError, match="the result was not stored"):
            handle.result()
    assert [line.message for line in handles[0].logs()] == ["half a pair: \\udcff"]
    assert handles[0].snapshot().progress_note == "half a pair: \\udcff"

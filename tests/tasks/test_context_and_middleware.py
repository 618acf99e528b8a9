"""Inside and around a running job: its context, middleware of both kinds, and log records."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import pytest
import tenacity

import embedq
from embedq import NO_RETRY, Draft, EmbedQ, JobContext, JobState, Retry, current_job
from tests.support import eventually

seen: list[object] = []
let_go = threading.Event()
started = threading.Event()
request_id: ContextVar[str] = ContextVar("request_id", default="none")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    seen.clear()
    let_go.clear()
    started.clear()
    yield
    let_go.set()


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise ValueError("no")


def note(what: object) -> None:
    seen.append(what)


# -- current_job -------------------------------------------------------------------------------------------------------


def test_a_job_knows_itself(app: EmbedQ) -> None:
    @app.job(name="who am I", queue="mail", tags=["a", "b"])
    def who() -> dict[str, object]:
        job = current_job()
        return {
            "id": job.id, "attempt": job.attempt, "name": job.name, "queue": job.queue, "tags": job.tags,
            "cancelled": job.cancelled,
        }  # fmt: skip

    app.start()
    handle = who.enqueue()
    assert handle.result(10) == {
        "id": handle.id, "attempt": 1, "name": "who am I", "queue": "mail", "tags": ("a", "b"), "cancelled": False,
    }  # fmt: skip


def test_outside_a_job_there_is_no_current_one(app: EmbedQ) -> None:
    with pytest.raises(embedq.NoJobError, match="no job is running here"):
        current_job()


def test_a_jobs_claim_number_grows_with_each_run(app: EmbedQ) -> None:
    @app.job(name="claims", retry=Retry(attempts=3, wait=tenacity.wait_none()))
    def claims() -> None:
        seen.append((current_job().attempt, current_job().claim))
        raise ValueError("again")

    app.start()
    claims.enqueue().wait(10)
    assert seen == [(1, 1), (2, 2), (3, 3)]


def test_a_continuation_finds_its_parents_result_in_its_context(app: EmbedQ) -> None:
    @app.job(name="child")
    def child() -> object:
        return current_job().parent_result

    app.start()
    assert app.enqueue(add, 1, 2).then(child).result(10) == 3


def test_log_lines_are_kept_in_order_with_their_attempt(app: EmbedQ) -> None:
    @app.job(name="talkative", retry=Retry(attempts=2, wait=tenacity.wait_none()))
    def talkative() -> None:
        job = current_job()
        for n in range(3):
            job.log(f"attempt {job.attempt}, line {n}")
        raise ValueError("no")

    app.start()
    handle = talkative.enqueue()
    handle.wait(10)
    lines = handle.logs()
    assert [(line.attempt, line.message) for line in lines] == [
        (attempt, f"attempt {attempt}, line {n}") for attempt in (1, 2) for n in range(3)
    ]
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_progress_and_log_lines_are_seen_while_the_job_still_runs(app: EmbedQ) -> None:
    @app.job(name="slow")
    def slow() -> None:
        job = current_job()
        job.log("begun")
        for n in range(1, 5):
            job.progress(n / 10, f"step {n}")
        let_go.wait(30)
        job.progress(1.0)

    app.start()
    handle = slow.enqueue()
    eventually(lambda: handle.snapshot().progress == 0.4 and handle.logs())
    assert handle.snapshot().progress_note == "step 4"
    assert [line.message for line in handle.logs()] == ["begun"]
    assert handle.state is JobState.RUNNING
    let_go.set()
    handle.wait(10)
    assert (handle.snapshot().progress, handle.snapshot().progress_note) == (1.0, None)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(app: EmbedQ, fraction: float) -> None:
    app.start()

    @app.job(name="report", retry=NO_RETRY)
    def report() -> None:
        current_job().progress(fraction)

    with pytest.raises(embedq.JobDeadError, match=r"goes from 0\.0 to 1\.0"):
        report.enqueue().result(10)


def test_threads_that_a_job_starts_may_use_its_context(app: EmbedQ) -> None:
    @app.job(name="parent of threads")
    def parent() -> None:
        job = current_job()
        threads = [threading.Thread(target=job.log, args=(f"thread {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    app.start()
    handle = parent.enqueue()
    handle.wait(10)
    assert sorted(line.message for line in handle.logs()) == [f"thread {n}" for n in range(4)]


# -- async jobs --------------------------------------------------------------------------------------------------------


async def wait_together(n: int) -> int:
    seen.append(n)
    while not let_go.is_set():
        await asyncio.sleep(0.005)
    return n * current_job().attempt


def test_async_jobs_run_many_at_once_beside_busy_threads(tmp_path: Path) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", workers=1, async_jobs=60).start()
    handles = app.enqueue_many(app.call(wait_together, n) for n in range(80))
    eventually(lambda: len(seen) == 60)
    assert app.enqueue(add, 1, 2).result(10) == 3
    assert app.stats().counts[JobState.RUNNING] == 60
    let_go.set()
    assert [handle.result(10) for handle in handles] == list(range(80))
    app.close()


def test_an_async_jobs_context_is_its_own_among_many(app: EmbedQ) -> None:
    @app.job(name="tell")
    async def tell(n: int) -> tuple[int, int]:
        before = current_job().id
        await asyncio.sleep(0.001 * (n % 3))
        current_job().log(f"{n}")
        return before, current_job().id

    app.start()
    handles = [tell.enqueue(n) for n in range(30)]
    for n, handle in enumerate(handles):
        assert handle.result(10) == (handle.id, handle.id)
        assert [line.message for line in handle.logs()] == [f"{n}"]


def test_async_jobs_fail_and_are_retried_like_others(app: EmbedQ) -> None:
    @app.job(name="flaky", retry=Retry(attempts=2, wait=tenacity.wait_none()))
    async def flaky() -> str:
        await asyncio.sleep(0)
        if current_job().attempt == 1:
            raise ConnectionError("first")
        return "second"

    app.start()
    handle = flaky.enqueue()
    assert handle.result(10) == "second"
    assert "await" not in (handle.attempts()[0].error or "")
    assert 'raise ConnectionError("first")' in (handle.attempts()[0].traceback or "")


def test_a_closure_may_be_async(app: EmbedQ) -> None:
    app.start()
    n = 20

    async def closure() -> int:
        await asyncio.sleep(0)
        return n + 1

    assert app.enqueue(closure).result(10) == 21


# -- middleware --------------------------------------------------------------------------------------------------------


def test_enqueue_middleware_may_change_a_draft_and_attach_what_the_job_reads(tmp_path: Path) -> None:
    def stamp(draft: Draft) -> Draft:
        draft.meta["request_id"] = request_id.get()
        draft.tags += ("stamped",)
        return draft

    def to_the_vip_queue(draft: Draft) -> Draft:
        if draft.args == (1, 2):
            draft.queue, draft.priority, draft.args = "vip", 5, (10, 20)
        return draft

    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", enqueue_middleware=[stamp, to_the_vip_queue]).start()

    @app.job(name="read meta")
    def read_meta() -> object:
        return current_job().meta["request_id"]

    request_id.set("req-7")
    changed = app.enqueue(add, 1, 2)
    assert changed.result(10) == 30
    job = changed.snapshot()
    assert (job.queue, job.priority, job.tags) == ("vip", 5, ("stamped",))
    assert read_meta.enqueue().result(10) == "req-7"
    assert [handle.result(10) for handle in app.enqueue_many([read_meta.call()])] == ["req-7"]
    assert changed.then(read_meta).result(10) == "req-7"
    app.close()


def test_enqueue_middleware_may_refuse_a_job_and_nothing_is_written(tmp_path: Path) -> None:
    def no_big_ones(draft: Draft) -> Draft:
        if draft.args and draft.args[0] == "big":
            raise PermissionError("too big for this tenant")
        return draft

    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", enqueue_middleware=[no_big_ones]).connect()
    with pytest.raises(PermissionError, match="too big"):
        app.enqueue(note, "big")
    with pytest.raises(PermissionError):
        app.enqueue_many([app.call(note, "small"), app.call(note, "big")])
    assert app.jobs() == []
    app.close()


def test_enqueue_middleware_that_returns_no_draft_or_breaks_the_arguments_is_refused(tmp_path: Path) -> None:
    def forgetful(draft: Draft) -> Draft:
        return None  # type: ignore[return-value]

    def careless(draft: Draft) -> Draft:
        draft.args = (1, 2, 3)
        return draft

    one = EmbedQ(f"sqlite:///{tmp_path}/one.db", enqueue_middleware=[forgetful]).connect()
    with pytest.raises(embedq.ConfigurationError, match="must return the draft"):
        one.enqueue(add, 1, 2)
    two = EmbedQ(f"sqlite:///{tmp_path}/two.db", enqueue_middleware=[careless]).connect()
    with pytest.raises(embedq.SignatureError):
        two.enqueue(add, 1, 2)
    one.close()
    two.close()


@contextmanager
def bracket(job: JobContext) -> Iterator[None]:
    seen.append(f"before {job.name.split(':')[-1]}")
    try:
        yield
    except BaseException as error:
        seen.append(type(error).__name__)
        raise
    finally:
        seen.append("after")


@contextmanager
def inner(job: JobContext) -> Iterator[None]:
    seen.append("inner")
    yield
    seen.append("end of inner")


def test_middleware_wraps_the_run_from_the_first_of_the_list_inwards(tmp_path: Path) -> None:
    with EmbedQ(f"sqlite:///{tmp_path}/app.db", middleware=[bracket, inner]).start() as app:
        assert app.enqueue(note, "the job").wait(10) is JobState.SUCCEEDED
        assert seen == ["before note", "inner", "the job", "end of inner", "after"]
        seen.clear()
        assert app.options(retry=NO_RETRY).enqueue(fail).wait(10) is JobState.DEAD
        assert seen == ["before fail", "inner", "ValueError", "after"]
    app.close()


def test_middleware_wraps_async_jobs_too(tmp_path: Path) -> None:
    @contextmanager
    def tenant(job: JobContext) -> Iterator[None]:
        token = request_id.set(f"job {job.id}")
        try:
            yield
        finally:
            request_id.reset(token)

    with EmbedQ(f"sqlite:///{tmp_path}/app.db", middleware=[tenant]).start() as app:

        @app.job(name="async tenant")
        async def who() -> str:
            await asyncio.sleep(0.001)
            return request_id.get()

        handles = [who.enqueue() for _ in range(5)]
        assert [handle.result(10) for handle in handles] == [f"job {handle.id}" for handle in handles]
    app.close()


class EitherWay:
    """Middleware that may wait where the job runs on the event loop."""

    def __init__(self, job: JobContext) -> None: ...

    def __enter__(self) -> None:
        seen.append("enter")

    def __exit__(self, *exception: object) -> None:
        seen.append("exit")

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)
        seen.append("aenter")

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.sleep(0)
        seen.append("aexit")


def test_middleware_that_is_an_async_context_manager_too_is_entered_as_what_the_job_is(tmp_path: Path) -> None:
    with EmbedQ(f"sqlite:///{tmp_path}/app.db", middleware=[EitherWay]).start() as app:

        @app.job(name="on the loop")
        async def on_the_loop() -> None:
            seen.append("async job")

        assert on_the_loop.enqueue().wait(10) is JobState.SUCCEEDED
        assert app.enqueue(note, "job").wait(10) is JobState.SUCCEEDED
    assert seen == ["aenter", "async job", "aexit", "enter", "job", "exit"]
    app.close()


def test_middleware_that_fails_is_the_jobs_failure(tmp_path: Path) -> None:
    @contextmanager
    def broken(job: JobContext) -> Iterator[None]:
        raise LookupError("no such tenant")
        yield

    with EmbedQ(f"sqlite:///{tmp_path}/app.db", middleware=[broken]).start() as app:
        with pytest.raises(embedq.JobDeadError, match="LookupError: no such tenant"):
            app.options(retry=NO_RETRY).enqueue(note, 1).result(10)
        assert seen == []
    app.close()


def test_middleware_may_turn_a_failure_into_a_success(tmp_path: Path) -> None:
    @contextmanager
    def forgiving(job: JobContext) -> Iterator[None]:
        try:
            yield
        except ValueError:
            pass

    with EmbedQ(f"sqlite:///{tmp_path}/app.db", middleware=[forgiving]).start() as app:
        assert app.enqueue(fail).result(10) is None
    app.close()


# -- log records -------------------------------------------------------------------------------------------------------


def test_each_end_of_a_run_is_one_record_with_fields_for_machines(
    app: EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="embedq")
    app.start()
    good = app.options(queue="mail").enqueue(add, 1, 2)
    dead = app.options(retry=NO_RETRY).enqueue(fail)
    again = app.options(retry=Retry(wait=tenacity.wait_fixed(3600))).enqueue(fail)
    good.wait(10)
    dead.wait(10)
    eventually(lambda: again.state is JobState.RETRYING)

    def ended() -> dict[int, logging.LogRecord]:
        return {record.job_id: record for record in caplog.records if hasattr(record, "job_id")}

    eventually(lambda: len(ended()) == 3)
    record = ended()[good.id]
    assert record.levelno == logging.INFO
    assert vars(record).items() >= {
        "job_name": "tests.tasks.test_context_and_middleware:add", "job_queue": "mail", "job_attempt": 1,
        "job_outcome": "succeeded", "job_state": "succeeded",
    }.items()  # fmt: skip
    assert 0 <= vars(record)["job_duration"] < 10
    assert ended()[dead.id].levelno == logging.ERROR
    assert "ValueError: no" in ended()[dead.id].getMessage()
    assert vars(ended()[dead.id])["job_state"] == "dead"
    assert ended()[again.id].levelno == logging.WARNING
    assert vars(ended()[again.id])["job_outcome"] == "failed"
    assert "next in" in ended()[again.id].getMessage()


def test_what_a_job_measures_is_its_own_duration(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="embedq")
    app.start()
    app.enqueue(time.sleep, 0.1).wait(10)
    eventually(lambda: any(hasattr(record, "job_id") for record in caplog.records))
    [duration] = [vars(record)["job_duration"] for record in caplog.records if hasattr(record, "job_id")]
    assert duration >= 0.1

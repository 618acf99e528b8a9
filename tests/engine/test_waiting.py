"""Waiting for jobs: many at once, in this process and in others, and what is left when nobody waits any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import EmbedQ, JobState, WaitTimeoutError
from tests.support import Child, eventually

go = threading.Event()


@embedq.job(name="waiting:add")
def add(a: int, b: int) -> int:
    return a + b


@embedq.job(name="waiting:fail", retry=embedq.NO_RETRY)
def fail() -> None:
    raise ValueError("no")


@embedq.job(name="waiting:until_told")
def until_told() -> str:
    go.wait(60)
    return "told"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    go.clear()
    yield
    go.set()


@pytest.fixture
def runner(url: str) -> Iterator[EmbedQ]:
    """The app of another process, as far as the database can tell; it is not started yet."""
    app = EmbedQ(url, workers=4, stop_timeout=5, sigterm=False)
    yield app
    go.set()
    app.close()


@pytest.fixture
def asker(url: str) -> Iterator[EmbedQ]:
    """Enqueues and waits; no jobs run here."""
    app = EmbedQ(url).connect()
    yield app
    app.close()


def threads(name: str) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(name)}


def test_many_coroutines_each_get_what_their_job_came_to(runner: EmbedQ, asker: EmbedQ) -> None:
    async def all_of_them() -> list[object]:
        sums = [await asker.aenqueue(add, number, number) for number in range(150)]
        dead = await asker.aenqueue(fail)
        cancelled = await asyncio.to_thread(asker.enqueue_in, 3600, add, 1, 1)
        waits = [asyncio.create_task(job.aresult(timeout=60)) for job in [*sums, *sums[:20], dead, cancelled]]
        await asyncio.sleep(0)
        await asyncio.to_thread(runner.start)
        await asyncio.to_thread(cancelled.cancel)
        ends: list[object] = await asyncio.gather(*waits, return_exceptions=True)
        return ends

    *values, dead, cancelled = asyncio.run(all_of_them())
    assert values == [2 * number for number in [*range(150), *range(20)]]
    assert isinstance(dead, embedq.JobDeadError)
    assert "ValueError: no" in str(dead)
    assert "raise ValueError" in str(dead.traceback)
    assert isinstance(cancelled, embedq.JobCancelledError)


def test_threads_and_coroutines_wait_for_jobs_of_this_process(runner: EmbedQ) -> None:
    runner.start()
    held = [runner.enqueue(until_told) for _ in range(4)]
    later = [runner.enqueue(add, number, 1) for number in range(20)]
    found: list[object] = []
    waiting = [threading.Thread(target=lambda job=job: found.append(job.result(timeout=60))) for job in [*held, *later]]
    for thread in waiting:
        thread.start()

    async def all_of_them() -> list[object]:
        waits = [asyncio.create_task(job.aresult(timeout=60)) for job in [*held, *later]]
        await asyncio.sleep(0.1)
        assert not any(wait.done() for wait in waits)
        go.set()
        results: list[object] = await asyncio.gather(*waits)
        return results

    assert asyncio.run(all_of_them()) == ["told"] * 4 + [number + 1 for number in range(20)]
    for thread in waiting:
        thread.join(60)
    assert sorted(map(str, found)) == sorted(map(str, ["told"] * 4 + [number + 1 for number in range(20)]))


def test_one_thread_waits_for_all_and_leaves_those_of_enqueues_alone(asker: EmbedQ) -> None:
    jobs = asker.enqueue_many([asker.call(add, number, 1) for number in range(300)])
    before = threads("embedq")

    async def wait_a_little() -> None:
        waits = [asyncio.create_task(job.aresult(timeout=60)) for job in jobs]
        await asyncio.sleep(0.3)
        assert [thread.name for thread in threads("embedq") - before] == ["embedq-waiting"]
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    asyncio.run(wait_a_little())
    assert asker.engine.waiting.number == 0


def test_the_thread_ends_when_nothing_is_waited_for_and_comes_again(
    asker: EmbedQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedq.engine.waiting.LINGER_SECONDS", 0.05)
    job, before = asker.enqueue_in(3600, add, 1, 2), threads("embedq-waiting")
    for _ in range(2):
        with pytest.raises(embedq.WaitTimeoutError, match=r"is still scheduled after 0\.05 s"):
            job.wait(timeout=0.05)
        eventually(lambda: not threads("embedq-waiting") - before)


def test_the_thread_ends_with_the_app_and_comes_again_with_it(url: str) -> None:
    app = embedq.EmbedQ(url)
    app.connect()
    job, before = app.enqueue_in(3600, add, 1, 2), threads("embedq-waiting")
    with pytest.raises(embedq.WaitTimeoutError):
        job.wait(timeout=0.05)
    assert threads("embedq-waiting") - before
    app.close()
    assert not threads("embedq-waiting") - before

    app.start()
    assert app.enqueue(add, 1, 2).result(timeout=60) == 3
    app.stop()
    assert not threads("embedq-waiting") - before
    with pytest.raises(embedq.WaitTimeoutError):
        job.wait(timeout=0.05)
    app.close()
    assert not threads("embedq-waiting") - before


def test_waits_of_a_closed_app_end_with_an_error_and_so_does_the_thread(url: str) -> None:
    app = embedq.EmbedQ(url)
    app.connect()
    job, before = app.enqueue_in(3600, add, 1, 2), threads("embedq-waiting")
    found: list[BaseException] = []

    def wait_in_a_thread() -> None:
        try:
            job.wait()
        except BaseException as error:
            found.append(error)

    async def wait_in_a_loop() -> None:
        wait = asyncio.create_task(job.aresult())
        waiting = threading.Thread(target=wait_in_a_thread)
        waiting.start()
        while app.engine.waiting.number < 2:
            await asyncio.sleep(0.01)
        app.close()
        assert not threads("embedq-waiting") - before
        with pytest.raises(embedq.NotStartedError):
            await wait
        waiting.join(60)

    asyncio.run(wait_in_a_loop())
    assert [type(error) for error in found] == [embedq.NotStartedError]


def test_a_coroutine_that_is_cancelled_or_gives_up_leaves_nothing_behind(runner: EmbedQ, asker: EmbedQ) -> None:
    job = asker.enqueue(add, 1, 2)

    async def give_up() -> None:
        waits = [asyncio.create_task(job.aresult()) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.aresult(), 0.05)
        with pytest.raises(embedq.WaitTimeoutError):
            await job.aresult(timeout=0.05)
        waits[0].cancel()
        await asyncio.gather(waits[0], return_exceptions=True)
        assert asker.engine.waiting.number == 2
        # The loop ends, and its tasks with it.

    asyncio.run(give_up())
    assert asker.engine.waiting.number == 0
    runner.start()
    assert job.result(timeout=60) == 3


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_a_result_that_is_there_is_found_however_short_the_timeout(
    runner: EmbedQ, asker: EmbedQ, timeout: float
) -> None:
    job = asker.enqueue(add, 1, 2)
    with pytest.raises(embedq.WaitTimeoutError, match="is still ready"):
        asyncio.run(job.aresult(timeout=timeout))
    with pytest.raises(embedq.WaitTimeoutError, match="is still ready"):
        job.result(timeout=timeout)
    runner.start()
    job.wait(timeout=60)
    assert asyncio.run(job.aresult(timeout=timeout)) == 3
    assert job.result(timeout=timeout) == 3


def test_a_job_that_is_pruned_while_it_is_waited_for_is_missed(runner: EmbedQ, asker: EmbedQ) -> None:
    job = asker.enqueue_in(3600, add, 1, 2)
    asker.enqueue_in(3600, add, 1, 2)
    runner.connect()

    async def wait() -> None:
        waits = [asyncio.create_task(job.aresult(timeout=60)), asyncio.create_task(asyncio.to_thread(job.wait, 60))]
        await asyncio.sleep(0.1)
        action = await asyncio.to_thread(lambda: runner.actions.delete(actor="a test", ids=[job.id]))
        assert action.changed == 1
        for error in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(error, embedq.JobNotFoundError)

    asyncio.run(wait())


def test_closing_the_app_ends_every_wait(url: str) -> None:
    app = EmbedQ(url).connect()
    job = app.enqueue_in(3600, add, 1, 2)

    async def wait() -> None:
        waits = [asyncio.create_task(job.aresult(timeout=60)), asyncio.create_task(asyncio.to_thread(job.wait, 60))]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(app.close)
        for error in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(error, embedq.NotStartedError)

    asyncio.run(wait())


def test_a_job_may_wait_for_another_and_be_interrupted_meanwhile(runner: EmbedQ) -> None:
    runner.connect()
    never = runner.enqueue_in(3600, add, 1, 2)

    @runner.job(name="waiting:wait_for_another", timeout=0.3, retry=embedq.NO_RETRY)
    def wait_for_another(job_id: int) -> None:
        runner.job(job_id).wait()

    runner.start()
    waiting = runner.enqueue(wait_for_another, never.id)
    assert waiting.wait(timeout=60) is JobState.DEAD
    [attempt] = waiting.attempts()
    assert attempt.ending is embedq.Ending.TIMED_OUT


def test_the_child_of_a_fork_waits_with_a_thread_of_its_own(tmp_path: Path) -> None:
    child = Child(
        """
        import os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import embedq
        app = embedq.EmbedQ(sys.argv[1])

        @app.job(name="add")
        def add(a, b):
            return a + b

        app.connect()
        never = app.enqueue_in(3600, add, 1, 2)
        threading.Thread(target=never.wait, daemon=True).start()
        while not any(thread.name == "embedq-waiting" for thread in threading.enumerate()):
            pass
        pid = os.fork()
        if pid == 0:
            job = app.enqueue(add, 1, 2)
            try:
                job.wait(timeout=0.2)
            except embedq.WaitTimeoutError:
                app.start()
                print(job.result(timeout=60), flush=True)
                app.stop()
            os._exit(0)
        os.waitpid(pid, 0)
        print(never.state.value, flush=True)
        os._exit(0)
        """,
        f"sqlite:///{tmp_path}/app.db",
    )
    assert child.finish(timeout=120).split() == ["3", "scheduled"]


def test_waiting_at_the_end_of_the_interpreter(tmp_path: Path) -> None:
    child = Child(
        """
        import atexit, sys
        import embedq
        app = embedq.EmbedQ(sys.argv[1])

        @app.job(name="add")
        def add(a, b):
            return a + b

        def last():
            print(app.enqueue(add, 1, 2).result(timeout=60), flush=True)

        atexit.register(last)
        app.start()
        """,
        f"sqlite:///{tmp_path}/app.db",
    )
    assert child.finish(timeout=120).strip() == "3"


@pytest.mark.parametrize("timeout", ["5", True, float("nan"), [5]])
def test_what_is_no_duration_is_refused_and_nothing_is_stopped(app: EmbedQ, timeout: Any) -> None:
    app.start()
    handle = app.enqueue(int)
    for call in (app.stop, handle.wait, handle.result, lambda timeout: asyncio.run(handle.aresult(timeout))):
        with pytest.raises(ValueError, match=r"timeout=.* must be seconds or a timedelta"):
            call(timeout)
    assert app.started
    assert app.enqueue(int).result(10) == 0


def test_timeouts_may_be_timedeltas(app: EmbedQ) -> None:
    app.start()
    handle = app.enqueue(int)
    assert handle.result(timedelta(seconds=10)) == 0
    assert asyncio.run(handle.aresult(timedelta(seconds=10))) == 0
    with pytest.raises(WaitTimeoutError, match=r"after 0\.01 s"):
        app.enqueue_in(60, int).wait(timedelta(milliseconds=10))
    assert app.stop(timedelta(seconds=10))

"""The app's verbs, on worker threads of this process: enqueueing, options, results, starting and stopping."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import embedq
from embedq import ConfigurationError, EmbedQ, JobState, Retention
from embedq.clock import SECOND, to_datetime
from tests.support import FakeClock, eventually

ran: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


def add(a: int, b: int) -> int:
    return a + b


def note(what: object) -> None:
    ran.append(what)


def fail(message: str = "no") -> None:
    raise ValueError(message)


def return_something_unstorable() -> object:
    return threading.Lock()


# -- enqueueing --------------------------------------------------------------------------------------------------------


def test_an_enqueued_function_runs_and_its_result_comes_back(app: EmbedQ) -> None:
    app.start()
    assert app.enqueue(add, 1, b=2).result(timeout=10) == 3


def test_lambdas_closures_and_nested_functions_run(app: EmbedQ) -> None:
    app.start()
    factor = 7

    def times(n: int) -> int:
        return n * factor

    assert app.enqueue(lambda: factor + 1).result(10) == 8
    assert app.enqueue(times, 6).result(10) == 42


def test_what_was_enqueued_before_the_start_runs_after_it(app: EmbedQ) -> None:
    handles = [app.enqueue(add, n, 1) for n in range(5)]
    app.start()
    assert [handle.result(10) for handle in handles] == [1, 2, 3, 4, 5]


def test_a_naive_datetime_is_refused(app: EmbedQ) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        app.enqueue_at(datetime(2027, 1, 1), add, 1, 2)  # noqa: DTZ001
    assert app.enqueue_at(datetime(2027, 1, 1, tzinfo=UTC), add, 1, 2).state is JobState.SCHEDULED


@pytest.mark.parametrize("delay", ["60", None, True])
def test_a_delay_that_is_no_duration_is_refused(app: EmbedQ, delay: object) -> None:
    with pytest.raises(ValueError, match="must be a timedelta or seconds"):
        app.enqueue_in(delay, add, 1, 2)  # type: ignore[call-overload]


def test_a_delayed_job_starts_at_its_time_and_not_before(tmp_path: Path, clock: FakeClock) -> None:
    with EmbedQ(f"sqlite:///{tmp_path}/app.db", clock=clock).start() as app:
        soon = app.enqueue_in(timedelta(minutes=1), note, "soon")
        later = app.enqueue_in(120, note, "later")
        at = app.enqueue_at(to_datetime(clock.now() + 180 * SECOND), note, "at")
        assert [handle.state for handle in (soon, later, at)] == [JobState.SCHEDULED] * 3
        for seconds, expected in ((59, []), (1, ["soon"]), (60, ["soon", "later"]), (60, ["soon", "later", "at"])):
            clock.advance(seconds=seconds)
            assert app.enqueue(add, 0, 0).result(10) == 0
            eventually(lambda expected=expected: ran == expected)
    app.close()


def test_a_delay_in_the_past_means_now(app: EmbedQ) -> None:
    app.start()
    assert app.enqueue_in(-5, add, 1, 2).result(10) == 3
    assert app.enqueue_at(datetime(1999, 1, 1, tzinfo=UTC), add, 1, 2).result(10) == 3


def test_many_calls_go_in_together_or_not_at_all(app: EmbedQ) -> None:
    app.start()
    handles = app.enqueue_many(app.call(add, n, n) for n in range(300))
    assert [handle.result(10) for handle in handles] == [2 * n for n in range(300)]
    assert app.enqueue_many([]) == []
    with pytest.raises(embedq.UnstorableArgumentError):
        app.enqueue_many([app.call(note, 1), app.call(note, threading.Lock())])
    assert ran == []


@pytest.mark.parametrize(
    ("function", "arguments", "error", "hint"),
    [
        (add, (1,), embedq.SignatureError, "add"),
        (add, (1, 2, 3), embedq.SignatureError, "add"),
        (note, (threading.Lock(),), embedq.UnstorableArgumentError, r"argument args\[0\] of .*:note: .*; "),
        (note, ("x" * 2_000_000,), embedq.PayloadTooLargeError, "pass its path or id"),
        (print(end="") or 5, (), embedq.UnstorableFunctionError, "not a function"),
    ],
)
def test_what_cannot_work_is_refused_at_once_with_a_hint_and_nothing_is_written(
    app: EmbedQ, function: object, arguments: tuple[object, ...], error: type[Exception], hint: str
) -> None:
    with pytest.raises(error, match=hint):
        app.enqueue(function, *arguments)  # type: ignore[call-overload]
    assert app.jobs() == []


def test_an_async_handler_enqueues_without_blocking_its_loop(app: EmbedQ) -> None:
    app.start()

    async def handler() -> list[int]:
        handles = [await app.aenqueue(add, n, 1) for n in range(3)]
        handles.append(await app.options(queue="other").aenqueue(add, 3, 1))
        return [await handle.aresult(timeout=10) for handle in handles]

    assert asyncio.run(handler()) == [1, 2, 3, 4]


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_of_the_decorator_of_the_task_and_of_the_enqueue_each_override_the_one_before(app: EmbedQ) -> None:
    @app.job(name="mail", queue="mail", priority=1, tags=["all"])
    def mail() -> None: ...

    urgent = mail.options(priority=9)
    snapshots = [
        task.enqueue().snapshot() for task in (mail, urgent, urgent.options(queue="vip", tags=["vip", "vip", "eu"]))
    ]
    assert [(job.queue, job.priority, job.tags) for job in snapshots] == [
        ("mail", 1, ("all",)), ("mail", 9, ("all",)), ("vip", 9, ("vip", "eu")),
    ]  # fmt: skip
    plain = app.options(queue="low", priority=-5, tags=["t"]).enqueue(add, 1, 2).snapshot()
    assert (plain.queue, plain.priority, plain.tags) == ("low", -5, ("t",))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"colour": "red"}, "unknown option colour"),
        ({"queue": ""}, "queue=''"),
        ({"priority": 1.5}, "priority=1.5"),
        ({"timeout": -1}, "timeout=-1"),
        ({"retry": 5}, "embedq.Retry"),
        ({"tags": "one"}, "list of strings"),
        ({"retention": 60}, "embedq.Retention"),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(app: EmbedQ, given: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        app.options(**given)  # type: ignore[arg-type]


def test_a_job_that_expires_before_a_worker_is_free_is_cancelled(tmp_path: Path, clock: FakeClock) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", clock=clock).connect()
    expiring = app.options(expires_in=60).enqueue(note, "expired")
    delayed = app.options(expires_in=timedelta(seconds=60)).enqueue_in(100, note, "delayed")
    clock.advance(seconds=101)
    app.start()
    assert expiring.wait(10) is JobState.CANCELLED
    assert delayed.wait(10) is JobState.SUCCEEDED
    with pytest.raises(embedq.JobCancelledError, match="expired before it could start"):
        expiring.result()
    assert ran == ["delayed"]
    app.close()


def test_priorities_rule_within_and_across_queues(tmp_path: Path) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", workers=1).connect()
    for queue, priority in (("a", 0), ("b", 5), ("a", 9), ("b", -1), ("a", 0)):
        app.options(queue=queue, priority=priority).enqueue(note, (queue, priority))
    app.start()
    eventually(lambda: len(ran) == 5)
    assert ran == [("a", 9), ("b", 5), ("a", 0), ("a", 0), ("b", -1)]
    app.close()


def test_queues_in_an_order_come_one_after_the_other_and_others_are_left_alone(tmp_path: Path) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", workers=1, queues=["critical", "default"]).connect()
    app.options(queue="default", priority=100).enqueue(note, "default")
    left = app.options(queue="low").enqueue(note, "low")
    app.options(queue="critical").enqueue(note, "critical")
    app.start()
    eventually(lambda: len(ran) == 2)
    assert ran == ["critical", "default"]
    assert app.options(queue="low").enqueue(note, "low").state is JobState.READY
    assert left.state is JobState.READY
    app.close()


def test_how_long_a_job_is_kept_is_the_apps_setting_or_its_own(tmp_path: Path) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", retention=Retention(succeeded=timedelta(hours=2))).start()
    own = Retention(succeeded=timedelta(minutes=1), dead=None)
    kept = []
    for handle in (
        app.enqueue(add, 1, 2),
        app.options(retention=own).enqueue(add, 1, 2),
        app.options(retention=own, retry=embedq.NO_RETRY).enqueue(fail),
    ):
        handle.wait(10)
        job = handle.snapshot()
        assert job.delete_at is not None
        assert job.finished_at is not None
        kept.append(job.delete_at - job.finished_at)
    assert kept[:2] == [timedelta(hours=2), timedelta(minutes=1)]
    assert kept[2] > timedelta(days=1000 * 365)
    app.close()


def test_the_longest_possible_retention_keeps_a_job_and_delays_no_other(app: EmbedQ) -> None:
    app.start()
    handle = app.options(retention=Retention(succeeded=timedelta.max)).enqueue(add, 1, 2)
    assert handle.result(10) == 3
    assert app.enqueue(add, 2, 2).result(10) == 4


def test_a_tasks_own_retention_holds_where_its_code_does_not_run(app: EmbedQ) -> None:
    @app.job(name="short lived", retention=Retention(cancelled=timedelta(minutes=3)))
    def short_lived() -> None: ...

    handle = short_lived.enqueue()
    handle.cancel()
    job = handle.snapshot()
    assert job.delete_at is not None
    assert job.finished_at is not None
    assert job.delete_at - job.finished_at == timedelta(minutes=3)


# -- idempotency keys --------------------------------------------------------------------------------------------------


def test_a_second_enqueue_with_a_key_returns_the_first_jobs_handle(app: EmbedQ) -> None:
    app.start()
    first = app.options(idempotency_key="order-42").enqueue(note, "first")
    assert first.wait(10) is JobState.SUCCEEDED
    second = app.options(idempotency_key="order-42").enqueue(note, "second")
    assert (first.created, second.created) == (True, False)
    assert second == first
    assert second.wait(10) is JobState.SUCCEEDED
    assert ran == ["first"]


def test_sixteen_threads_with_one_key_make_one_job(app: EmbedQ) -> None:
    app.start()
    barrier = threading.Barrier(16)

    def enqueue(key: int) -> tuple[int, bool]:
        barrier.wait(10)
        handle = app.options(idempotency_key=f"key {key}").enqueue(note, key)
        return handle.id, handle.created

    for key in range(10):
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(enqueue, [key] * 16))
        assert len({job_id for job_id, _ in answers}) == 1
        assert [created for _, created in answers].count(True) == 1
    eventually(lambda: sorted(ran) == list(range(10)))  # type: ignore[type-var]


def test_a_key_belongs_to_one_enqueue_and_not_to_a_function(app: EmbedQ) -> None:
    with pytest.raises(ConfigurationError, match="belongs to one enqueue"):
        app.job(idempotency_key="k")(add)


# -- results -----------------------------------------------------------------------------------------------------------


def test_a_dead_jobs_result_raises_with_its_error_and_traceback(app: EmbedQ) -> None:
    app.start()
    handle = app.options(retry=embedq.NO_RETRY).enqueue(fail, "out of cheese")
    with pytest.raises(embedq.JobDeadError, match="ValueError: out of cheese") as caught:
        handle.result(10)
    assert caught.value.traceback is not None
    assert "raise ValueError(message)\nValueError: out of cheese" in caught.value.traceback
    assert "embedq/worker" not in caught.value.traceback


def test_a_cancelled_jobs_result_raises(app: EmbedQ) -> None:
    handle = app.enqueue(add, 1, 2)
    handle.cancel()
    with pytest.raises(embedq.JobCancelledError, match="cancelled"):
        handle.result(1)


def test_a_result_that_cannot_be_stored_is_reported_and_the_job_has_succeeded(app: EmbedQ) -> None:
    app.start()
    handle = app.enqueue(return_something_unstorable)
    assert handle.wait(10) is JobState.SUCCEEDED
    with pytest.raises(embedq.ResultUnavailableError, match=r"succeeded, but the result was not stored.*lock"):
        handle.result()


def test_waiting_gives_up_in_time_and_states_how_far_the_job_is(app: EmbedQ) -> None:
    handle = app.enqueue(add, 1, 2)
    with pytest.raises(embedq.WaitTimeoutError, match=f"job {handle.id} is still ready after 0.05 s"):
        handle.wait(0.05)
    with pytest.raises(TimeoutError):
        handle.result(0)


def test_reading_a_job_that_is_not_there_is_an_error(app: EmbedQ) -> None:
    with pytest.raises(embedq.JobNotFoundError, match="no job 4711"):
        app.job(4711)


def test_results_of_another_process_are_waited_for_as_well(app: EmbedQ) -> None:
    reader = EmbedQ(app.settings.url).connect()
    handle = reader.enqueue(add, 20, 22)
    app.start()
    assert handle.result(10) == 42
    assert asyncio.run(handle.aresult(10)) == 42
    reader.close()


def test_async_waiting_gives_up_in_time_and_shows_failures(app: EmbedQ) -> None:
    waiting = app.enqueue_in(3600, add, 1, 2)
    with pytest.raises(embedq.WaitTimeoutError, match="still scheduled"):
        asyncio.run(waiting.aresult(timeout=0.05))
    app.start()
    dead = app.options(retry=embedq.NO_RETRY).enqueue(fail)
    with pytest.raises(embedq.JobDeadError):
        asyncio.run(dead.aresult(timeout=10))


# -- starting and stopping ---------------------------------------------------------------------------------------------


def test_starting_twice_changes_nothing(app: EmbedQ) -> None:
    assert app.start() is app.start() is app
    assert len(app.servers()) == 1
    assert app.enqueue(add, 1, 2).result(10) == 3


def test_a_stopped_app_starts_again_and_finds_what_came_meanwhile(app: EmbedQ) -> None:
    app.start()
    assert app.enqueue(add, 1, 1).result(10) == 2
    assert app.stop()
    assert app.servers() == []
    handle = app.enqueue(add, 2, 2)
    assert handle.state is JobState.READY
    app.start()
    assert handle.result(10) == 4


def test_other_settings_than_the_first_time_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    app = EmbedQ(url, workers=2)
    app.configure(url, workers=3).connect()
    app.configure(url, workers=3)
    app.configure()
    with pytest.raises(ConfigurationError, match=r"connected to .* with other settings"):
        app.configure(url, workers=4)
    with pytest.raises(ConfigurationError, match="make another app"):
        app.configure("sqlite:///elsewhere.db")
    assert app.settings.workers == 3
    app.close()


def test_an_app_that_is_not_connected_states_what_to_call(tmp_path: Path) -> None:
    with pytest.raises(embedq.NotStartedError, match=r"call embedq\.start\(\)"):
        EmbedQ(f"sqlite:///{tmp_path}/app.db").enqueue(add, 1, 2)


def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    app = EmbedQ(tmp_path / "app.db").connect()
    threads = set(threading.enumerate())
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute(
        """INSERT INTO embedq_servers (uuid, host, hostname, pid, version, workers, started_at, heartbeat_at)
           VALUES ('gone', 'elsewhere', 'box', 1, '1', 1, 0, 0)"""
    )
    connection.execute(
        """CREATE TRIGGER stuck BEFORE DELETE ON embedq_servers WHEN OLD.uuid = 'gone'
           BEGIN SELECT RAISE(ABORT, 'stuck'); END"""
    )
    connection.commit()
    with pytest.raises(embedq.StorageError, match="stuck"):
        app.start()
    assert not app.started
    assert set(threading.enumerate()) <= threads
    assert [server.hostname for server in app.servers()] == ["box"]
    connection.execute("DROP TRIGGER stuck")
    connection.commit()
    connection.close()
    assert app.start().enqueue(add, 1, 2).result(10) == 3
    app.close()


def test_a_stop_in_the_middle_of_enqueues_strands_no_job(tmp_path: Path) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", workers=3, durability="normal").connect()
    enough = threading.Event()

    def keep_enqueueing() -> int:
        count = 0
        while not enough.is_set():
            app.enqueue(add, count, 1)
            count += 1
        return count

    with ThreadPoolExecutor(3) as threads:
        counts = [threads.submit(keep_enqueueing) for _ in range(3)]
        for _ in range(10):
            app.start()
            app.enqueue(add, 1, 1).result(10)
            assert app.stop()
        enough.set()
        enqueued = sum(count.result(10) for count in counts) + 10
    assert app.stats().counts[JobState.RUNNING] == 0
    app.start()
    eventually(lambda: app.count_jobs(state="succeeded", cap=1_000_000) == enqueued, seconds=60)
    app.close()


def test_several_apps_in_one_process_keep_to_themselves(tmp_path: Path) -> None:
    with EmbedQ(tmp_path / "one.db").start() as one, EmbedQ(tmp_path / "two.db").start() as two:
        mine = [one.enqueue(add, n, 0) for n in range(10)]
        others = [two.enqueue(add, n, 100) for n in range(10)]
        assert [handle.result(10) for handle in mine] == list(range(10))
        assert [handle.result(10) for handle in others] == list(range(100, 110))
        assert len(one.jobs()) == len(two.jobs()) == 10
        assert mine[0] != others[0]

        @two.job(name="of two")
        def of_two() -> str:
            return "two"

        assert of_two.enqueue().result(10) == "two"
        assert len(two.jobs()) == 11
    one.close()
    two.close()


def test_the_module_level_functions_act_on_one_default_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedq._default", None)
    with embedq.start(f"sqlite:///{tmp_path}/app.db", workers=2) as app:
        assert embedq.start() is app is embedq.default_app()
        assert embedq.enqueue(add, 1, 2).result(10) == 3
        assert embedq.enqueue_in(0, add, 1, 3).result(10) == 4
        assert embedq.enqueue_at(datetime(2020, 1, 1, tzinfo=UTC), add, 1, 4).result(10) == 5
        assert [handle.result(10) for handle in embedq.enqueue_many([embedq.call(add, 1, 5)])] == [6]
        assert embedq.options(queue="q").enqueue(add, 1, 6).result(10) == 7

        @embedq.job(name="default task")
        def task(n: int) -> int:
            return n

        assert task(3) == 3
        assert task.enqueue(8).result(10) == 8
        with pytest.raises(ConfigurationError, match="other settings"):
            embedq.start("sqlite:///elsewhere.db")
    assert not app.started
    app.close()


@pytest.mark.parametrize("verb", [embedq.start, embedq.connect])
def test_without_arguments_what_the_default_app_was_configured_with_holds(
    verb: Callable[[], EmbedQ], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embedq._default", None)
    embedq.default_app().configure("sqlite:///mine.db", workers=3)
    app = verb()
    assert (app.settings.url, app.settings.workers) == ("sqlite:///mine.db", 3)
    app.close()
    assert not (tmp_path / "embedq.db").exists()


def test_without_arguments_an_app_reads_the_environment_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedq._default", None)
    monkeypatch.setattr("embedq.process.job_process.default_app", None)
    # As a decorator does where the program is imported.
    embedq.default_app()
    monkeypatch.setenv("EMBEDQ_URL", f"sqlite:///{tmp_path}/late.db")
    embedq.connect().close()
    assert (tmp_path / "late.db").exists()

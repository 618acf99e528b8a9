"""Jobs with executor="process": real processes, of a pool that most of the tests share."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import ConfigurationError, EmbedQ, Ending, JobState
from tests.databases import SQLiteHome
from tests.support import ROOT, Child, eventually, resume_registry
from tests.worker import process_jobs as jobs
from tests.worker.process_types import Order

SETTINGS: dict[str, Any] = {
    "workers": 1, "processes": 2, "interrupt_grace": 0.2, "cancel_grace": 0.05, "stop_timeout": 5, "max_crashes": 2,
    "process_memory_mb": 400, "timeout": 30,
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbedQ]:
    """The default app, on a database of its own."""
    with pytest.MonkeyPatch.context() as patch, resume_registry():
        patch.setattr(embedq, "_default", None)
        patch.setattr(embedq.process.job_process, "default_app", None)
        app = embedq.start(SQLiteHome().fresh(tmp_path_factory.mktemp("processes")), **SETTINGS)
        yield app
        assert app.stop()
        app.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., EmbedQ]]:
    """Apps with settings of their own."""
    made: list[EmbedQ] = []

    def make(**settings: Any) -> EmbedQ:
        app = EmbedQ(SQLiteHome().fresh(tmp_path, f"app{len(made)}"), **{**SETTINGS, "processes": 1, **settings})
        made.append(app.start())
        return app

    yield make
    for app in made:
        app.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for yet is dead.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def run_script(folder: Path) -> str:
    """Run `shop.py` there; its output."""
    done = subprocess.run(
        [sys.executable, "shop.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- a job that goes well ----------------------------------------------------------------------------------------------


def test_a_job_runs_in_another_process_and_knows_and_states_what_it_would_here(
    app: EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    handle = jobs.report.enqueue(1, b=2)
    result = handle.result(timeout=20)
    assert result["sum"] == 3
    assert result["pid"] != os.getpid()
    assert result["job"] == [handle.id, 1, "heavy", ("report",)]
    assert [line.message for line in handle.logs()] == ["adding 1 and 2"]
    job = handle.snapshot()
    assert (job.executor, job.progress, job.progress_note) == ("process", 0.5, "half")
    [record] = [record for record in caplog.records if record.name == "tests.report"]
    assert (record.getMessage(), record.levelno, record.process) == ("from afar", logging.WARNING, result["pid"])


def test_async_lambdas_and_continuations_run_there_too(app: EmbedQ) -> None:
    base = 40
    assert jobs.later.enqueue(1).result(timeout=20) == 2
    away = embedq.options(executor="process").enqueue(lambda n: (base + n, os.getpid()), 2)
    assert away.result(timeout=20)[0] == 42
    assert away.result(timeout=20)[1] != os.getpid()
    assert jobs.later.enqueue(1).then(jobs.after, "got").result(timeout=20) == "got 2"


def test_a_job_may_enqueue_from_there(app: EmbedQ) -> None:
    child = jobs.enqueue_another.enqueue(-3).result(timeout=20)
    assert app.job(child).result(timeout=20) == 3


def test_an_argument_may_be_of_a_type_that_the_jobs_module_does_not_import(app: EmbedQ) -> None:
    assert jobs.ship.enqueue(Order("lamp")).result(timeout=20) == "lamp shipped"


# -- one that fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "state"), [(7, JobState.RETRYING), (8, JobState.DEAD)])
def test_the_retry_policy_sees_the_error_itself_also_one_that_cannot_be_sent(
    app: EmbedQ, code: int, state: JobState
) -> None:
    handle = jobs.refuse.enqueue(code)
    eventually(lambda: handle.state is state)
    [attempt] = handle.attempts()
    assert attempt.error == f"Unpicklable: code {code}"
    assert attempt.traceback is not None
    assert "in refuse" in attempt.traceback
    assert "embedq/worker" not in attempt.traceback


def test_a_job_that_outruns_its_timeout_is_interrupted_in_its_sleep_and_may_clean_up(app: EmbedQ) -> None:
    handle = jobs.sleep_and_clean_up.options(timeout=0.1).enqueue()
    assert handle.wait(20) is JobState.DEAD
    [attempt] = handle.attempts()
    assert attempt.ending is Ending.TIMED_OUT
    assert attempt.error == "TimeoutError: the job ran longer than its timeout of 0.1 s"
    assert [line.message for line in handle.logs()] == ["cleaned up"]


def test_one_that_does_not_yield_is_killed_and_its_position_is_reported(app: EmbedQ) -> None:
    handle = jobs.hold_the_gil.options(timeout=0.1).enqueue()
    assert handle.wait(20) is JobState.DEAD
    [attempt] = handle.attempts()
    assert attempt.ending is Ending.TIMED_OUT
    assert attempt.traceback is not None
    assert "in hold_the_gil" in attempt.traceback
    assert jobs.pid.enqueue().result(timeout=20) > 0


@pytest.mark.parametrize(
    ("task", "words", "place"),
    [(jobs.segfault, "died of SIGSEGV (Segmentation fault)", "segfault"), (jobs.leave_at_once, "exit code 3", None)],
)
def test_a_process_that_dies_is_a_crash_of_its_job_alone(
    app: EmbedQ, task: embedq.Task[[], None], words: str, place: str | None
) -> None:
    handle = task.enqueue()
    assert handle.wait(20) is JobState.DEAD
    first, second = handle.attempts()
    assert (first.ending, second.ending, handle.snapshot().crashes) == (Ending.CRASHED, Ending.CRASHED, 2)
    assert words in (first.error or "")
    assert "2 times in all; set aside" in (second.error or "")
    assert place is None or f"in {place}" in (first.traceback or "")
    assert app.started


def test_a_job_that_wants_too_much_memory_fails_and_gets_no_successor_in_its_process(app: EmbedQ) -> None:
    handle = jobs.take_memory.enqueue(1000)
    assert handle.wait(20) is JobState.DEAD
    [attempt] = handle.attempts()
    assert (attempt.ending, attempt.error) == (Ending.FAILED, "MemoryError")
    assert jobs.take_memory.enqueue(10).result(timeout=20) == 10 << 20


def test_a_job_is_cancelled_by_the_word_or_by_force(app: EmbedQ) -> None:
    polite, stubborn = jobs.wait_for_the_word.enqueue(), jobs.hold_the_gil.enqueue()
    eventually(lambda: polite.snapshot().progress)
    polite.cancel()
    assert polite.wait(20) is JobState.CANCELLED
    assert [line.message for line in polite.logs()] == ["heard it"]
    eventually(lambda: stubborn.state is JobState.RUNNING)
    stubborn.cancel()
    assert stubborn.wait(20) is JobState.CANCELLED


# -- the pool ----------------------------------------------------------------------------------------------------------


def test_no_more_jobs_are_claimed_than_there_are_processes_and_a_stop_drains_them(make: Callable[..., EmbedQ]) -> None:
    app = make()
    first = app.options(executor="process").enqueue(jobs.wait_for_the_word)
    second = app.options(executor="process").enqueue(jobs.pid)
    eventually(lambda: first.snapshot().progress)
    assert second.state is JobState.READY
    assert app.stop(timeout=5)
    app.connect()
    assert (first.state, first.snapshot().attempt, second.state) == (JobState.READY, 0, JobState.READY)


def test_a_stop_kills_what_does_not_yield_and_puts_it_back(make: Callable[..., EmbedQ], tmp_path: Path) -> None:
    app = make()
    file = tmp_path / "pid"
    handle = app.options(executor="process").enqueue(jobs.hold_the_gil, str(file))
    eventually(lambda: file.exists() and file.read_text())
    assert app.stop(timeout=0)
    app.connect()
    assert (handle.state, handle.snapshot().attempt, handle.snapshot().crashes) == (JobState.READY, 0, 0)
    assert not alive(int(file.read_text()))


def test_a_process_serves_several_jobs_until_its_number_is_up_and_leaves_when_idle(make: Callable[..., EmbedQ]) -> None:
    app = make(process_max_jobs=2, process_idle=0.05)
    pids = [app.options(executor="process").enqueue(jobs.pid).result(timeout=20) for _ in range(3)]
    # The idle time may have ended one sooner.
    assert pids[2] != pids[0]
    eventually(lambda: not any(map(alive, pids)))


def test_with_no_processes_such_jobs_are_left_to_others_and_the_rest_continues(make: Callable[..., EmbedQ]) -> None:
    app = make(processes=0)
    handle = app.options(executor="process").enqueue(jobs.pid)
    assert app.enqueue(abs, -1).result(timeout=20) == 1
    assert handle.state is JobState.READY


def test_middleware_and_setup_are_called_in_the_process(make: Callable[..., EmbedQ]) -> None:
    app = make(middleware=[jobs.marked], process_setup="tests.worker.process_jobs:set_up")
    mark, pid = app.options(executor="process").enqueue(jobs.mark).result(timeout=20)
    assert mark == f"tests.worker.process_jobs:mark in {pid}"
    assert app.options(executor="process").enqueue(jobs.was_set_up).result(timeout=20) == "yes"
    assert "SET_UP" not in os.environ


def test_middleware_that_cannot_be_sent_parks_the_job_and_reports_it(make: Callable[..., EmbedQ]) -> None:
    lock = threading.Lock()

    @contextlib.contextmanager
    def locked(job: embedq.JobContext) -> Iterator[None]:
        with lock:
            yield

    app = make(middleware=[locked])
    handle = app.options(executor="process").enqueue(jobs.pid)
    eventually(lambda: handle.state is JobState.PARKED)
    assert "make it a function at a module's top level" in (handle.snapshot().error or "")
    assert app.enqueue(abs, -1).result(timeout=20) == 1


def test_a_setup_that_fails_fails_the_job_with_its_error(make: Callable[..., EmbedQ]) -> None:
    app = make(process_setup="tests.worker.process_jobs:fail_to_set_up")
    handle = app.options(executor="process", retry=embedq.NO_RETRY).enqueue(jobs.pid)
    assert handle.wait(20) is JobState.DEAD
    [attempt] = handle.attempts()
    assert "cannot be set up: LookupError: no settings here" in (attempt.error or "")
    assert "in fail_to_set_up" in (attempt.traceback or "")


# -- the host ----------------------------------------------------------------------------------------------------------


def test_a_process_does_not_outlive_its_killed_host_and_its_job_runs_again(tmp_path: Path) -> None:
    host = Child(
        """
        import sys, embedq
        from tests.worker import process_jobs
        app = embedq.start(sys.argv[1], workers=1, processes=1)
        process_jobs.hold_the_gil.enqueue(sys.argv[2])
        print("started", flush=True)
        input()
        """,
        url := SQLiteHome().fresh(tmp_path),
        file := tmp_path / "pid",
    )
    assert host.read_line() == "started"
    eventually(lambda: file.exists() and file.read_text())
    pid = int(file.read_text())
    file.unlink()
    host.kill()
    with EmbedQ(url, **{**SETTINGS, "stop_timeout": 0}) as app:
        eventually(lambda: file.exists() and file.read_text())
        # The lock that tells of the host's death was the process's too.
        assert not alive(pid)
        [job] = app.jobs()
        assert (job.state, job.crashes) == (JobState.RUNNING, 1)


def test_functions_of_the_script_run_and_what_it_starts_when_imported_is_not_started_there(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        """
import os, embedq

side = embedq.EmbedQ("sqlite:///side.db", workers=1).start()

def noted() -> None:
    pass

@embedq.job(executor="process")
def look() -> list:
    own = embedq.default_app()
    return [os.getpid(), side.started, side.enqueue(noted).id > 0, own.started, embedq.enqueue(noted).id]

if __name__ == "__main__":
    with embedq.start("sqlite:///shop.db", workers=1, processes=1) as app:
        pid, *rest = look.enqueue().result(timeout=20)
        print(look.name, pid != os.getpid(), *rest, app.job(rest[-1]).wait(timeout=20).value)
"""
    )
    assert run_script(tmp_path).split() == ["shop:look", "True", "False", "True", "False", "2", "succeeded"]


def test_a_script_that_enqueues_when_it_is_imported_is_refused_for_its_missing_guard(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        """
import embedq

@embedq.job(executor="process")
def look() -> None:
    pass

with embedq.start("sqlite:///shop.db", workers=1, processes=1) as app:
    handle = look.enqueue()
    while handle.state not in ("parked", "succeeded"):
        pass
    print(app.count_jobs(), handle.snapshot().error)
"""
    )
    done = run_script(tmp_path)
    assert done.startswith("1 ")
    assert 'under: if __name__ == "__main__":' in done


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_what_cannot_run_in_a_process_is_refused_at_once(app: EmbedQ) -> None:
    def nested() -> None: ...

    with pytest.raises(ConfigurationError, match="move it to the module's top level"):
        embedq.job(name="nested", executor="process")(nested)
    with pytest.raises(ConfigurationError, match="is not an async def function"):
        embedq.options(executor="async").enqueue(jobs.take_memory, 1)
    with pytest.raises(ConfigurationError, match="must be one of thread, async, process"):
        embedq.options(executor="fibre")  # type: ignore[arg-type]
    for wrong in ({"processes": -1}, {"process_memory_mb": 1}, {"process_max_jobs": 0}, {"process_setup": "django"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            EmbedQ("sqlite:///x.db", **wrong)


# -- stopped and cancelled while its process starts --------------------------------------------------------------------

# Seconds after the enqueue: Python starts, the app's module is imported, the job runs.
OFFSETS = (0.0, 0.02, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
SLOW_TO_IMPORT = """
import time
import embedq
from embedq.process import job_process

if job_process.here():
    time.sleep(0.5)

@embedq.job(executor="process", retry=embedq.NO_RETRY)
def linger():
    while True:
        time.sleep(0.005)
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that takes its time in the processes of jobs."""
    (tmp_path / "slow_shop.py").write_text(SLOW_TO_IMPORT)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("slow_shop")
    del sys.modules["slow_shop"]


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_stop_does_not_wait_for_a_job_whose_process_starts(
    make: Callable[..., EmbedQ], slow: Any, offset: float, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    app = make(interrupt_grace=30)
    handle = app.enqueue(slow.linger)
    eventually(lambda: handle.state is JobState.RUNNING)
    time.sleep(offset)
    began = time.monotonic()
    assert app.stop(timeout=0)
    assert time.monotonic() - began < 15
    app.connect()
    assert (handle.state, handle.snapshot().attempt, handle.snapshot().crashes) == (JobState.READY, 0, 0)
    assert "AttributeError" not in caplog.text
    assert "Traceback" not in capfd.readouterr().err


def test_a_cancel_does_not_wait_for_a_job_whose_process_starts(make: Callable[..., EmbedQ], slow: Any) -> None:
    app = make(interrupt_grace=30, processes=3)
    for offset in OFFSETS[::2]:
        handle = app.enqueue(slow.linger)
        eventually(lambda handle=handle: handle.state is JobState.RUNNING)
        time.sleep(offset)
        handle.cancel()
        assert handle.wait(15) is JobState.CANCELLED
        assert [attempt.ending for attempt in handle.attempts()] == [Ending.CANCELLED]

"""Options for a whole app, tasks by their name alone, verbs for an event loop, and connecting when it is first used."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import tenacity

import embedq
from embedq import ConfigurationError, EmbedQ, JobState, Options, Retention, Retry, UnknownTaskError
from embedq.testing import app_under_test
from tests.support import ROOT, Child, resume_registry


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with resume_registry():
        yield


def fail() -> None:
    raise ValueError("no")


DEFAULTS = Options(
    queue="mail", priority=3, tags=("app",), timeout=50, expires_in=3600,
    retry=Retry(attempts=2, wait=tenacity.wait_none(), discard_on=(KeyError,)),
    retention=Retention(dead=timedelta(days=7)),
)  # fmt: skip


def stored_timeout(app: EmbedQ, job: embedq.JobHandle) -> float | None:
    """What stands in the job's row."""
    row = app.database.read(lambda tx: tx.one("job_state", (job.id,)))
    assert row is not None
    options: str | None = row[3]
    return None if options is None else json.loads(options).get("timeout")


# -- options of an app -------------------------------------------------------------------------------------------------


def test_an_apps_options_hold_where_neither_the_decorator_nor_the_enqueue_states_otherwise(tmp_path: Path) -> None:
    with EmbedQ(tmp_path / "jobs.db", default_options=DEFAULTS) as app:
        bare = app.job(name="bare")(fail)
        own = app.job(name="own", queue="own", retry=embedq.NO_RETRY, tags=["task"])(fail)
        jobs = [bare.enqueue(), own.enqueue(), own.options(queue="call", priority=9).enqueue(), app.enqueue(fail)]
        assert {job.wait(60) for job in jobs} == {JobState.DEAD}
        seen = [job.snapshot() for job in jobs]
        assert [job.queue for job in seen] == ["mail", "own", "call", "mail"]
        assert [job.priority for job in seen] == [3, 3, 9, 3]
        assert [job.tags for job in seen] == [("app",), ("task",), ("task",), ("app",)]
        assert [job.attempt for job in seen] == [2, 1, 1, 2]
        assert {(job.expires_at - job.created_at).total_seconds() for job in seen if job.expires_at} == {3600}
        kept = seen[0].delete_at - seen[0].finished_at  # type: ignore[operator]
        assert kept == timedelta(days=7)
        assert [stored_timeout(app, job) for job in jobs] == [50.0] * 4
        assert stored_timeout(app, app.options(timeout=9).enqueue(print)) == 9.0
        many = app.enqueue_many([bare.call(), app.call(fail)])
        app.recurring("nightly", "@daily", print)
        assert {job.snapshot().queue for job in (*many, app.trigger_recurring("nightly"))} == {"mail"}


def test_an_apps_options_may_be_a_dict_and_stay_when_it_is_started_again_with_the_same(tmp_path: Path) -> None:
    app = EmbedQ(tmp_path / "jobs.db", default_options={"timeout": timedelta(minutes=1), "retry": Retry(attempts=4)})
    app.connect()
    assert app.enqueue(fail).snapshot().queue == "default"
    app.configure(tmp_path / "jobs.db", default_options={"retry": Retry(attempts=4), "timeout": 60})
    app.configure()
    with pytest.raises(ConfigurationError, match="with other default options"):
        app.configure(default_options={"timeout": 61})
    app.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"idempotency_key": "x"}, "unknown default option idempotency_key; there are: expires_in"),
        (Options(executor="thread"), "unknown default option executor"),
        ({"prio": 1}, "unknown default option prio; did you mean priority"),
        ({"timeout": -1}, "timeout=-1 must be seconds"),
        ("mail", "must be an embedq.Options"),
        ({"retry": Retry(wait=lambda state: 1.0)}, "declare"),
    ],
)
def test_options_that_no_app_can_have_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EmbedQ("sqlite:///x.db", default_options=given)


def test_an_apps_options_hold_in_its_jobs_own_processes_and_in_tests(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        """
import embedq

@embedq.job(executor="process")
def enqueue_another():
    job = embedq.enqueue(len, "x").snapshot()
    return [job.queue, list(job.tags)]

class OutOfTea(Exception): ...

if __name__ == "__main__":
    retry = embedq.Retry(attempts=2, discard_on=(OutOfTea,))
    with embedq.start("sqlite:///jobs.db", default_options=embedq.Options(queue="mail", tags=("app",), retry=retry)):
        print(enqueue_another.enqueue().result(timeout=60))
"""
    )
    done = subprocess.run(
        [sys.executable, "shop.py"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "['mail', ['app']]\n", done.stderr
    with app_under_test(folder=tmp_path) as kit:
        embedq.start("sqlite:///elsewhere.db", default_options={"queue": "mail"})
        embedq.enqueue(fail)
        assert [job.queue for job in kit.enqueued] == ["mail"]
    (tmp_path / "other").mkdir()
    app = EmbedQ(tmp_path / "shop.db", default_options={"queue": "shop"})
    with app_under_test(app=app, folder=tmp_path / "other") as kit:
        app.enqueue(fail)
        assert [job.queue for job in kit.enqueued] == ["shop"]


# -- by name -----------------------------------------------------------------------------------------------------------


def test_a_task_is_enqueued_by_its_name_where_its_function_is_not(app: EmbedQ) -> None:
    app.connect()
    task = app.by_name("shop.mail:send")
    job = task.options(queue="low", tags=["x"]).enqueue(7, template="new")
    found = job.snapshot()
    assert (found.name, found.queue, found.tags, found.executor) == ("shop.mail:send", "low", ("x",), "thread")
    assert json.loads(found.arguments) == [[7], {"template": "new"}]
    others = [
        task.enqueue_in(60, 7), app.enqueue(task, 7), app.options(priority=2).enqueue(task, 7), job.then(task, 7),
        *app.enqueue_many([task.call(7), app.call(task, 8)]), asyncio.run(task.aenqueue(7)),
    ]  # fmt: skip
    app.recurring("nightly", "@daily", task, 7)
    others.append(app.trigger_recurring("nightly"))
    assert {job.snapshot().name for job in others} == {"shop.mail:send"}
    with pytest.raises(embedq.UnstorableArgumentError, match=r"of shop\.mail:send"):
        task.enqueue(object())
    with pytest.raises(UnknownTaskError, match=r"no task named 'shop\.mail:send' here"):
        task(7)
    for no_name in ("", "x" * 256, fail, None):
        with pytest.raises(ConfigurationError, match=r"is not the name of a task"):
            app.by_name(no_name)  # type: ignore[arg-type]


@pytest.mark.parametrize("executor", ["thread", "async"])
def test_any_process_that_has_the_name_runs_it_and_an_async_function_too(tmp_path: Path, executor: str) -> None:
    app = EmbedQ(tmp_path / "jobs.db").connect()
    job = app.by_name("mail.send").enqueue(7)
    worker = Child(
        f"""
        import embedq
        app = embedq.EmbedQ("sqlite:///{tmp_path}/jobs.db")
        @app.job(name="mail.send")
        {"async " if executor == "async" else ""}def send(user): return f"sent to {{user}}"
        with app:
            app.job({job.id}).wait(60)
        """
    )
    worker.finish()
    assert job.result(60) == "sent to 7"
    app.close()


def test_where_the_name_is_registered_the_arguments_are_checked(app: EmbedQ) -> None:
    app.start()
    before = app.by_name("later")

    @app.job(name="later", queue="own")
    def later(number: int) -> int:
        return 2 * number

    assert app.by_name("later") is later
    assert before.options(priority=4).enqueue(2).result(60) == before(2) == 4
    assert before.enqueue(3).snapshot().queue == "own"
    with pytest.raises(embedq.SignatureError):
        before.enqueue()


# -- for an event loop -------------------------------------------------------------------------------------------------


def test_what_waits_for_the_database_can_be_awaited(app: EmbedQ) -> None:
    app.connect()

    async def main() -> None:
        job = await app.ajob((await app.aenqueue(fail)).id)
        assert await job.astate() is JobState.READY
        assert (await app.astats()).counts[JobState.READY] == 1
        assert [found.id for found in await app.ajobs(state="ready", limit=5)] == [job.id]
        assert await job.acancel() is JobState.CANCELLED
        await job.aretry()
        assert (await job.asnapshot()).state is JobState.READY
        with pytest.raises(embedq.JobNotFoundError):
            await app.ajob(99)

    asyncio.run(main())


# -- on first use ------------------------------------------------------------------------------------------------------

FIRST_USE = """
import embedq, threading
@embedq.job
def send(user): ...
assert not embedq.default_app().engine.connected
try:
    print(send.enqueue(7).id, embedq.default_app().stats().counts["ready"], threading.active_count())
    embedq.default_app().close()
    send.enqueue(8)
except embedq.NotStartedError as error:
    print(error)
"""


def test_a_script_connects_by_itself_where_the_environment_states_to_what(tmp_path: Path) -> None:
    def run(**environment: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "", **environment},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    refused = "embedq is not connected: call embedq.start() where the app starts up"
    assert run()[0].startswith(refused)
    assert not list(tmp_path.iterdir()), "no file of a default name is made"
    said = run(EMBEDQ_URL="sqlite:///jobs.db")
    assert said[0] == "1 1 1"
    assert said[1].startswith(refused), "what was closed stays closed"
    forgotten = run(EMBEDQ_URL="sqlite:///real.db", PYTEST_CURRENT_TEST="test_shop.py::test_that_forgot_the_fixture")
    assert forgotten[0].startswith(refused)
    assert not (tmp_path / "real.db").exists()

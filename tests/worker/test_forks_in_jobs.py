"""Jobs that fork: their children are theirs, and no workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import NO_RETRY, EmbedQ
from embedq.tasks.options import Executor
from tests.databases import SQLiteHome
from tests.support import eventually, resume_registry
from tests.worker import forking_jobs as jobs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks with threads")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbedQ]:
    """The default app, on a database of its own."""
    with pytest.MonkeyPatch.context() as patch, resume_registry():
        patch.setattr(embedq, "_default", None)
        patch.setattr(embedq.process.job_process, "default_app", None)
        app = embedq.start(SQLiteHome().fresh(tmp_path_factory.mktemp("forks")), workers=2, processes=1)
        yield app
        assert app.stop()
        app.close()


def run(app: EmbedQ, executor: Executor | None, function: Callable[..., Any], *args: Any) -> Any:
    options = app.options(retry=NO_RETRY) if executor is None else app.options(retry=NO_RETRY, executor=executor)
    return options.enqueue(function, *args).result(60)


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize(
    ("function", "args", "status"),
    [
        (jobs.return_twice, (), 0), (jobs.fail_in_the_child, (), 1), (jobs.leave, (3,), 3), (jobs.leave, (None,), 0),
        (jobs.leave, ("words",), 1),
    ],
)  # fmt: skip
def test_a_forked_child_that_comes_out_of_the_function_ends_and_the_job_is_its_parents(
    app: EmbedQ, executor: Executor, function: Callable[..., int], args: tuple[Any, ...], status: int
) -> None:
    assert run(app, executor, function, *args) == status


@pytest.mark.parametrize("executor", ["async", "process"])
def test_so_it_does_on_an_event_loop(app: EmbedQ, executor: Executor) -> None:
    assert run(app, executor, jobs.return_twice_on_the_loop) == 0
    assert run(app, executor, jobs.leave_on_the_loop) == 5


def test_the_child_of_a_job_runs_no_jobs(app: EmbedQ, tmp_path: Path) -> None:
    helped = app.enqueue(jobs.have_a_helper, str(tmp_path))
    eventually((tmp_path / "helper").exists)
    others = [app.options(queue="others").enqueue(os.getpid) for _ in range(40)]
    assert {other.result(20) for other in others} == {os.getpid()}
    assert [server.pid for server in app.servers()] == [os.getpid()]
    (tmp_path / "end").touch()
    assert helped.result(20) == 0


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_the_child_of_a_job_may_enqueue(app: EmbedQ, executor: Executor) -> None:
    number, state = run(app, executor, jobs.enqueue_in_a_child)
    assert state == "succeeded"
    assert app.job(number).result(20) == os.getpid()


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_children_may_log_and_be_terminated(app: EmbedQ, executor: Executor) -> None:
    assert run(app, executor, jobs.compute_in_a_pool) == [1, 2]
    # On a thread they have the handler that drains, and leave by it.
    assert run(app, executor, jobs.terminate_a_child) == (-15 if executor == "process" else jobs.terminate_a_child())


def test_a_childs_child_keeps_the_files_that_the_child_has_opened(app: EmbedQ) -> None:
    assert all(run(app, "process", jobs.write_in_a_childs_child))

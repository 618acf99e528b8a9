"""What a failed job had in hand is freed when it has ended, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tenacity

import embedq
from embedq import NO_RETRY, JobContext, JobState, Retry
from tests.support import eventually
from tests.worker import process_jobs

freed: list[str] = []


class Large:
    """Stands for 200 MB."""

    def __init__(self, name: str) -> None:
        weakref.finalize(self, freed.append, name)


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    freed.clear()
    gc.disable()
    yield
    gc.enable()


def fails() -> None:
    held = Large("fails")
    raise ValueError(f"no {id(held)}")


def keeps_its_error() -> None:
    held = Large("keeps")
    try:
        raise ValueError(f"no {id(held)}")
    except ValueError as error:
        kept = error
    raise kept


def raises_from() -> None:
    held = Large("outer")

    def inner() -> None:
        deeper = Large("inner")
        raise KeyError(str(deeper))

    try:
        inner()
    except KeyError as error:
        raise RuntimeError(f"because {id(held)}") from error


async def fails_later() -> None:
    held = Large("async")
    await asyncio.sleep(0)
    raise ValueError(f"no {id(held)}")


async def fails_in_a_group() -> None:
    held = Large("group")

    async def one() -> None:
        mine = Large("task")
        raise ValueError(f"no {id(mine)}")

    async with asyncio.TaskGroup() as group:
        group.create_task(one())
    assert held


def fails_with_its_argument(large: dict[str, Large]) -> None:
    large["held"] = Large("argument")
    raise ValueError(len(large))


def succeeds() -> None:
    held = Large("succeeds")
    assert held


@contextmanager
def around(context: JobContext) -> Iterator[None]:
    held = Large("middleware")
    try:
        yield
    except ValueError as error:
        raise RuntimeError(f"{context.id} {id(held)}") from error


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (fails, {"fails"}),
        (keeps_its_error, {"keeps"}),
        (raises_from, {"outer", "inner"}),
        (fails_later, {"async"}),
        (fails_in_a_group, {"group", "task"}),
        (succeeds, {"succeeds"}),
    ],
)
@pytest.mark.parametrize("policy", [NO_RETRY, Retry(attempts=2, wait=tenacity.wait_fixed(0), retry_on=(ValueError,))])
def test_what_a_job_had_in_hand_is_freed_with_it(
    app: embedq.EmbedQ, function: Callable[[], None], expected: set[str], policy: Retry
) -> None:
    app.start()
    app.options(retry=policy).enqueue(function).wait(20)
    eventually(lambda: set(freed) == expected)


def test_so_is_what_middleware_had(tmp_path: Path) -> None:
    with embedq.EmbedQ(tmp_path / "own.db", middleware=[around]) as app:
        assert app.options(retry=NO_RETRY).enqueue(fails).wait(20) is JobState.DEAD
        eventually(lambda: set(freed) == {"fails", "middleware"})


def test_so_it_is_in_a_process_of_its_own(app: embedq.EmbedQ, tmp_path: Path) -> None:
    app.start()
    told = tmp_path / "freed"
    job = app.options(retry=NO_RETRY, executor="process").enqueue(process_jobs.fail_with_something_large, str(told))
    assert job.wait(60) is JobState.DEAD
    eventually(told.exists)


def test_so_are_the_arguments(app: embedq.EmbedQ) -> None:
    app.start()
    assert app.options(retry=NO_RETRY).enqueue(fails_with_its_argument, {}).wait(20) is JobState.DEAD
    eventually(lambda: freed == ["argument"])


def test_an_error_that_is_kept_keeps_its_lines(tmp_path: Path) -> None:
    kept: list[BaseException] = []

    @contextmanager
    def keep(context: JobContext) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            kept.append(error)
            raise

    with embedq.EmbedQ(tmp_path / "own.db", middleware=[keep]) as app:
        assert app.options(retry=NO_RETRY).enqueue(fails).wait(20) is JobState.DEAD
        eventually(lambda: freed == ["fails"])
    frames = kept[0].__traceback__
    names = []
    while frames is not None:
        names.append(frames.tb_frame.f_code.co_name)
        frames = frames.tb_next
    assert names[-1] == "fails"

"""Errors that cannot be looked at: the job's policy holds, and what could be said of them is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import embedq
from embedq import NO_RETRY, JobState, Retry
from embedq.tasks.options import Executor
from embedq.worker.error_text import MAX_TRACEBACK, headline, traceback_text
from tests.databases import SQLiteHome
from tests.support import eventually

ONCE_MORE = Retry(attempts=2, retry_on=(ValueError, SyntaxError))


class LyingClass(ValueError):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("no class")


class NoCause(ValueError):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("no cause")

    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise RuntimeError("no traceback")


class NoNotes(ValueError):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no notes")


class NoText(ValueError):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Recursive(ValueError):
    def __str__(self) -> str:
        return str(self)


class Text(str):
    __slots__ = ()

    def __format__(self, spec: str) -> str:
        raise RuntimeError("no format")

    def __getitem__(self, key: object) -> str:
        raise RuntimeError("no parts")


class StrangeText(ValueError):
    def __str__(self) -> str:
        return Text("strange text")


class NamelessType(type):
    def __getattribute__(cls, name: str) -> object:
        if name in ("__name__", "__qualname__", "__mro__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("no instance check")


class Nameless(ValueError, metaclass=NamelessType):
    pass


def cycle() -> BaseException:
    one, two = ValueError("one of a cycle"), KeyError("the other")
    one.__cause__, two.__cause__ = two, one
    return one


def strange_notes() -> BaseException:
    error = ValueError("strange notes")
    error.__notes__ = 7  # type: ignore[assignment]
    return error


STRANGE: dict[str, Callable[[], BaseException]] = {
    "SyntaxError: x (f)": lambda: SyntaxError("x", ("f", "x", "y", 7)),  # type: ignore[arg-type]
    "LyingClass: classless": lambda: LyingClass("classless"),
    "NoCause: causeless": lambda: NoCause("causeless"),
    "NoNotes: noteless": lambda: NoNotes("noteless"),
    "NoText: (its message cannot be read: its __str__ raised SystemExit)": lambda: NoText("wordless"),
    "Recursive: (its message cannot be read: its __str__ raised RecursionError)": lambda: Recursive("again"),
    "StrangeText: strange text": StrangeText,
    "Nameless: nameless": lambda: Nameless("nameless"),
    "ValueError: one of a cycle": cycle,
    "ValueError: strange notes": strange_notes,
    "ValueError: half \\udcff": lambda: ValueError("half \udcff"),
    "ValueError: long long": lambda: ValueError("long " * 10_000_000),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedq.EmbedQ]:
    """A started app for all tests of this file: to start a process for jobs takes longer than the jobs."""
    url = SQLiteHome().fresh(tmp_path_factory.mktemp("errors"))
    with embedq.EmbedQ(url, stop_timeout=5, interrupt_grace=0.5) as app:
        yield app


@pytest.fixture(params=list(STRANGE), ids=lambda text: text.partition("(")[0])
def text(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def fail(text: str) -> None:
    raise STRANGE[text]()


async def fail_later(text: str) -> None:
    await asyncio.sleep(0)
    fail(text)


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_strange_error_is_retried_by_its_policy_and_reported(
    app: embedq.EmbedQ, text: str, executor: Executor
) -> None:
    function = fail_later if executor == "async" else fail
    once = app.options(executor=executor, retry=NO_RETRY).enqueue(function, text)
    again = app.options(executor=executor, retry=ONCE_MORE).enqueue(function, text)
    assert once.wait(30) is JobState.DEAD
    [attempt] = once.attempts()
    assert attempt.error is not None
    assert attempt.error.startswith(text)
    assert attempt.traceback is not None
    assert "in fail" in attempt.traceback
    assert len(attempt.traceback) < MAX_TRACEBACK + 100
    eventually(lambda: again.state is JobState.RETRYING, seconds=30)


def test_an_error_in_thousands_of_groups_is_reported() -> None:
    error: Exception = ValueError("in the middle")
    for _ in range(3000):
        error = ExceptionGroup("around", [error])
    assert headline(error).startswith("ExceptionGroup: around")
    assert "around" in traceback_text(error)


def test_an_error_that_follows_from_thousands_is_reported() -> None:
    error: BaseException = ValueError("the first")
    for number in range(3000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    assert "ValueError: 2999" in traceback_text(error)


# -- cancellations that nobody asked embedq for ------------------------------------------------------------------------


async def await_what_others_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_later(0.01, task.cancel)
    await task


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


async def wait_in_a_group() -> None:
    raise BaseExceptionGroup("of what was cancelled", [asyncio.CancelledError(), SystemExit(1)])


def run_a_loop_of_its_own() -> None:
    asyncio.run(await_what_others_cancelled())


@pytest.mark.parametrize("executor", [None, "process"])
@pytest.mark.parametrize(
    "function", [await_what_others_cancelled, cancel_itself, wait_in_a_group, run_a_loop_of_its_own]
)
def test_a_cancellation_by_others_is_a_failure_that_is_retried(
    app: embedq.EmbedQ, function: Callable[[], object], executor: Executor | None
) -> None:
    given: dict[str, Any] = {} if executor is None else {"executor": executor}
    handle = app.options(**given, retry=Retry(attempts=2)).enqueue(function)
    final = app.options(**given, retry=NO_RETRY).enqueue(function)
    assert final.wait(30) is JobState.DEAD
    [attempt] = final.attempts()
    assert attempt.ending is embedq.Ending.FAILED
    eventually(lambda: handle.state is JobState.RETRYING, seconds=30)

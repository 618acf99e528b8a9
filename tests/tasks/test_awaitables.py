"""Functions that return what is yet to be run: a coroutine is run, a generator is refused."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

import embedq
from embedq import NO_RETRY, Ending, JobState, UnstorableFunctionError
from embedq.testing import AppUnderTest
from tests.support import eventually


async def send(n: int) -> int:
    await asyncio.sleep(0)
    return n + embedq.current_job().attempt


def logged(function: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., Awaitable[int]]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Awaitable[int]:
        return function(*args)

    return wrapper


@logged
async def wrapped(n: int) -> int:
    return await send(n)


class Sender:
    async def __call__(self, n: int) -> int:
        return await send(n)


class Later:
    """An awaitable of its own kind."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __await__(self) -> Generator[Any, Any, int]:
        return send(self.n).__await__()


async def twice(n: int) -> Coroutine[Any, Any, int]:
    return send(n)


@types.coroutine
def old_style(n: int) -> Generator[Any, Any, int]:
    return (yield from send(n).__await__())


CALLS: dict[str, Callable[..., Any]] = {
    "lambda": lambda n: send(n), "wrapper": wrapped, "partial": functools.partial(send), "partial of a wrapper":
    functools.partial(wrapped), "object": Sender(), "awaitable": lambda n: Later(n), "future": lambda n: twice(n),
    "coroutine of a coroutine": twice, "types.coroutine": old_style,
}  # fmt: skip


@pytest.mark.parametrize("executor", [None, "process"])
def test_what_can_be_awaited_is_run(app: embedq.EmbedQ, executor: Any) -> None:
    app.start()
    options = app.options(retry=NO_RETRY) if executor is None else app.options(executor=executor, retry=NO_RETRY)
    handles = {name: options.enqueue(call, 1) for name, call in CALLS.items()}
    assert {name: handle.result(60) for name, handle in handles.items()} == dict.fromkeys(CALLS, 2)


def test_in_the_testing_kit_what_can_be_awaited_is_run(embedq_app: AppUnderTest) -> None:
    handles = [embedq.enqueue(call, 1) for call in CALLS.values()]
    embedq_app.drain()
    assert [handle.result(0) for handle in handles] == [2] * len(CALLS)

    async def drain() -> int:
        handle = await embedq.aenqueue(CALLS["lambda"], 1)
        embedq_app.drain()
        result: int = await handle.aresult(0)
        return result

    assert asyncio.run(drain()) == 2


def test_a_returned_coroutine_that_waits_is_interrupted(app: embedq.EmbedQ) -> None:
    app.start()
    begun: list[str] = []
    cleaned: list[str] = []

    async def wait() -> None:
        try:
            begun.append("up")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    wait_later = app.job(name="wait later", retry=NO_RETRY)(lambda: wait())
    handle = wait_later.options(timeout=1).enqueue()
    assert handle.wait(10) is JobState.DEAD
    assert [attempt.ending for attempt in handle.attempts()] == [Ending.TIMED_OUT]
    handle = wait_later.enqueue()
    eventually(lambda: len(begun) == 2)
    assert app.stop(timeout=0)
    app.connect()
    assert handle.state is JobState.READY
    assert cleaned == ["up", "up"]


def numbers(n: int = 3) -> Iterator[int]:
    yield from range(n)


async def numbers_later(n: int = 3) -> AsyncIterator[int]:
    for number in range(n):
        yield number


class Numbers:
    def __call__(self) -> Iterator[int]:
        yield 1


GENERATORS = [numbers, numbers_later, functools.partial(numbers, 2), functools.partial(numbers_later, 2), Numbers()]


@pytest.mark.parametrize("function", GENERATORS)
def test_a_generator_function_is_refused_at_enqueue(app: embedq.EmbedQ, function: Any) -> None:
    verbs: list[Callable[..., object]] = [app.enqueue, app.call, functools.partial(app.enqueue_in, 5)]
    for enqueue in verbs:
        with pytest.raises(UnstorableFunctionError, match="iterates over it"):
            enqueue(function)
    with pytest.raises(UnstorableFunctionError, match="generator function"):
        app.job(name="numbers")(function).enqueue()
    with pytest.raises(UnstorableFunctionError, match="generator function"):
        app.recurring("numbers", embedq.every(hours=1), function)
    assert not any(app.stats().counts.values())


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda: numbers(), "generator"),
        (lambda: numbers_later(), "async generator"),
        (lambda: (n for n in range(3)), "generator"),
        (lambda: map(print, ["never"]), "map"),
    ],
)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_returned_generator_is_a_failure(app: embedq.EmbedQ, function: Any, kind: str, executor: Any) -> None:
    app.start()
    handle = app.options(retry=NO_RETRY, executor=executor).enqueue(function)
    assert handle.wait(30) is JobState.DEAD
    [attempt] = handle.attempts()
    assert attempt.error is not None
    assert attempt.error.startswith(f"TypeError: the function returned a {kind}, of which nothing has run yet")

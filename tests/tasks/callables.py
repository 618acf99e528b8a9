"""Callables of every kind, to be named, stored, sent and checked."""

import functools
from collections.abc import Callable
from typing import Any, Self

HERE = __name__
ANSWER = 42


def plain(user_id: Any, template: Any = "x", *, urgent: Any = False) -> Any:
    return (user_id, template, urgent)


async def coroutine(user_id: Any) -> Any:
    return user_id


def louder(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    vars(wrapper)["original"] = function
    return wrapper


def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    vars(wrapper)["original"] = function
    return wrapper


@louder
def wrapped() -> None:
    pass


@hiding
def hidden() -> None:
    pass


class Mailer:
    def send(self) -> str:
        return "sent"

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def make(cls) -> type[Self]:
        return cls

    class Inner:
        @classmethod
        def deep(cls) -> str:
            return "deep"


class LoudMailer(Mailer):
    pass


class AsyncCallable:
    async def __call__(self) -> None:
        pass


class SyncCallable:
    def __call__(self) -> str:
        return "called"


module_lambda = lambda: ANSWER  # noqa: E731
partial_of_plain = functools.partial(plain, 7)


def nested() -> Callable[[], str]:
    def inner() -> str:
        return "inner"

    return inner

"""Callables of every kind, to be named, stored, sent and checked."""

import functools

HERE = __name__
ANSWER = 42


def plain(user_id, template="x", *, urgent=False):
    return (user_id, template, urgent)


async def coroutine(user_id):
    return user_id


def louder(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    wrapper.original = function
    return wrapper


def hiding(function):
    def wrapper(*args):
        return function(*args)

    wrapper.original = function
    return wrapper


@louder
def wrapped():
    pass


@hiding
def hidden():
    pass


class Mailer:
    def send(self):
        return "sent"

    @staticmethod
    def static():
        return "static"

    @classmethod
    def make(cls):
        return cls

    class Inner:
        @classmethod
        def deep(cls):
            return "deep"


class LoudMailer(Mailer):
    pass


class AsyncCallable:
    async def __call__(self):
        pass


class SyncCallable:
    def __call__(self):
        return "called"


module_lambda = lambda: ANSWER  # noqa: E731
partial_of_plain = functools.partial(plain, 7)


def nested():
    def inner():
        return "inner"

    return inner

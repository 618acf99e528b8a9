"""Checks that arguments fit a function before a job is written: a call that can only fail is refused at enqueue.

How arguments are stored is described in embedq/serializers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from embedq.errors import EmbedqError, SignatureError, UnstorableFunctionError
from embedq.tasks.functions import AnyCallable, display_name, is_generator

ArgumentCheck = Callable[[tuple[Any, ...], dict[str, Any]], None]

_checks: WeakKeyDictionary[Any, ArgumentCheck] = WeakKeyDictionary()


def argument_check(function: AnyCallable) -> ArgumentCheck:
    """Return a check `(args, kwargs) -> None` that the arguments fit; always the same one for the same function.

    A function whose signature cannot be read accepts any arguments.

    The check raises:
        UnstorableFunctionError: a call of this function runs nothing of its body.
        SignatureError: the arguments do not fit; the message has the function, its signature and the mistake.
    """
    try:
        known = _checks.get(function)
    except TypeError:  # not hashable, or takes no weak reference
        return _make_check(function)
    if known is None:
        known = _checks[function] = _make_check(function)
    return known


@contextmanager
def own_keywords(verb: str, function: Any, *keywords: str) -> Iterator[None]:
    """Explain, in errors of a verb with keywords of its own, that the function has a parameter of the same name."""
    try:
        yield
    except (EmbedqError, TypeError) as error:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            raise error from None
        shared = [name for name in keywords if name in parameters]
        if not shared or len(error.args) != 1:
            raise
        listed = ", ".join(f"{name}=" for name in shared)
        error.args = (
            f"{error}. {verb}() takes {listed} for itself; to pass {display_name(function)} an argument of that name, "
            f"use a call: embedq.call(function, {shared[0]}=…)",
        )
        raise


def _make_check(function: AnyCallable) -> ArgumentCheck:
    if is_generator(function):
        return _refuses(display_name(function))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return _takes_anything
    name = display_name(function)
    fewest, most = _positional_range(signature)
    # Whether a call fits depends on the number and names of the arguments, never on their values.
    fitting: set[tuple[Any, ...]] = set()

    # The closure must not refer to the function, which is the weak key of this check.
    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not kwargs and fewest <= len(args) <= most:
            return
        shape = (len(args), *kwargs)
        if shape in fitting:
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise SignatureError(f"the arguments do not fit {name}{signature}: {error}; nothing was enqueued") from None
        # Bounded, because **kwargs allows any number of shapes.
        if len(fitting) < 64:
            fitting.add(shape)

    return check


def _refuses(name: str) -> ArgumentCheck:
    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise UnstorableFunctionError(
            f"{name} is a generator function: a call returns a generator, and runs nothing of its body. Enqueue a "
            f"function that iterates over it, or let it return what it yields; nothing was enqueued"
        )

    return check


def _takes_anything(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    pass


def _positional_range(signature: inspect.Signature) -> tuple[int, float]:
    """Return the fewest and the most arguments that fit when all are positional; none fit if a keyword is required."""
    fewest, most = 0, 0.0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                return 1, 0
        elif parameter.kind is not parameter.VAR_KEYWORD:
            most += 1
            fewest += required
    return fewest, most

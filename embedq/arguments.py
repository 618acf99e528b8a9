"""Whether arguments fit a function, asked before a job is written: a call that can only fail is refused at enqueue.

How they are stored is told in embedq/serializers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from embedq.errors import SignatureError
from embedq.functions import AnyCallable, display_name

ArgumentCheck = Callable[[tuple[Any, ...], dict[str, Any]], None]

_checks: WeakKeyDictionary[Any, ArgumentCheck] = WeakKeyDictionary()


def argument_check(function: AnyCallable) -> ArgumentCheck:
    """A check `(args, kwargs) -> None` of whether the arguments fit; the same one for the same function.

    A function whose signature cannot be known takes anything.

    The check raises:
        SignatureError: they do not fit; the message has the function, its signature and the mistake.
    """
    try:
        known = _checks.get(function)
    except TypeError:  # not hashable, or takes no weak reference
        return _make_check(function)
    if known is None:
        known = _checks[function] = _make_check(function)
    return known


def _make_check(function: AnyCallable) -> ArgumentCheck:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return _takes_anything
    name = display_name(function)
    fewest, most = _positional_range(signature)
    # Whether a call fits is a matter of how many arguments there are and of their names, never of their values.
    fitting: set[tuple[Any, ...]] = set()

    # The function itself must not be held here: it is the weak key that this check is kept under.
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
        # Bounded, because **kwargs has shapes without end.
        if len(fitting) < 64:
            fitting.add(shape)

    return check


def _takes_anything(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    pass


def _positional_range(signature: inspect.Signature) -> tuple[int, float]:
    """The fewest and the most arguments that fit when all are positional; none do where a keyword is required."""
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

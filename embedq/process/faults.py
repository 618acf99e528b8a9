"""Inspects an error without running any code of its class.

A job may raise an error whose `__class__` is wrong, or whose `__class__`, `__cause__` or `__str__` raises. The type of
an object, and the fields that the interpreter keeps, can be read without them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType

from embedq.errors import JobInterrupt

Kinds = type[BaseException] | tuple[type[BaseException], ...]

# The most errors that are inspected, of those that an error contains or was raised from.
MOST_INSPECTED = 1000

_CAUSE = BaseException.__dict__["__cause__"]
_CONTEXT = BaseException.__dict__["__context__"]
_TRACEBACK = BaseException.__dict__["__traceback__"]
_EXCEPTIONS = BaseExceptionGroup.__dict__["exceptions"]


def is_a(error: BaseException, kinds: Kinds) -> bool:
    """Whether `except kinds:` would catch the error. `isinstance` would read its `__class__`."""
    return issubclass(type(error), kinds)


def name_of(error: BaseException) -> str:
    """Return the name of its type."""
    return str(type.__dict__["__qualname__"].__get__(type(error)))


def frames_of(error: BaseException) -> TracebackType | None:
    """Return its traceback."""
    frames: TracebackType | None = _TRACEBACK.__get__(error)
    return frames


def origins(error: BaseException) -> Iterator[BaseException]:
    """Yield the error that it was raised from, and the one during whose handling it was raised."""
    for field in (_CAUSE, _CONTEXT):
        origin = field.__get__(error)
        if origin is not None:
            yield origin


def members(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors in a group; for any other error, none."""
    return tuple(_EXCEPTIONS.__get__(error)) if is_a(error, BaseExceptionGroup) else ()


def cancelled_error() -> tuple[type[BaseException], ...]:
    """Return asyncio's CancelledError; nothing where asyncio is not imported, since none can have been raised."""
    kind = getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", None)
    return () if kind is None else (kind,)


def interrupts() -> tuple[type[BaseException], ...]:
    """Return the errors by which an interrupt reaches a job: JobInterrupt, and a cancellation in an `async def`."""
    kinds: tuple[type[BaseException], ...] = (JobInterrupt, *cancelled_error())
    return kinds


def interrupt_in(error: BaseException, *, sent: bool) -> type[BaseException] | None:
    """Return the type of the interrupt that ended the job which raised this error; None if none did.

    It may be in groups, at any depth, as the task groups of asyncio, anyio and trio raise them.

    Args:
        sent: the job was interrupted. Then a cancellation counts too, since an interrupt reaches an `async def` so; and
            so does every error that was raised from an interrupt or while one was handled.
    """
    kinds = interrupts() if sent else JobInterrupt
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < MOST_INSPECTED:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if is_a(one, kinds):
            return type(one)
        waiting.extend(members(one))
        if sent:
            waiting.extend(origins(one))
    return None


def is_ordinary(error: BaseException) -> bool:
    """Whether it is an ordinary failure: an `Exception`, a cancellation not sent by embedq, or a group with one."""
    if is_a(error, (Exception, *cancelled_error())):
        return True
    seen = {id(error)}
    waiting = [*members(error)]
    while waiting and len(seen) < MOST_INSPECTED:
        one = waiting.pop()
        if is_a(one, (Exception, *cancelled_error())):
            return True
        if id(one) not in seen:
            seen.add(id(one))
            waiting.extend(members(one))
    return False

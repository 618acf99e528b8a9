"""Turns an error into text to store: its headline and its traceback. No function here raises, whatever the error is."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType

from embedq.process import faults
from embedq.storage.rows import storable

MAX_TRACEBACK = 20_000
MAX_HEADLINE = 2_000
# The most errors of a chain that are written where Python itself cannot format it.
MOST_ORIGINS = 20
# The modules that call jobs' functions.
_CALLERS = ("embedq.worker.execution", "embedq.worker.async_execution")


ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class ErrorElsewhere(Exception):
    """An error of which only the text is known. Log records contain subclasses with the name of the original."""


class Traceback(Exception):
    """The traceback of an `ErrorElsewhere`, as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def headline(error: BaseException) -> str:
    """Return type and message, also of an error whose `__str__` fails; at most 2,000 characters."""
    name = faults.name_of(error)
    try:
        # Of a subclass of str, the text that it holds.
        text = str.__str__(str(error))
    except BaseException as fault:
        text = f"(its message cannot be read: its __str__ raised {faults.name_of(fault)})"
    return f"{name}: {text[:MAX_HEADLINE]}"[:MAX_HEADLINE] if text else name


def exc_info(error: BaseException) -> ExcInfo | None:
    """Return the error for a log record, with its frames from the job's own function on.

    None if it cannot be formatted, or only as text that a log file in UTF-8 cannot hold (half of a surrogate pair).
    """
    frames = _frames(error)
    try:
        "".join(tracebacks.format_exception(type(error), error, frames)).encode()
    except BaseException:
        return None
    return type(error), error, frames


def stand_in(error: str | None, traceback: str | None) -> ExcInfo:
    """Return an error for a log record from its headline and traceback: a type of its name, with its message."""
    name, _, message = (error or "").partition(": ")
    kind = _kind(name if name.replace(".", "").isidentifier() else ErrorElsewhere.__name__)
    found = kind(message or error or "")
    found.__cause__ = None if traceback is None else Traceback(traceback)
    return kind, found, None


@lru_cache(maxsize=200)
def _kind(name: str) -> type[ErrorElsewhere]:
    return type(name.rpartition(".")[2], (ErrorElsewhere,), {"__qualname__": name, "__module__": "builtins"})


def clear_frames(error: BaseException) -> None:
    """Free the local variables of the functions through which an error passed.

    An error that is kept in a variable is in a reference cycle with its own frames, which would keep all their other
    variables until the garbage is collected.
    """
    chain = [error]
    for one in chain:
        tracebacks.clear_frames(faults.frames_of(one))
        others = [*faults.origins(one), *faults.members(one)]
        chain += [other for other in others if all(other is not known for known in chain)][: MOST_ORIGINS - len(chain)]


def _frames(error: BaseException) -> TracebackType | None:
    """Return the frames from the job's own function on: embedq's frames above it do not help the reader."""
    frames = faults.frames_of(error)
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _CALLERS:
        frames = frames.tb_next
    return frames or faults.frames_of(error)


def traceback_text(error: BaseException) -> str:
    """Return the traceback from the job's own function on, at most some 20,000 characters."""
    frames = _frames(error)
    try:
        parts = tracebacks.format_exception(type(error), error, frames)
    except BaseException as fault:
        parts = [*_plainly(error, frames), f"(the rest cannot be formatted: that raised {faults.name_of(fault)})\n"]
    text = storable("".join(part[:MAX_TRACEBACK] for part in parts))
    if len(text) <= MAX_TRACEBACK:
        return text
    half = MAX_TRACEBACK // 2
    return f"{text[:half]}\n… {len(text) - MAX_TRACEBACK:,} characters left out …\n{text[-half:]}"


def _plainly(error: BaseException, frames: TracebackType | None) -> Iterator[str]:
    """Yield frames and headlines of an error that Python cannot format; its causes come first."""
    chain = [error]
    while len(chain) <= MOST_ORIGINS:
        origin = next(faults.origins(chain[-1]), None)
        if origin is None or any(origin is one for one in chain):
            break
        chain.append(origin)
    for number, one in enumerate(reversed(chain)):
        if number:
            yield "\nThen, because of that or while it was handled:\n\n"
        yield "Traceback (most recent call last):\n"
        try:
            yield from tracebacks.format_tb(frames if one is error else faults.frames_of(one))
        except BaseException as fault:
            yield f"  (its frames cannot be formatted: {faults.name_of(fault)})\n"
        yield f"{headline(one)}\n"
        for member in faults.members(one)[:MOST_ORIGINS]:
            yield f"  | {headline(member)}\n"

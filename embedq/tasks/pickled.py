"""Functions by value: a lambda or nested function as a cloudpickle in text form, with its source for people to read.

`pack` makes a `PackedFunction` and `unpack` makes the function again; between them it is text in the job's row.
Unpickling runs code, so a row is signed when it is written and verified before it is unpacked
(embedq/tasks/signing.py).
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from embedq.errors import (
    PayloadTooLargeError,
    PythonVersionError,
    UnknownTaskError,
    UnstorableFunctionError,
    UntrustedCodeError,
)
from embedq.tasks.functions import AnyCallable, display_name, unwrap_partial
from embedq.tasks.moved import unpickle

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

_LONGEST_SOURCE = 2000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFunction:
    """The column `code` of a job that is not run by a registered name alone.

    A function stored by an unregistered name has a signature only. One stored by value has everything.

    Attributes:
        name: for people, such as `shop.views:<lambda>`.
        pickle: the function, as cloudpickle in base64.
        python: the version that can unpickle it, such as "3.11".
        source: its source text, for people; None if it cannot be found.
        sig: the row's signature; `key` is the id of the key that made it.
    """

    name: str | None = None
    pickle: str | None = None
    python: str | None = None
    source: str | None = None
    sig: str | None = None
    key: str | None = None

    def to_text(self) -> str:
        """Return the fields that are not None as a JSON object."""
        present = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        return _encode(present)

    def signed_parts(self, name: str, payload: str) -> tuple[str, ...]:
        """Return what the row's signature covers: everything that decides what is run."""
        return name, payload, self.pickle or "", self.python or ""

    @classmethod
    def from_text(cls, text: str) -> PackedFunction:
        """Read what `to_text` wrote. Nothing is unpickled.

        Raises:
            UntrustedCodeError: it is not what `to_text` writes.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise UntrustedCodeError(
                "the stored code cannot be read, so the row was altered; enqueue the job again", needs="unaltered code"
            )
        return cls(**{name: values.get(name) for name in cls.__slots__})


def pack(function: AnyCallable, *, limit: int) -> PackedFunction:
    """Return the function by value, unsigned. References to importable modules are stored by name.

    Args:
        limit: the most characters that the pickle may have as text.
    Raises:
        UnstorableFunctionError: it is a method of an instance, or refers to what has no stored form; the message
            names the variable.
        PayloadTooLargeError: the pickle is larger than `limit`.
    """
    import cloudpickle

    name = display_name(function)
    _refuse_hopeless(function, name)
    try:
        data = cloudpickle.dumps(function)
    except Exception as error:
        culprit = _culprit(function, cloudpickle.dumps, seen=set())
        raise UnstorableFunctionError(
            f"{name} cannot be stored: {culprit or f'{type(error).__qualname__}: {error}'}; "
            "pass an id as an argument and load or open the rest inside the function"
        ) from error
    text = b2a_base64(data, newline=False).decode("ascii")
    if len(text) > limit:
        raise PayloadTooLargeError(
            f"{name} is {len(text):,} bytes when stored, over the limit of {limit:,}; "
            "it holds large values in its closure, globals or defaults: pass an id as an argument and load them inside"
        )
    return PackedFunction(name=name, pickle=text, python=PYTHON, source=source_of(function))


def unpack(packed: PackedFunction) -> AnyCallable:
    """Return the function that `pack` stored. Unpickling runs code: verify the row's signature first.

    Raises:
        PythonVersionError: another version of Python stored it.
        UnknownTaskError: something that it refers to does not exist here (the cause is chained).
    """
    if packed.python != PYTHON:
        raise PythonVersionError(
            f"{packed.name} was stored by Python {packed.python} and this is {PYTHON}; run a worker on "
            f"{packed.python}, or give the function a name that it can be stored by (a def at a module's top level)",
            needs=f"python {packed.python}",
        )
    try:
        function = unpickle(a2b_base64(packed.pickle or ""))
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else None
        raise UnknownTaskError(
            f"{packed.name} cannot be unpickled here: {type(error).__qualname__}: {error}; "
            "run the worker where the application runs, with what it needs installed",
            needs=f"module {missing}" if missing else f"what {packed.name} refers to",
        ) from error
    if not callable(function):
        raise UnknownTaskError(f"{packed.name} was stored, but is not callable", needs=f"task {packed.name}")
    return function  # type: ignore[no-any-return]


def _refuse_hopeless(function: Any, name: str) -> None:
    function = unwrap_partial(function)
    if not callable(function):
        raise UnstorableFunctionError(
            f"a {type(function).__qualname__} is not callable; pass the function and its arguments separately: "
            "enqueue(send, 1), not enqueue(send(1))"
        )
    if not isinstance(function, MethodType | BuiltinMethodType):
        return
    owner = function.__self__
    if owner is not None and not isinstance(owner, type | ModuleType):
        raise UnstorableFunctionError(
            f"{name} is a method of an instance, which would be stored as it is now; "
            f"pass the id of the {type(owner).__qualname__} to a function, and load it there"
        )


# --- why it cannot be stored ------------------------------------------------------------------------------------------


def _culprit(function: Any, dumps: Callable[[Any], bytes], seen: set[int]) -> str | None:
    """Return which value that a function refers to has no stored form; None if each has one."""
    seen.add(id(function))
    for label, value in _taken_along(function):
        try:
            dumps(value)
        except Exception:
            follow = isinstance(value, FunctionType | functools.partial) and id(value) not in seen
            inner = _culprit(value, dumps, seen) if follow else None
            if inner is not None:
                return f"in {label}, {inner}"
            return f"{label} is a {type(value).__qualname__}, which has no stored form"
    return None


def _taken_along(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values that are stored with a function, each with its name for messages."""
    if isinstance(function, functools.partial):
        for index, value in enumerate(function.args):
            yield f"argument {index} of the partial", value
        for name, value in function.keywords.items():
            yield f"argument {name!r} of the partial", value
        yield "its function", function.func
    elif isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not assigned yet
                yield f"the variable {name!r}", cell.cell_contents
        for name in _global_names(function.__code__):
            if name in function.__globals__:
                yield f"the global {name!r}", function.__globals__[name]
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            yield "a default value", value


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


# --- its source -------------------------------------------------------------------------------------------------------


def source_of(function: Any) -> str | None:
    """Return the source text of a function, or the statement around a lambda; at most about 2,000 characters.

    None if the source is not available, or differs from what was imported.
    """
    code = getattr(unwrap_partial(function), "__code__", None)
    return _source(code, code.co_filename) if isinstance(code, CodeType) else None


# The file is part of the cache key: code on the same line of two files can be equal.
@functools.lru_cache(maxsize=512)
def _source(code: CodeType, file: str) -> str | None:
    import textwrap

    word = "lambda" if code.co_name == "<lambda>" else code.co_name
    try:
        text = _statement_at(code) if word == "lambda" else inspect.getsource(code)
    except Exception:
        # A file can differ from what was imported in many ways, and none may stop an enqueue.
        return None
    if text is None or word not in text:
        return None
    text = textwrap.dedent(text).rstrip()
    return text if len(text) <= _LONGEST_SOURCE else text[:_LONGEST_SOURCE] + "\n..."


def _statement_at(code: CodeType) -> str | None:
    """Return the innermost statement around a lambda. `inspect` only finds its first line."""
    import ast

    lines, _ = inspect.findsource(code)
    line = code.co_firstlineno
    around = [
        node
        for node in ast.walk(ast.parse("".join(lines)))
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    if not around:
        return None
    innermost = max(around, key=lambda node: (node.lineno, -(node.end_lineno or 0), node.col_offset))
    return "".join(lines[innermost.lineno - 1 : innermost.end_lineno])

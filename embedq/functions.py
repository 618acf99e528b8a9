"""How a callable is stored: by name where a name leads back to it, else by value.

By name is `module:qualname`. `name_of` finds it, `resolve` imports it, and `find_imported` looks it up without running
any code. By value is a cloudpickle in text form: `pack` and `unpack`. `check_signature` refuses arguments that do not
fit before a job is written.

The surprise: functions of the running script are stored under the script's own name and never under `__main__`, so
that `python shop.py` and `embedq worker --app shop:app` agree on `shop:send`. In the script's process that name leads
to `__main__`, and never to a second import of the same file.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import sys
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from embedq.errors import (
    PayloadTooLargeError,
    PythonVersionError,
    SignatureError,
    UnknownTaskError,
    UnstorableFunctionError,
    UntrustedCodeError,
)

AnyCallable = Callable[..., Any]
Binder = Callable[[tuple[Any, ...], dict[str, Any]], None]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# What `__main__` is called in a process that multiprocessing spawned.
_MAIN = ("__main__", "__mp_main__")
_LONGEST_SOURCE = 2000
_MISSING: Any = object()
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# --- by name ----------------------------------------------------------------------------------------------------------


def main_name() -> str:
    """What the running script is called elsewhere: `shop` for `python shop.py`, `python -m shop` and a package's
    `__main__`. `__main__` itself where there is no file, as in the interpreter's prompt.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    # Python calls what is piped into it "<stdin>".
    return os.path.splitext(os.path.basename(file))[0] if file and not file.startswith("<") else "__main__"


def module_name(obj: Any) -> str:
    """The module that `obj` was defined in, as another process knows it."""
    name = getattr(obj, "__module__", None) or type(obj).__module__
    return main_name() if name in _MAIN else str(name)


def name_of(function: Any) -> str | None:
    """`module:qualname` of a function or class, or None where that path does not lead back to this very object.

    Lambdas, nested functions, bound methods of instances and functions hidden behind a decorator have none.
    """
    qualname = getattr(function, "__qualname__", None)
    home = getattr(function, "__module__", None)
    if not isinstance(qualname, str) or not isinstance(home, str) or "<" in qualname:
        return None
    module = main_name() if home in _MAIN else home
    for candidate in _imported_modules(module):
        found = _walk(candidate, qualname)
        # Each access of a class method makes a new, equal object.
        if found is function or (isinstance(found, MethodType) and found == function):
            return f"{module}:{qualname}"
        if home == module and _is_twin(found, function):
            return f"{module}:{qualname}"
    return None


def resolve(name: str) -> AnyCallable:
    """The callable that `module:qualname` names; imports the module. Only for names that are registered or signed.

    Raises:
        UnknownTaskError: there is no such module, importing it failed (the cause is chained), or it holds no such
            callable.
    """
    module, _, qualname = name.partition(":")
    if not module or not qualname:
        raise _unknown(name, "it is not of the form module:qualname")
    found = _MISSING
    if module == main_name():
        found = _walk(sys.modules["__main__"], qualname)
        if found is _MISSING and _is_script(module):
            raise _unknown(name, f"the running script has no {qualname!r}; define it before the workers start")
    if found is _MISSING:
        found = _walk(_import(module, name), qualname)
    if found is _MISSING:
        raise _unknown(
            name,
            f"module {module!r} has no {qualname!r}; deploy the version that has it, or, if it was renamed, "
            "name the old name in @embedq.job(aliases=[...])",
        )
    if not callable(found):
        raise _unknown(name, f"that is a {type(found).__qualname__} and cannot be called")
    return found  # type: ignore[no-any-return]


def find_imported(name: str) -> Any:
    """What `module:qualname` names among the modules that are imported already; None if nothing.

    It runs no code of anybody: nothing is imported, and neither a module's `__getattr__` nor a descriptor is asked. So
    a name may come from a row that was not signed.
    """
    module, _, qualname = name.partition(":")
    for candidate in _imported_modules(module):
        found: Any = candidate
        for part in qualname.split("."):
            getter = type.__getattribute__ if isinstance(found, type) else object.__getattribute__
            try:
                found = getter(found, "__dict__")[part]
            except (AttributeError, KeyError, TypeError):
                break
        else:
            return found
    return None


def _imported_modules(module: str) -> Iterator[ModuleType]:
    """The modules that may be meant by a name: the script first, and never its second import."""
    other = sys.modules.get(module)
    if module == main_name():
        yield sys.modules["__main__"]
        if _is_second_import(other):
            return
    if other is not None:
        yield other


def _is_twin(found: Any, function: Any) -> bool:
    """Whether `function` is what a second import of the script made of the script's own `found`."""
    copy = sys.modules.get(function.__module__)
    return (
        getattr(found, "__qualname__", None) == function.__qualname__
        and _is_second_import(copy)
        and _walk(copy, function.__qualname__) is function
    )


def _is_second_import(module: ModuleType | None) -> bool:
    return module is not sys.modules["__main__"] and _same_file(getattr(module, "__file__", None))


def _is_script(module: str) -> bool:
    """Whether importing `module` would run the script a second time."""
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        # ValueError: a module that was put together by hand and has no spec.
        return _is_second_import(sys.modules.get(module))
    return spec is None or _same_file(spec.origin)


def _same_file(file: str | None) -> bool:
    main_file = getattr(sys.modules["__main__"], "__file__", None)
    return bool(file and main_file) and os.path.realpath(str(file)) == os.path.realpath(str(main_file))


def _walk(found: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        found = getattr(found, part, _MISSING)
    return found


def _import(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # SystemExit: a script without an `if __name__ == "__main__"`.
        raise _unknown(
            name,
            f"importing {module!r} failed with {type(error).__qualname__}: {error}; "
            "run the worker where the application runs, with what it needs installed",
        ) from error


def _unknown(name: str, reason: str) -> UnknownTaskError:
    return UnknownTaskError(f"no task named {name!r} here: {reason}", needs=f"task {name}")


# --- by value ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFunction:
    """The column `code` of a job that is not run by a registered name alone.

    A function stored by an unregistered name has a signature only. One stored by value has everything.

    Attributes:
        name: for people, such as `shop.views:<lambda>`.
        pickle: the function, as cloudpickle in base64.
        python: the version that can unpickle it, such as "3.11".
        source: its source text, for people; None where there is none to be found.
        sig: the row's signature; `key` is the id of the key that made it.
    """

    name: str | None = None
    pickle: str | None = None
    python: str | None = None
    source: str | None = None
    sig: str | None = None
    key: str | None = None

    def to_text(self) -> str:
        """A JSON object of what is not None."""
        present = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        return _encode(present)

    def signed_parts(self, name: str, payload: str) -> tuple[str, ...]:
        """What the row's signature covers: everything that decides what is run."""
        return name, payload, self.pickle or "", self.python or ""

    @classmethod
    def from_text(cls, text: str) -> PackedFunction:
        """What `to_text` wrote. Nothing is unpickled.

        Raises:
            UntrustedCodeError: it is not what `to_text` writes.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise UntrustedCodeError(
                "the stored code is not readable, so the row was altered; enqueue the job again", needs="unaltered code"
            )
        return cls(**{name: values.get(name) for name in cls.__slots__})


def display_name(function: Any) -> str:
    """`module:qualname` for people: `shop.views:<lambda>`. It may lead nowhere."""
    if isinstance(function, functools.partial):
        return f"partial({display_name(function.func)})"
    qualname = getattr(function, "__qualname__", None) or f"{type(function).__qualname__}()"
    return f"{module_name(function)}:{qualname}"


def pack(function: AnyCallable, *, limit: int) -> PackedFunction:
    """The function by value, unsigned. What it refers to in importable modules is stored by reference.

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
    """The function that `pack` stored. Unpickling runs code: verify the row's signature first.

    Raises:
        PythonVersionError: another version of Python stored it.
        UnknownTaskError: what it refers to is not here (the cause is chained).
    """
    if packed.python != PYTHON:
        raise PythonVersionError(
            f"{packed.name} was stored by Python {packed.python} and this is {PYTHON}; run a worker on "
            f"{packed.python}, or give the function a name that it can be stored by (a def at a module's top level)",
            needs=f"python {packed.python}",
        )
    import pickle

    try:
        function = pickle.loads(a2b_base64(packed.pickle or ""))
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else None
        raise UnknownTaskError(
            f"{packed.name} cannot be unpickled here: {type(error).__qualname__}: {error}; "
            "run the worker where the application runs, with what it needs installed",
            needs=f"module {missing}" if missing else f"what {packed.name} refers to",
        ) from error
    if not callable(function):
        raise UnknownTaskError(f"{packed.name} was stored, and is not callable", needs=f"task {packed.name}")
    return function  # type: ignore[no-any-return]


def _refuse_hopeless(function: Any, name: str) -> None:
    function = _unwrapped_partial(function)
    if not callable(function):
        raise UnstorableFunctionError(
            f"a {type(function).__qualname__} is not callable; pass the function and its arguments apart: "
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


def _unwrapped_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _culprit(function: Any, dumps: Callable[[Any], bytes], seen: set[int]) -> str | None:
    """Which variable keeps a function from being pickled."""
    seen.add(id(function))
    for label, value in _references(function):
        try:
            dumps(value)
        except Exception:
            inner = None
            if isinstance(value, FunctionType) and id(value) not in seen:
                inner = _culprit(value, dumps, seen)
            if inner:
                return f"in {label}, {inner}"
            return f"{label} is a {type(value).__qualname__}, which has no stored form"
    return None


def _references(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, functools.partial):
        for index, value in enumerate(function.args):
            yield f"argument {index} of the partial", value
        for name, value in function.keywords.items():
            yield f"argument {name!r} of the partial", value
        yield "its function", function.func
    function = inspect.unwrap(_unwrapped_partial(function))
    if not isinstance(function, FunctionType):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with_value = _cell_contents(cell)
        if with_value is not _MISSING:
            yield f"the variable {name!r}", with_value
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f"the global {name!r}", function.__globals__[name]
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "a default value", value


def _cell_contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _MISSING


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


# --- for people -------------------------------------------------------------------------------------------------------


def source_of(function: Any) -> str | None:
    """The source text of a function, or the statement that a lambda is written in; at most some 2,000 characters.

    None where the source is not at hand, or is no longer what was imported.
    """
    code = getattr(_unwrapped_partial(function), "__code__", None)
    return _source(code) if isinstance(code, CodeType) else None


@functools.lru_cache(maxsize=512)
def _source(code: CodeType) -> str | None:
    import textwrap

    word = "lambda" if code.co_name == "<lambda>" else code.co_name
    try:
        text = _statement_at(code) if word == "lambda" else inspect.getsource(code)
    except (OSError, TypeError, ValueError, SyntaxError, IndexError):
        return None
    # The file may have changed since it was imported.
    if text is None or word not in text:
        return None
    text = textwrap.dedent(text).rstrip()
    return text if len(text) <= _LONGEST_SOURCE else text[:_LONGEST_SOURCE] + "\n..."


def _statement_at(code: CodeType) -> str | None:
    """The innermost statement around a lambda. `inspect` knows only its first line."""
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


# --- calling ----------------------------------------------------------------------------------------------------------


def is_async(function: Any) -> bool:
    """Whether a call makes a coroutine: `async def`, a partial of one, or an object whose `__call__` is one."""
    function = _unwrapped_partial(function)
    if inspect.iscoroutinefunction(function):
        return True
    if isinstance(function, type | FunctionType | MethodType | BuiltinMethodType):
        return False
    return inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - asks what a call makes


_binders: WeakKeyDictionary[Any, Binder] = WeakKeyDictionary()


def check_signature(function: AnyCallable) -> Binder:
    """A check `(args, kwargs) -> None` of whether the arguments fit; the same one for the same function.

    A function whose signature cannot be known takes anything.

    The check raises:
        SignatureError: they do not fit; the message has the function, its signature and the mistake.
    """
    try:
        known = _binders.get(function)
    except TypeError:  # not hashable, or takes no weak reference
        return _binder(function)
    if known is None:
        known = _binders[function] = _binder(function)
    return known


def _binder(function: AnyCallable) -> Binder:
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

"""Names of functions: the name of a callable, and the callable of a name.

A name is `module:qualname`. `name_of` finds the one that leads back to a callable, `resolve` imports it by its
name, and `find_imported` looks it up without running any code. A function without a name is stored by value
(embedq/tasks/pickled.py).

The surprise: functions of the running script have the script's own name and never `__main__`, so that
`python shop.py` and `embedq worker --app shop:app` agree on `shop:send`. In the script's process that name leads to
`__main__`, and never to a second import of the same file.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any

from embedq.errors import UnknownTaskError
from embedq.tasks.moved import today

AnyCallable = Callable[..., Any]

# The names of `__main__`, the second in a process that multiprocessing spawned.
_MAIN = ("__main__", "__mp_main__")
_MISSING: Any = object()


def main_name() -> str:
    """Return the name of the running script in other processes.

    `shop` for `python shop.py`, `python -m shop` and a package's `__main__`; `shop.__main__` for a folder or a zip
    file, `python shop` and `python shop.pyz`. `__main__` itself where there is no file, as in the interpreter's prompt.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    # In a folder or a zip file the script is the module `__main__`.
    if spec is not None and spec.name != "__main__":
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    # The name of code that is piped into Python is "<stdin>".
    if not file or file.startswith("<"):
        return "__main__"
    name: str = os.path.splitext(os.path.basename(file))[0]
    if name != "__main__":
        return name
    around = os.path.dirname(os.path.abspath(file))
    folder = os.path.basename(around)
    return f"{folder if os.path.isdir(around) else os.path.splitext(folder)[0]}.__main__"


def module_name(obj: Any) -> str:
    """Return the module that `obj` was defined in, by its name in other processes."""
    name = getattr(obj, "__module__", None) or type(obj).__module__
    return main_name() if name in _MAIN else str(name)


def display_name(function: Any) -> str:
    """Return `module:qualname` for people: `shop.views:<lambda>`. It need not be importable."""
    if isinstance(function, functools.partial):
        return f"partial({display_name(function.func)})"
    qualname = getattr(function, "__qualname__", None) or f"{type(function).__qualname__}()"
    return f"{module_name(function)}:{qualname}"


def name_of(function: Any) -> str | None:
    """Return `module:qualname` of a function or class, or None if that path does not lead back to this very object.

    Lambdas, nested functions, bound methods of instances and functions hidden behind a decorator have none.
    """
    qualname = getattr(function, "__qualname__", None)
    home = getattr(function, "__module__", None)
    if not isinstance(qualname, str) or not isinstance(home, str) or "<" in qualname:
        return None
    module = main_name() if home in _MAIN else home
    for candidate in _imported_modules(module):
        found = _walk(candidate, qualname)
        # Each access of a class method returns a new, equal object.
        if found is function or (isinstance(found, MethodType) and found == function):
            return f"{module}:{qualname}"
        if home == module and _is_twin(found, function):
            return f"{module}:{qualname}"
    return None


def resolve(name: str) -> AnyCallable:
    """Return the callable that `module:qualname` names; import the module. Only for registered or signed names.

    Raises:
        UnknownTaskError: there is no such module, importing it failed (the cause is chained), or it holds no such
            callable.
    """
    module, _, qualname = today(name).partition(":")
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
    """Return what `module:qualname` names in the modules that are imported already; None if nothing.

    It runs no code: nothing is imported, and neither a module's `__getattr__` nor a descriptor is called. So the name
    may come from a row that was not signed.
    """
    module, _, qualname = today(name).partition(":")
    for candidate in _imported_modules(module):
        found = _walk_quietly(candidate, qualname)
        if found is not _MISSING:
            return found
    return None


def can_import(module: str) -> bool:
    """Whether a module is likely to be found; nothing is imported, so only `a` of `a.b` is searched."""
    from importlib.util import find_spec

    top = module.partition(".")[0]
    try:
        return top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def is_async(function: Any) -> bool:
    """Whether a call returns a coroutine: `async def`, a partial of one, or an object whose `__call__` is one."""
    function = unwrap_partial(function)
    if inspect.iscoroutinefunction(function):
        return True
    if isinstance(function, type | FunctionType | MethodType | BuiltinMethodType):
        return False
    return inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - checks what a call returns


def is_generator(function: Any) -> bool:
    """Whether a call returns a generator, asynchronous or not, and so runs nothing of the function's body."""
    function = unwrap_partial(function)
    if not isinstance(function, type | FunctionType | MethodType | BuiltinMethodType):
        function = getattr(function, "__call__", None)  # noqa: B004 - checks what a call returns
    if inspect.isasyncgenfunction(function):
        return True
    # With types.coroutine, a generator can be awaited.
    code = getattr(function, "__code__", None)
    return inspect.isgeneratorfunction(function) and not (
        code is not None and code.co_flags & inspect.CO_ITERABLE_COROUTINE
    )


def unwrap_partial(function: Any) -> Any:
    """Return the function that a partial calls; any other function itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _imported_modules(module: str) -> Iterator[ModuleType]:
    """Yield the modules of that name: the script first, and never its second import."""
    other = sys.modules.get(module)
    if module == main_name():
        yield sys.modules["__main__"]
        if _is_second_import(other):
            return
    if other is not None:
        yield other


def _is_twin(found: Any, function: Any) -> bool:
    """Whether `function` is the copy that a second import of the script made of the script's own `found`."""
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
    except ImportError:
        # Its package cannot be imported.
        return True
    except ValueError:
        # A module that was created in code and has no spec.
        return _is_second_import(sys.modules.get(module))
    return spec is None or _same_file(spec.origin)


def _same_file(file: str | None) -> bool:
    main_file = getattr(sys.modules["__main__"], "__file__", None)
    return bool(file and main_file) and os.path.realpath(str(file)) == os.path.realpath(str(main_file))


def _walk(found: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        found = getattr(found, part, _MISSING)
    return found


def _walk_quietly(found: Any, qualname: str) -> Any:
    """As `_walk`, without calling any `__getattr__` or descriptor."""
    for part in qualname.split("."):
        getter = type.__getattribute__ if isinstance(found, type) else object.__getattribute__
        try:
            found = getter(found, "__dict__")[part]
        except (AttributeError, KeyError, TypeError):
            return _MISSING
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

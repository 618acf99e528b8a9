"""Functions by name: the name of a callable, and the callable of a name.

A name is `module:qualname`. `name_of` finds the one that leads back to a callable, `resolve` imports what a name says,
and `find_imported` looks it up without running any code. What has no name is stored by value (embedq/by_value.py).

The surprise: functions of the running script go by the script's own name and never by `__main__`, so that
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

AnyCallable = Callable[..., Any]

# What `__main__` is called in a process that multiprocessing spawned.
_MAIN = ("__main__", "__mp_main__")
_MISSING: Any = object()


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


def display_name(function: Any) -> str:
    """`module:qualname` for people: `shop.views:<lambda>`. It may lead nowhere."""
    if isinstance(function, functools.partial):
        return f"partial({display_name(function.func)})"
    qualname = getattr(function, "__qualname__", None) or f"{type(function).__qualname__}()"
    return f"{module_name(function)}:{qualname}"


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
        found = _walk_quietly(candidate, qualname)
        if found is not _MISSING:
            return found
    return None


def can_import(module: str) -> bool:
    """Whether a module is likely to be found; nothing is imported, so of `a.b` only `a` is looked for."""
    from importlib.util import find_spec

    top = module.partition(".")[0]
    try:
        return top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def is_async(function: Any) -> bool:
    """Whether a call makes a coroutine: `async def`, a partial of one, or an object whose `__call__` is one."""
    function = unwrap_partial(function)
    if inspect.iscoroutinefunction(function):
        return True
    if isinstance(function, type | FunctionType | MethodType | BuiltinMethodType):
        return False
    return inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - asks what a call makes


def unwrap_partial(function: Any) -> Any:
    """What a partial calls, and any other function itself."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


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


def _walk_quietly(found: Any, qualname: str) -> Any:
    """As `_walk`, past every `__getattr__` and descriptor."""
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

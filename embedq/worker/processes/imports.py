"""Finds the app's functions in a child process: it imports the module that a job's function is in, and no more.

A function of the script that the host was started with (`python shop.py`, or a folder or zip file with a `__main__`) is
found as `multiprocessing` finds it: the script runs again under the name `__mp_main__`, so that its part under
`if __name__ == "__main__":` does not run.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from pkgutil import get_importer
from types import ModuleType
from typing import Any

from embedq.errors import ConfigurationError, ParkError, UnknownTaskError
from embedq.process import job_process
from embedq.storage.rows import ClaimedJob
from embedq.tasks.functions import find_imported, main_name, name_of, resolve
from embedq.tasks.pickled import PackedFunction
from embedq.tasks.registry import REGISTRY
from embedq.worker.processes.protocol import PackedCallable
from embedq.worker.resolving import Resolved, by_row

Main = tuple[str, str | None, str | None]


def describe_main() -> Main:
    """Return the running script for `HomeResolver`: its name, its module's name, its file."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return main_name(), None if spec is None else spec.name, None if file is None else os.path.abspath(file)


class HomeResolver:
    """Finds the function of a row that the host has verified.

    Attributes:
        home: the module that registers the function; None when the row alone identifies it.
        modules: modules to import before the arguments are read.
    """

    def __init__(self, main: Main) -> None:
        self.home: str | None = None
        self.modules: tuple[str, ...] = ()
        self._main = main
        self._adopted: bool | BaseException = False

    def resolve(self, job: ClaimedJob, /) -> Resolved:
        """Return the function. ParkError where it cannot be found."""
        for module in self.modules:
            self.import_module(module)
        if self.home is None:
            assert job.code is not None, "a row without code is of a registered function, and that has a home"
            code = PackedFunction.from_text(job.code)
            if code.pickle is None:
                self._import_home(job.name.partition(":")[0], lambda: find_imported(job.name))
            return by_row(job, code)
        self._import_home(self.home, lambda: REGISTRY.get(job.name))
        task = REGISTRY.get(job.name)
        if task is None:
            raise UnknownTaskError(
                f"importing {self.home} in the job's own process registers no {job.name!r}; register it in the module "
                "that its function is defined in, when that is imported",
                needs=f"task {job.name} in a process of its own",
            )
        return Resolved(task.function, task.defaults, task.is_async)

    def is_async(self, job: ClaimedJob) -> bool:
        """Whether the function is a coroutine function; False also where it cannot be found."""
        try:
            return self.resolve(job).is_async
        except BaseException:
            return False

    def _import_home(self, name: str, find: Callable[[], object]) -> None:
        """Import the module that a function is in.

        A package may have the script's name too, as for `python -m shop`; the script runs only where the function is
        not in that package.
        """
        if name == self._main[0] and is_apart_from(name, self._main[2]):
            self._import(name, lambda: importlib.import_module(name))
            if find() is not None:
                return
        self.import_module(name)

    def import_module(self, name: str) -> None:
        """Import a module of the app. UnknownTaskError when that fails."""
        self._import(name, self._adopt if name == self._main[0] else lambda: importlib.import_module(name))

    def _import(self, name: str, load: Callable[[], object]) -> None:
        try:
            load()
        except ParkError:
            raise
        except (Exception, SystemExit) as error:
            raise UnknownTaskError(
                f"importing {name!r} in the job's own process failed with {type(error).__qualname__}: {error}; what it "
                'needs to be imported, such as django.setup(), is given by process_setup="module:function"',
                needs=f"{name} in a process of its own",
            ) from error

    def _adopt(self) -> None:
        """Run the script once; if it fails, it is not run again."""
        if self._adopted is False:
            try:
                adopt_main(self._main)
                self._adopted = True
            except BaseException as error:
                self._adopted = error
        if isinstance(self._adopted, BaseException):
            raise self._adopted


def is_apart_from(name: str, script: str | None) -> bool:
    """Whether a module of that name, other than the script, can be imported."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    return script is None or os.path.realpath(spec.origin) != os.path.realpath(script)


def _spec_around(file: str | None) -> ModuleSpec | None:
    """Return the spec of the `__main__` that is in a folder or a zip file."""
    importer: Any = None if file is None else get_importer(os.path.dirname(file))
    return None if importer is None else importer.find_spec("__main__")


def adopt_main(main: Main) -> None:
    """Make the host's script this process's `__main__` too, without running its main part."""
    _, module_name, file = main
    module = ModuleType("__mp_main__")
    if module_name is not None:
        # A folder or a zip file cannot be found by a name.
        spec = _spec_around(file) if module_name == "__main__" else find_spec(module_name)
        loader: Any = None if spec is None else spec.loader
        code = None if loader is None else loader.get_code(module_name)
        module.__spec__, module.__package__ = spec, None if spec is None else spec.parent
    else:
        code = None if file is None else SourceFileLoader("__mp_main__", file).get_code("__mp_main__")
    if code is None:
        raise ImportError("the script cannot be read again; move its jobs to a module that it imports")
    module.__file__ = file
    # Before it runs: what it registers is named after the script, which is read from `sys.modules`.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    job_process.reading_script = True
    try:
        exec(code, module.__dict__)
    finally:
        job_process.reading_script = False


def pack_callable(function: Callable[..., Any], role: str) -> PackedCallable:
    """Return a callable in a form that another process can load.

    Raises:
        ConfigurationError: it has no form that can be sent.
    """
    name = name_of(function)
    if name is not None and not name.startswith("__main__:"):
        return PackedCallable(name=name)
    import cloudpickle

    try:
        return PackedCallable(pickle=cloudpickle.dumps(function))
    except Exception as error:
        raise ConfigurationError(
            f'jobs with executor="process" cannot have the {role} {function!r}, because it cannot be sent to a process '
            f"({type(error).__qualname__}: {error}); make it a function at a module's top level"
        ) from error


def unpack_callable(packed: PackedCallable, resolver: HomeResolver) -> Any:
    """Return the callable that was packed, as it is in this process."""
    if packed.name is None:
        import pickle

        return pickle.loads(packed.pickle)
    resolver.import_module(packed.name.partition(":")[0])
    return resolve(packed.name)

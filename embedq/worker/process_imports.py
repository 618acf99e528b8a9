"""How a job's process finds the app's functions: it imports the module that a job's function is in, and no more.

A function of the script that the host was started with (`python shop.py`) is found as `multiprocessing` finds it: the
script is run once more, under the name `__mp_main__`, so that its `if __name__ == "__main__":` part is not.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from embedq import job_process
from embedq.by_value import PackedFunction
from embedq.errors import ConfigurationError, ParkError, UnknownTaskError
from embedq.functions import main_name, name_of, resolve
from embedq.storage.rows import ClaimedJob
from embedq.task import REGISTRY
from embedq.worker.process_link import Packed
from embedq.worker.resolving import Resolved, by_row

Main = tuple[str, str | None, str | None]


def describe_main() -> Main:
    """The running script, for `HomeResolver`: its name, its module's name, its file."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return main_name(), None if spec is None else spec.name, getattr(main, "__file__", None)


class HomeResolver:
    """Finds the function of a row that the host has verified.

    Attributes:
        home: the module that registers the function; None when the row says it all.
        modules: to import before the arguments are read.
    """

    def __init__(self, main: Main) -> None:
        self.home: str | None = None
        self.modules: tuple[str, ...] = ()
        self._main = main
        self._adopted: bool | BaseException = False

    def resolve(self, job: ClaimedJob, /) -> Resolved:
        """The function. ParkError where it cannot be found."""
        for module in self.modules:
            self.import_module(module)
        if self.home is None:
            assert job.code is not None, "a row without code is of a registered function, and that has a home"
            code = PackedFunction.from_text(job.code)
            if code.pickle is None:
                self.import_module(job.name.partition(":")[0])
            return by_row(job, code)
        self.import_module(self.home)
        task = REGISTRY.get(job.name)
        if task is None:
            raise UnknownTaskError(
                f"importing {self.home} in the job's own process registers no {job.name!r}; register it in the module "
                "that its function is defined in, when that is imported",
                needs=f"task {job.name} in a process of its own",
            )
        return Resolved(task.function, task.defaults, task.is_async)

    def is_async(self, job: ClaimedJob) -> bool:
        """Whether the function is one; False also where it cannot be found."""
        try:
            return self.resolve(job).is_async
        except BaseException:
            return False

    def import_module(self, name: str) -> None:
        """Import a module of the app. UnknownTaskError when that fails."""
        try:
            if name != self._main[0]:
                importlib.import_module(name)
            else:
                self._adopt()
        except ParkError:
            raise
        except (Exception, SystemExit) as error:
            raise UnknownTaskError(
                f"importing {name!r} in the job's own process failed with {type(error).__qualname__}: {error}; what it "
                'needs to be imported, such as django.setup(), is given by process_setup="module:function"',
                needs=f"{name} in a process of its own",
            ) from error

    def _adopt(self) -> None:
        """Run the script, once; if it fails, it has failed for good."""
        if self._adopted is False:
            try:
                adopt_main(self._main)
                self._adopted = True
            except BaseException as error:
                self._adopted = error
        if isinstance(self._adopted, BaseException):
            raise self._adopted


def adopt_main(main: Main) -> None:
    """Make the host's script this process's `__main__` too, without its main part."""
    _, module_name, file = main
    module = ModuleType("__mp_main__")
    if module_name is not None:
        spec = find_spec(module_name)
        loader: Any = None if spec is None else spec.loader
        code = None if loader is None else loader.get_code(module_name)
        module.__spec__, module.__package__ = spec, None if spec is None else spec.parent
    else:
        code = None if file is None else SourceFileLoader("__mp_main__", file).get_code("__mp_main__")
    if code is None:
        raise ImportError("the script cannot be read again; move its jobs to a module that it imports")
    module.__file__ = file
    # Before it runs: what it registers is named after the script, which is looked up here.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    job_process.reading_script = True
    try:
        exec(code, module.__dict__)
    finally:
        job_process.reading_script = False


def pack_callable(function: Callable[..., Any], role: str) -> Packed:
    """A callable for another process.

    Raises:
        ConfigurationError: it has no form that can be sent.
    """
    name = name_of(function)
    if name is not None and not name.startswith("__main__:"):
        return Packed(name=name)
    import cloudpickle

    try:
        return Packed(pickle=cloudpickle.dumps(function))
    except Exception as error:
        raise ConfigurationError(
            f'jobs with executor="process" cannot have the {role} {function!r}, because it cannot be sent to a process '
            f"({type(error).__qualname__}: {error}); make it a function at a module's top level"
        ) from error


def unpack_callable(packed: Packed, resolver: HomeResolver) -> Any:
    """What `pack_callable` was given, or its like in this process."""
    if packed.name is None:
        import pickle

        return pickle.loads(packed.pickle)
    resolver.import_module(packed.name.partition(":")[0])
    return resolve(packed.name)

"""The registry of tasks: it finds the task of a function, and the task of a name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from embedq.errors import ConfigurationError, SignatureError, UnknownTaskError, UnstorableFunctionError
from embedq.tasks.functions import display_name, find_imported, name_of
from embedq.tasks.options import Executor
from embedq.tasks.task import Call, Enqueuer, Task

P = ParamSpec("P")
R = TypeVar("R")


class NamedTask(Task[..., Any]):
    """A task known only by its name: the process that runs it needs the function, this one does not."""

    def __init__(self, registry: Registry, name: str, enqueuer: Callable[[], Enqueuer]) -> None:
        self._registry = registry
        super().__init__(self._here, name=name, registered=True, enqueuer=enqueuer)

    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        return self

    def call(self, /, *args: Any, **kwargs: Any) -> Call[Any]:
        # The function may have been registered since.
        known = self._registry.get(self.name)
        if known is not None:
            return known.with_options(self.overrides).call(*args, **kwargs)
        return Call(self, args, kwargs)

    def _executor(self) -> Executor:
        # The process that runs it checks whether it can run there.
        return self.effective.executor or "thread"

    def _here(self, *args: Any, **kwargs: Any) -> Any:
        known = self._registry.get(self.name)
        if known is None:
            raise UnknownTaskError(
                f"no task named {self.name!r} here, so it can be enqueued but not called", needs=f"task {self.name}"
            )
        return known(*args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAdapter:
    """Makes tasks of another framework's objects that wrap a function, such as Django's tasks.

    Attributes:
        kind: the class of those objects.
        task_of: returns the task that enqueues one.
        declared: returns the registered task of an object found under this name; None if its jobs have another name.
    """

    kind: type
    task_of: Callable[[Any], Any]
    declared: Callable[[Any, str], Task[..., Any] | None]


class Registry:
    """The tasks of this process by name. There is one for the whole process, as for its functions."""

    def __init__(self) -> None:
        self._adapters: list[TaskAdapter] = []
        self._by_name: dict[str, Task[..., Any]] = {}
        self._wrapped: WeakKeyDictionary[Any, Task[..., Any]] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def add(self, task: Task[..., Any], aliases: tuple[str, ...] = ()) -> None:
        """Register a task under its name and its former names.

        Raises:
            ConfigurationError: another function already has one of them.
        """
        with self._lock:
            for name in (task.name, *aliases):
                other = self._by_name.get(name)
                if other is not None and not _same_source(other.function, task.function):
                    raise ConfigurationError(
                        f"two functions are registered as {name!r}: {display_name(other.function)} and "
                        f"{display_name(task.function)}; give one of them another name: @embedq.job(name=…)"
                    )
            for name in (task.name, *aliases):
                self._by_name[name] = task

    def after_fork(self) -> None:
        """Replace the lock in a forked process: a thread that does not exist there may have held it."""
        self._lock = threading.RLock()

    def add_adapter(self, adapter: TaskAdapter) -> None:
        """Accept objects of another framework in place of functions. Integrations call it when they are imported."""
        self._adapters.append(adapter)

    def registered(self, name: str) -> Task[..., Any] | None:
        """Return the task that is registered under that name."""
        return self._by_name.get(name)

    def get(self, name: str) -> Task[..., Any] | None:
        """Return the registered task of that name, or that of another framework's object under it."""
        found = self._by_name.get(name)
        if found is None and self._adapters:
            # The application declared the object as a task, to be run by its name, so its rows need no signature.
            declared = find_imported(name)
            for adapter in self._adapters:
                if isinstance(declared, adapter.kind):
                    return adapter.declared(declared, name)
        return found

    def by_name(self, name: str, enqueuer: Callable[[], Enqueuer]) -> Task[..., Any]:
        """Return the registered task of that name, or one that can only be enqueued.

        Raises:
            ConfigurationError: it is not a name.
        """
        if not isinstance(name, str) or not 0 < len(name) <= 255:
            raise ConfigurationError(
                f"{name!r} is not the name of a task; write the one that its jobs have: 'shop.mail:send'"
            )
        return self.get(name) or NamedTask(self, name, enqueuer)

    def names(self) -> list[str]:
        """Return every name, including aliases."""
        return sorted(self._by_name)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[Any]:
        """Return the call of a function with these arguments; a call is returned as it is.

        Raises:
            SignatureError: the arguments do not fit the function, or a call was given arguments.
            UnstorableFunctionError: it is not a function.
        """
        if isinstance(function, Task):
            return function.call(*args, **kwargs)
        if isinstance(function, Call):
            if args or kwargs:
                raise SignatureError(
                    f"a call of {function.task.name} was given more arguments; put all of them into it: "
                    "embedq.call(function, argument, …)"
                )
            return function
        return self.wrap(function).call(*args, **kwargs)

    def wrap(self, function: Callable[P, R] | Task[P, R]) -> Task[P, R]:
        """Return the task of a function: itself, the registered one, or a new unregistered one.

        Raises:
            UnstorableFunctionError: it is not a function.
        """
        if isinstance(function, Task):
            return function
        if isinstance(function, Call):
            raise UnstorableFunctionError(f"this takes a function, and was given a call of {function.task.name}")
        for adapter in self._adapters:
            if isinstance(function, adapter.kind):
                adapted: Task[P, R] = adapter.task_of(function)
                return adapted
        try:
            known: Any = self._wrapped.get(function)
        except TypeError:  # not hashable, or takes no weak reference
            return self._wrap(function)
        if known is None:
            known = self._wrap(function)
            # The task of a by-value function refers to it, which would keep the weak key alive forever.
            if not known.by_value:
                self._wrapped[function] = known
        task: Task[P, R] = known
        return task

    def _wrap(self, function: Callable[P, R]) -> Task[P, R]:
        if not callable(function):
            raise UnstorableFunctionError(
                f"{function!r} is not a function; write enqueue(function, argument), not enqueue(function(argument))"
            )
        name = name_of(function)
        return Task(function, name=name or display_name(function), registered=False, by_value=name is None)


def _same_source(one: Any, other: Any) -> bool:
    """Whether two function objects come from the same definition, as after a reload of its module."""
    return (one.__module__, one.__qualname__) == (
        other.__module__,
        other.__qualname__,
    ) and "<lambda>" not in one.__qualname__


REGISTRY = Registry()

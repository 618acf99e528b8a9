"""A function that can be enqueued, and the registry that finds it again by name.

`@embedq.job` registers a function: its stored jobs carry its name and nothing else, so it may be renamed in the code
(`name=`, `aliases=`), and any process may enqueue it. Any other function is wrapped at its first enqueue: one that can
be imported goes by its name, a lambda or nested function by value; both are signed, because their rows decide what is
run.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack
from weakref import WeakKeyDictionary

from embedq.arguments import argument_check
from embedq.errors import ConfigurationError, UnstorableFunctionError
from embedq.functions import display_name, find_imported, is_async, module_name, name_of
from embedq.handle import JobHandle
from embedq.options import NO_OPTIONS, Executor, OptionKeywords, Options

P = ParamSpec("P")
R = TypeVar("R")


class Enqueuer(Protocol):
    """What a task needs of an app."""

    def submit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """Enqueue the call; durable when this returns."""

    async def asubmit(self, call: Call, *, run_at: datetime | None = None) -> JobHandle:
        """The same, without blocking the event loop."""

    def due_in(self, delay: timedelta | float) -> datetime:
        """The moment that is `delay` from now."""


class Task(Generic[P, R]):
    """A function with a name under which its jobs are stored. Calling it is calling the function.

    Attributes:
        name: as stored; for a function stored by value, for people only.
        by_value: it is a lambda or nested function, stored with the job.
        registered: declared with `@embedq.job`, so its rows need no signature.
        is_async: a call makes a coroutine.
        executor: where it runs.
        defaults: the decorator's options.
        overrides: the options of `.options(...)`.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str,
        registered: bool,
        by_value: bool = False,
        defaults: Options = NO_OPTIONS,
        overrides: Options = NO_OPTIONS,
        enqueuer: Callable[[], Enqueuer] | None = None,
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = name
        self.registered = registered
        self.by_value = by_value
        self.defaults = defaults
        self.overrides = overrides
        self.wanted = overrides.over(defaults)
        self.is_async = is_async(function)
        self.executor = self._executor()
        self.check = argument_check(function)
        self._enqueuer = enqueuer

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def options(self, **given: Unpack[OptionKeywords]) -> Task[P, R]:
        """This task with other options, for one enqueue or many: `send.options(queue="low").enqueue(1)`."""
        return self.with_options(Options.parse(**given))

    def with_options(self, options: Options) -> Task[P, R]:
        """As `options`, from parsed ones."""
        bound = Task.__new__(Task)
        bound.__dict__.update(self.__dict__)
        bound.overrides = options.over(self.overrides)
        bound.wanted = bound.overrides.over(self.defaults)
        bound.executor = bound._executor()
        return bound

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call to hand to `enqueue_many`.

        Raises:
            SignatureError: the arguments do not fit the function.
        """
        self.check(args, kwargs)
        return Call(self, args, kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it in the background as soon as a worker is free.

        Raises:
            EnqueueError: the arguments were refused.
            StorageUncertainError: the connection was lost in the commit: it may or may not have been written.
            StorageError: the database could not take it. In all other cases nothing was written.
        """
        return self._app().submit(self.call(*args, **kwargs))

    def enqueue_in(self, delay: timedelta | float, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it `delay` (a timedelta, or seconds) from now."""
        app = self._app()
        return app.submit(self.call(*args, **kwargs), run_at=app.due_in(delay))

    def enqueue_at(self, moment: datetime, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it at `moment`, an aware datetime; ValueError if naive. One that has passed means now."""
        return self._app().submit(self.call(*args, **kwargs), run_at=moment)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """`enqueue` for `async def` request handlers: the event loop is not blocked by the disk."""
        return await self._app().asubmit(self.call(*args, **kwargs))

    def _executor(self) -> Executor:
        """Where it runs, as it was asked for.

        Raises:
            ConfigurationError: it cannot run there.
        """
        wanted = self.wanted.executor
        if wanted == "async" and not self.is_async:
            raise ConfigurationError(f'{self.name} is no async def function, so it cannot have executor="async"')
        if wanted == "process":
            self._refuse_process()
        return wanted or ("async" if self.is_async else "thread")

    def _refuse_process(self) -> None:
        if os.name != "posix":
            raise ConfigurationError(
                f'{self.name}: executor="process" needs Linux, macOS or another POSIX system; elsewhere give such jobs '
                "a queue, and that queue a process: embedq worker --queues"
            )
        if self.by_value:
            return
        if self.registered and "<locals>" in getattr(self.function, "__qualname__", ""):
            raise ConfigurationError(
                f'{self.name}: executor="process" needs a function that another process finds by importing its module, '
                f"and {display_name(self.function)} is defined inside another; move it to the module's top level"
            )
        if module_name(self.function) == "__main__":
            raise ConfigurationError(
                f'{self.name}: executor="process" needs a function that another process can import, and this one was '
                "typed in, or piped into Python; put it into a file"
            )

    def _app(self) -> Enqueuer:
        if self._enqueuer is None:
            raise ConfigurationError(f"{self.name} is not registered; enqueue it with embedq.enqueue(…)")
        return self._enqueuer()

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


@dataclass(frozen=True, slots=True)
class Call:
    """A task and the arguments to run it with; made by `call`, enqueued by `enqueue_many`."""

    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Objects of another framework that stand for a function, as Django's tasks do.

    Attributes:
        kind: their class.
        task_of: the task to enqueue one by.
        declared: the registered task of one that is found under this name; None where its jobs have another.
    """

    kind: type
    task_of: Callable[[Any], Any]
    declared: Callable[[Any, str], Task[..., Any] | None]


class Registry:
    """The tasks of this process by name. One for the process: its functions are the process's too."""

    def __init__(self) -> None:
        self._foreign: list[Foreign] = []
        self._by_name: dict[str, Task[..., Any]] = {}
        self._wrapped: WeakKeyDictionary[Any, Task[..., Any]] = WeakKeyDictionary()
        self._lock = threading.Lock()

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
        """In the child of a fork: the lock may have been held by a thread that is not here."""
        self._lock = threading.Lock()

    def admit(self, foreign: Foreign) -> None:
        """Take objects of another framework for functions; their integration says so when it is imported."""
        self._foreign.append(foreign)

    def registered(self, name: str) -> Task[..., Any] | None:
        """The task that has been registered under that name."""
        return self._by_name.get(name)

    def get(self, name: str) -> Task[..., Any] | None:
        """The registered task of that name, or of what another framework has declared under it."""
        found = self._by_name.get(name)
        if found is None and self._foreign:
            # Whoever made the object said that it is to be run by its name, so its rows need no signature either.
            declared = find_imported(name)
            for foreign in self._foreign:
                if isinstance(declared, foreign.kind):
                    return foreign.declared(declared, name)
        return found

    def names(self) -> list[str]:
        """Every name, aliases included."""
        return sorted(self._by_name)

    def wrap(self, function: Callable[P, R] | Task[P, R]) -> Task[P, R]:
        """The task of a function: itself, the registered one, or an unregistered one made here.

        Raises:
            UnstorableFunctionError: it is not a function.
        """
        if isinstance(function, Task):
            return function
        for foreign in self._foreign:
            if isinstance(function, foreign.kind):
                taken: Task[P, R] = foreign.task_of(function)
                return taken
        try:
            known: Any = self._wrapped.get(function)
        except TypeError:  # not hashable, or takes no weak reference
            return self._wrap(function)
        if known is None:
            known = self._wrap(function)
            # A by-value function is held by its own task, which would keep the weak key alive for ever.
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
    """Whether two function objects come from one definition, as after a module's reload."""
    return (one.__module__, one.__qualname__) == (
        other.__module__,
        other.__qualname__,
    ) and "<lambda>" not in one.__qualname__


REGISTRY = Registry()

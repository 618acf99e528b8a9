"""A function that can be enqueued.

`@embedq.job` registers a function: its stored jobs carry its name and nothing else, so it can be renamed in the code
(`name=`, `aliases=`), and any process can enqueue it. Every other function is wrapped when it is first enqueued
(registry.py): one that can be imported is stored by its name, a lambda or nested function by value. Both are signed,
because their rows decide what code runs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from embedq.errors import ConfigurationError
from embedq.tasks.arguments import argument_check
from embedq.tasks.functions import display_name, is_async, module_name
from embedq.tasks.handle import JobHandle
from embedq.tasks.lanes import limits_of
from embedq.tasks.options import NO_OPTIONS, OF_FUNCTIONS, Executor, OptionKeywords, Options, ResolvedOptions

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
# What a call of an `async def` function returns; its job's result is the R in it.
Awaited = Coroutine[Any, Any, R]


class Enqueuer(Protocol):
    """The part of an app that tasks enqueue through."""

    def submit(self, call: Call[Any], *, run_at: datetime | None = None) -> JobHandle[Any]:
        """Enqueue the call; durable when this returns."""

    async def asubmit(self, call: Call[Any], *, run_at: datetime | None = None) -> JobHandle[Any]:
        """Do the same without blocking the event loop."""

    def due_in(self, delay: timedelta | float) -> datetime:
        """Return the moment that is `delay` from now."""


class Task(Generic[P, R_co]):
    """A function and the name under which its jobs are stored. Calling the task calls the function.

    Attributes:
        name: as stored; for a function stored by value, only for people to read.
        by_value: the function is a lambda or nested function and is stored with the job.
        registered: the function has `@embedq.job`, so its rows need no signature.
        is_static: the function is a static method, which gets no `self`.
        is_async: a call returns a coroutine.
        executor: where it runs.
        defaults: the decorator's options.
        overrides: the options of `.options(...)`.
        effective: `overrides` where set, else `defaults`.
        resolved: `effective` with an app's defaults; kept here by that app's `JobBuilder`.
    """

    def __init__(
        self,
        function: Callable[P, R_co],
        *,
        name: str,
        registered: bool,
        by_value: bool = False,
        is_static: bool = False,
        defaults: Options = NO_OPTIONS,
        overrides: Options = NO_OPTIONS,
        enqueuer: Callable[[], Enqueuer] | None = None,
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = name
        self.registered = registered
        self.by_value = by_value
        self.is_static = is_static
        self.defaults = defaults
        self.overrides = overrides
        self.effective = overrides.over(defaults)
        self.resolved: ResolvedOptions | None = None
        self.is_async = is_async(function)
        self.executor = self._executor()
        self.check = argument_check(function)
        self._enqueuer = enqueuer
        if registered:
            limits_of(name, self.effective)

    # `self` is positional-only, here and below: the function may have a parameter of that name.
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Task[P, R_co]: ...
    # Type checkers cannot know whether the function is a method, so its parameters are unknown here.
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Task[..., R_co]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        """Bind a method to its object. Any other function that a class refers to stays as it is."""
        return MethodTask(self, instance) if instance is not None and self.is_method_of(instance) else self

    def is_method_of(self, instance: object) -> bool:
        """Whether the object's class defines this function as a method, rather than only refers to it."""
        qualname = str(getattr(self.function, "__qualname__", "")).rpartition(".")[0]
        return not self.is_static and any(
            base.__qualname__ == qualname and base.__module__ == self.function.__module__
            for base in type(instance).__mro__
        )

    def options(self, **given: Unpack[OptionKeywords]) -> Task[P, R_co]:
        """Return this task with other options, for one enqueue or many: `send.options(queue="low").enqueue(1)`."""
        options = Options.parse(**given)
        if any(getattr(options, name) is not None for name in OF_FUNCTIONS):
            raise ConfigurationError(
                f"{' and '.join(OF_FUNCTIONS)} belong to @embedq.job(…), so that every process knows them; for one "
                "enqueue there are lane= and weight="
            )
        return self.with_options(options)

    def with_options(self, options: Options) -> Task[P, R_co]:
        """As `options`, from parsed ones."""
        bound = type(self).__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.overrides = options.over(self.overrides)
        bound.effective = bound.overrides.over(self.defaults)
        bound.resolved = None
        bound.executor = bound._executor()
        return bound

    # A function that is stored by value may refer to a task. Its pickle has the attributes of earlier versions, which
    # wrote pickles that are still stored, and may be running beside this one.
    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "wanted": self.effective}
        del state["effective"], state["resolved"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.effective = self.__dict__.pop("wanted")
        self.resolved = None

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Return a call, which every verb takes in place of a function and its arguments.

        Raises:
            SignatureError: the arguments do not fit the function.
        """
        self.check(args, kwargs)
        return Call(self, args, kwargs)

    @overload
    def enqueue(self: Task[P, Awaited[R]], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @overload
    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]: ...
    def enqueue(self, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Run it in the background as soon as a worker is free.

        Raises:
            EnqueueError: the arguments were refused.
            StorageUncertainError: the connection was lost during the commit; the job may or may not be stored.
            StorageError: the database could not store the job. In all other cases nothing was written.
        """
        return self._app().submit(self.call(*args, **kwargs))

    @overload
    def enqueue_in(
        self: Task[P, Awaited[R]], delay: timedelta | float, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    def enqueue_in(self, delay: timedelta | float, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]: ...
    def enqueue_in(self, delay: timedelta | float, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Run it `delay` (a timedelta, or seconds) from now."""
        app = self._app()
        return app.submit(self.call(*args, **kwargs), run_at=app.due_in(delay))

    @overload
    def enqueue_at(
        self: Task[P, Awaited[R]], moment: datetime, /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    def enqueue_at(self, moment: datetime, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]: ...
    def enqueue_at(self, moment: datetime, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Run it at `moment`, an aware datetime; ValueError if naive. A moment in the past means now."""
        return self._app().submit(self.call(*args, **kwargs), run_at=moment)

    @overload
    async def aenqueue(self: Task[P, Awaited[R]], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    @overload
    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R_co]: ...
    async def aenqueue(self, /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Enqueue from `async def` request handlers: the event loop does not wait for the disk."""
        return await self._app().asubmit(self.call(*args, **kwargs))

    def _executor(self) -> Executor:
        """Return the executor that the options name, or the function's own.

        Raises:
            ConfigurationError: the function cannot run there.
        """
        chosen = self.effective.executor
        if chosen == "async" and not self.is_async:
            raise ConfigurationError(f'{self.name} is not an async def function, so it cannot have executor="async"')
        if chosen == "process":
            self._refuse_process()
        return chosen or ("async" if self.is_async else "thread")

    def _refuse_process(self) -> None:
        if os.name != "posix":
            raise ConfigurationError(
                f'{self.name}: executor="process" needs Linux, macOS or another POSIX system; elsewhere, give such '
                "jobs a queue of their own and run that in another process: embedq worker --queues"
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
                "typed at a prompt or piped into Python; put it into a file"
            )

    def _app(self) -> Enqueuer:
        if self._enqueuer is None:
            raise ConfigurationError(f"{self.name} is not registered; enqueue it with embedq.enqueue(…)")
        return self._enqueuer()

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class MethodTask(Task[P, R_co]):
    """A method as a task, bound to one object, which is its first argument.

    Attributes:
        method: the task of the method.
        instance: the object.
    """

    def __init__(self, method: Task[..., R_co], instance: Any) -> None:
        self.__dict__.update(method.__dict__)
        self.method = method
        self.instance = instance
        self.__wrapped__ = MethodType(method.function, instance)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.method.function(self.instance, *args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        return self

    def with_options(self, options: Options) -> Task[P, R_co]:
        return MethodTask(self.method.with_options(options), self.instance)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        return self.method.call(self.instance, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """A task and the arguments to run it with; made by `call`. Calling it runs the task's function in this thread.

    Every verb takes one in place of a function and its arguments, so that these may have any name.
    """

    task: Task[..., R_co]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> R_co:
        return self.task(*self.args, **self.kwargs)

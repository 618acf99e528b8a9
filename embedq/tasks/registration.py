"""`@job`: registers a function under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from embedq.errors import ConfigurationError, UnstorableFunctionError
from embedq.tasks.functions import display_name, name_of
from embedq.tasks.options import Options
from embedq.tasks.registry import Registry
from embedq.tasks.task import Enqueuer, Task


def register(
    registry: Registry,
    function: Callable[..., Any] | None,
    given: Mapping[str, Any],
    *,
    enqueuer: Callable[[], Enqueuer],
) -> Any:
    """Return the task of a function, or, without one, the decorator that makes it.

    Args:
        given: the keywords of `@job`: `name`, `aliases` and options.
        enqueuer: returns the app that the task enqueues to.
    """
    options = dict(given)
    name, aliases = options.pop("name", None), tuple(options.pop("aliases", ()))
    defaults = Options.parse(**options)
    if defaults.idempotency_key is not None:
        raise ConfigurationError(
            "an idempotency_key belongs to one enqueue, not to a function: use .options(idempotency_key=…).enqueue(…)"
        )

    def decorate(target: Callable[..., Any]) -> Task[..., Any]:
        if isinstance(target, Task):
            raise ConfigurationError(f"{target.name} is a job already; decorate it once")
        is_static = isinstance(target, staticmethod)
        if isinstance(target, staticmethod):
            target = target.__func__
        _refuse_class_method(target)
        task: Task[..., Any] = Task(
            target,
            name=name or _name_of_definition(target),
            registered=True,
            is_static=is_static,
            defaults=defaults,
            enqueuer=enqueuer,
        )
        registry.add(task, aliases)
        return task

    return decorate if function is None else decorate(function)


def _refuse_class_method(function: Any) -> None:
    """Raise ConfigurationError for a class method: the class, its first argument, has no stored form."""
    inner = function.__func__ if isinstance(function, classmethod) else function
    code, qualname = getattr(inner, "__code__", None), getattr(inner, "__qualname__", "")
    # With @classmethod above @embedq.job, only the parameter's name shows it.
    named_so = code is not None and code.co_argcount > 0 and code.co_varnames[0] == "cls"
    if isinstance(function, classmethod) or (named_so and "." in qualname.rpartition("<locals>.")[2]):
        raise ConfigurationError(
            f"{display_name(inner)} is a class method, which @embedq.job cannot register: make it a @staticmethod, or "
            "remove the decorator and enqueue it as embedq.enqueue(Class.method, …)"
        )


def _name_of_definition(function: Callable[..., Any]) -> str:
    """Return the name of a function that is being defined: it cannot be looked up yet, but will be found there.

    Raises:
        UnstorableFunctionError: it is nested or a lambda, so no other process can find it by its own name.
    """
    qualname = getattr(function, "__qualname__", "<")
    if "<" in qualname:
        raise UnstorableFunctionError(
            f"{display_name(function)} cannot be registered by its own name, because no other process can find it "
            "there; move it to the module's top level, or give it a name: @embedq.job(name=…)"
        )
    return name_of(function) or display_name(function)

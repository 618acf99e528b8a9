"""A retry policy that was given for one job only, as JSON in the job's row.

Strategies of tenacity that consist of numbers, or of each other, have a stored form. Exceptions are stored by name.

The surprise: an exception class that is not imported where a policy is read stays in the policy. It is matched by its
name, because it may have been imported by the time that it is raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import signature
from typing import Any

from embedq.errors import ConfigurationError
from embedq.tasks.functions import find_imported, module_name, name_of
from embedq.tasks.retry import Retry

# For each strategy of tenacity that is numbers only: its constructor's arguments, and the attributes that hold them.
_SAME_NAMES = {
    name: name for name in ("start", "increment", "multiplier", "initial", "exp_base", "jitter", "min", "max")
}
_PLAIN: Mapping[str, Mapping[str, str]] = {
    "wait_none": {},
    "wait_fixed": {"wait": "wait_fixed"},
    "wait_random": {"min": "wait_random_min", "max": "wait_random_max"},
    "wait_incrementing": _SAME_NAMES,
    "wait_exponential": _SAME_NAMES,
    "wait_random_exponential": _SAME_NAMES,
    "wait_exponential_jitter": _SAME_NAMES,
    "stop_after_attempt": {"max_attempt_number": "max_attempt_number"},
    "stop_after_delay": {"max_delay": "max_delay"},
    "stop_before_delay": {"max_delay": "max_delay"},
}
# Those made of other strategies, and the attribute that holds these.
_NESTED = {"wait_combine": "wait_funcs", "wait_chain": "strategies", "stop_any": "stops", "stop_all": "stops"}


class _ByName(type):
    """Matches instances by the name of their class, which may be imported later, before it is raised."""

    def __instancecheck__(cls, error: object) -> bool:
        name = (cls.__module__, cls.__qualname__)
        return any((module_name(base), base.__qualname__) == name for base in type(error).__mro__)


class _NotImported(BaseException, metaclass=_ByName):
    """Replaces an exception class that was not imported here when a policy was read."""


def retry_to_json(policy: Retry) -> dict[str, Any]:
    """What JSON can write in place of a policy.

    Raises:
        ConfigurationError: it holds a function or a strategy of the user's own, or an exception class that has no
            name to be found by. Such a policy is declared on the job, in code.
    """
    stored: dict[str, Any] = {"attempts": policy.attempts}
    if policy.retry is not None:
        raise _undeclared("retry", policy.retry)
    for role, strategy in (("wait", policy.wait), ("stop", policy.stop)):
        if strategy is not None:
            stored[role] = _strategy_to_json(role, strategy)
    for role, kinds in (("retry_on", policy.retry_on), ("discard_on", policy.discard_on)):
        if kinds:
            stored[role] = [_class_to_name(role, kind) for kind in kinds]
    return stored


def retry_from_json(stored: Any) -> Retry:
    """The policy that `retry_to_json` was given.

    Exception classes are looked up among the imported modules. One that is not there keeps its name, and matches an
    error only by that.

    Raises:
        ConfigurationError: it is not what `retry_to_json` makes.
    """
    try:
        return Retry(
            attempts=stored["attempts"],
            wait=_strategy_from_json("wait", stored["wait"]) if "wait" in stored else None,
            stop=_strategy_from_json("stop", stored["stop"]) if "stop" in stored else None,
            retry_on=tuple(_class_from_name(name) for name in stored.get("retry_on", ())),
            discard_on=tuple(_class_from_name(name) for name in stored.get("discard_on", ())),
        )
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ConfigurationError(
            f"the stored retry policy cannot be read ({type(error).__qualname__}: {error}); enqueue the job again"
        ) from error


def _undeclared(role: str, value: Any) -> ConfigurationError:
    return ConfigurationError(
        f"{role}={value!r} has no stored form, so it cannot be given for one job; "
        f"declare it on @embedq.job(retry=Retry({role}=...)) instead"
    )


def _strategy_to_json(role: str, strategy: Any) -> Any:
    import tenacity

    if strategy is tenacity.stop_never:
        return ["stop_never", {}]
    name = type(strategy).__name__
    if type(strategy) is getattr(tenacity, name, None) and name.startswith(f"{role}_"):
        if name in _NESTED:
            return [name, [_strategy_to_json(role, part) for part in getattr(strategy, _NESTED[name])]]
        if name in _PLAIN:
            state = vars(strategy)
            numbers = {argument: state[attribute] for argument, attribute in _PLAIN[name].items() if attribute in state}
            if all(type(number) in (int, float) for number in numbers.values()):
                return [name, {argument: _number_to_json(number) for argument, number in numbers.items()}]
    raise _undeclared(role, strategy)


def _strategy_from_json(role: str, stored: Any) -> Any:
    import tenacity

    name, body = stored
    # Only names in the tables reach getattr.
    if name.startswith(f"{role}_"):
        if name == "stop_never":
            return tenacity.stop_never
        if name in _NESTED:
            if name == "wait_chain" and not body:
                # Before 9.1 tenacity took it, and failed at the first wait.
                raise ValueError("wait_chain needs a strategy")
            return getattr(tenacity, name)(*[_strategy_from_json(role, part) for part in body])
        if name in _PLAIN:
            strategy = getattr(tenacity, name)
            numbers = {argument: _number_from_json(body[argument]) for argument in _PLAIN[name] if argument in body}
            if name == "wait_exponential_jitter":
                # tenacity 9.2 renamed `initial` to `multiplier`, and another version may have stored this.
                here, there = ("initial", "multiplier")[:: -1 if "multiplier" in signature(strategy).parameters else 1]
                if there in numbers:
                    numbers[here] = numbers.pop(there)
            return strategy(**numbers)
    raise ValueError(f"no {role} strategy {name!r}")


def _number_to_json(number: float) -> float | str:
    # JSON has no infinity.
    return number if math.isfinite(number) else repr(number)


def _number_from_json(stored: Any) -> float:
    if stored in ("inf", "-inf", "nan"):
        return float(stored)
    if type(stored) not in (int, float):
        raise ValueError(f"{stored!r} is not a number")
    return stored  # type: ignore[no-any-return]


def _class_to_name(role: str, kind: type[BaseException]) -> str:
    name = f"{module_name(kind)}:{kind.__qualname__}" if issubclass(kind, _NotImported) else name_of(kind)
    if name is None:
        raise _undeclared(role, kind)
    return name


def _class_from_name(name: str) -> type[BaseException]:
    found = find_imported(name)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    module, _, qualname = name.partition(":")
    return type(qualname, (_NotImported,), {"__module__": module, "__qualname__": qualname})

"""Limits: how many jobs may run at once, and how many may start in a while, in total and for each key.

    OPENAI = embedq.limit("openai", total=25, rate=[embedq.Rate(60, per=60), embedq.Rate(1000, per=3600)])

    @embedq.job(concurrency=embedq.Limit(5, per="tenant", total=50), limits=[OPENAI])
    def answer(tenant: str, question: str) -> str: ...

What stands in the code is the default. It is stored when a process meets the limit, and what `set_limit` stores wins.
A job is under two limits at most: that of its own function, and shared ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from embedq.errors import ConfigurationError
from embedq.flow.rates import check_rate, interval

# A key is stored up to this length.
MOST_KEY_CHARACTERS = 200
MOST_LIMITS = 2

Key = str | Callable[[Mapping[str, Any]], object]
"""The name of a parameter, or a function of the bound arguments, by name."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs may start in a while: `Rate(60, per=60)` is 60 a minute, evenly spaced.

    Attributes:
        count: how many.
        per: in so many seconds.
        burst: how many may start at once after a quiet while; in any `per` seconds at most `count + burst - 1` start.
        key: counted apart for each value of this parameter, or of this function of the bound arguments; None for all
            together.
    """

    count: int
    per: float
    burst: int = 1
    key: Key | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_rate(self.count, self.per, self.burst)
        _check_key("key", self.key)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many jobs may run at once.

    Attributes:
        each: for each key; in total where there is no `per`. None for any number.
        per: the key: the name of a parameter, or a function of the bound arguments (a dict) that returns it.
        total: for all keys together.
        rate: how many may start in a while, one or several, which must all allow it.
        name: of a shared limit, made by `embedq.limit`; None for a function's own.
    """

    each: int | None = None
    per: Key | None = field(default=None, kw_only=True)
    total: int | None = field(default=None, kw_only=True)
    rate: Rate | Sequence[Rate] = field(default=(), kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name, value in (("each", self.each), ("total", self.total)):
            check_bound(name, value)
        _check_key("per", self.per)
        rates = (self.rate,) if isinstance(self.rate, Rate) else tuple(self.rate)
        if not all(isinstance(rate, Rate) for rate in rates):
            raise ConfigurationError(f"rate={self.rate!r} must be an embedq.Rate, or a list of them")
        object.__setattr__(self, "rate", rates)
        if self.each is None and self.total is None and not rates:
            raise ConfigurationError("a limit needs a number, such as Limit(5), Limit(5, per='tenant') or total=50")
        keys = {key for key in (self.per, *(rate.key for rate in rates)) if key is not None}
        if len(keys) > 1:
            raise ConfigurationError("a limit has one key; give the rates of another key to a limit of their own")
        if self.each is not None and self.per is None:
            object.__setattr__(self, "total", min(self.each, self.total) if self.total is not None else self.each)
            object.__setattr__(self, "each", None)

    @property
    def key(self) -> Key | None:
        """What its keys are; None where it has none."""
        return next((key for key in (self.per, *(rate.key for rate in self.rates)) if key is not None), None)

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Its rates."""
        assert isinstance(self.rate, tuple)
        return self.rate

    def values(self) -> LimitValues:
        """Return what is stored of it."""
        rates = tuple(StoredRate(rate.count, rate.per, rate.burst, keyed=rate.key is not None) for rate in self.rates)
        return LimitValues(total=self.total, each=self.each, rates=rates)


@dataclass(frozen=True, slots=True)
class StoredRate:
    """A rate as it is stored.

    Attributes:
        keyed: counted apart for each key.
    """

    count: int
    per: float
    burst: int
    keyed: bool

    @property
    def interval(self) -> int:
        """Microseconds between two starts."""
        return interval(self.count, self.per)

    @property
    def label(self) -> str:
        """Tells it from the other rates of its limit."""
        return f"{self.count}/{self.per:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitValues:
    """The numbers of a limit; None for no bound."""

    total: int | None = None
    each: int | None = None
    rates: tuple[StoredRate, ...] = ()

    def rates_text(self) -> str:
        """Return the rates as they are stored."""
        return json.dumps([[rate.count, rate.per, rate.burst, int(rate.keyed)] for rate in self.rates])

    @classmethod
    def stored(
        cls, total: int | None, each: int | None, rates: str, set_total: int | None, set_each: int | None
    ) -> LimitValues:
        """Return the values that apply, from a row: what was set at run time wins."""
        return cls(
            total=total if set_total is None else set_total,
            each=each if set_each is None else set_each,
            rates=tuple(
                StoredRate(count, per, burst, keyed=bool(keyed)) for count, per, burst, keyed in json.loads(rates)
            ),
        )


# By name: the shared ones, and those of functions. A function that is defined again has the latest.
_declared: dict[str, LimitValues] = {}


def limit(
    name: str,
    each: int | None = None,
    *,
    per: Key | None = None,
    total: int | None = None,
    rate: Rate | Sequence[Rate] = (),
) -> Limit:
    """Return a limit that several functions share: `@embedq.job(limits=[OPENAI])`.

    Args:
        name: in the database; processes that use the same name share the limit.
        each, per, total, rate: as for `Limit`.
    Raises:
        ConfigurationError: a value cannot work.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MOST_KEY_CHARACTERS or not name.isprintable():
        raise ConfigurationError(f"name={name!r} of a limit must be a string of 1 to {MOST_KEY_CHARACTERS} characters")
    made = Limit(each, per=per, total=total, rate=rate, name=name)
    declare(name, made.values())
    return made


def declare(name: str, values: LimitValues) -> None:
    """Record the code's values of a limit."""
    _declared[name] = values


def declared() -> Mapping[str, LimitValues]:
    """Return the code's values of all limits that this process knows."""
    return _declared


def own_limits(task: str, concurrency: Limit | None, rate: Rate | Sequence[Rate] | None) -> list[Limit]:
    """Return the limits of one function, by its name: one where their keys allow that, else two."""
    rates = () if rate is None else (rate,) if isinstance(rate, Rate) else tuple(rate)
    if concurrency is None:
        return [Limit(rate=rates, name=task)] if rates else []
    if not rates:
        return [replace(concurrency, name=task)]
    try:
        return [replace(concurrency, rate=(*concurrency.rates, *rates), name=task)]
    except ConfigurationError:
        return [replace(concurrency, name=task), Limit(rate=rates, name=f"{task} rate")]


def key_text(value: object) -> str:
    """Return a key as it is stored: text as it is, anything else as JSON or as `str` writes it."""
    if isinstance(value, str):
        text = value or '""'
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            text = str(value)
    if len(text) > MOST_KEY_CHARACTERS:
        raise ConfigurationError(
            f"a key of a limit has {len(text)} characters, and {MOST_KEY_CHARACTERS} is the most; use a shorter one, "
            "such as an id"
        )
    return text


def key_of(key: Key, arguments: Mapping[str, Any]) -> str:
    """Return the key of a call, from its bound arguments.

    Raises:
        ConfigurationError: there is no such argument.
    """
    if callable(key):
        return key_text(key(arguments))
    if key not in arguments:
        names = ", ".join(arguments) or "none"
        raise ConfigurationError(f"a limit's key is the parameter {key!r}, and the function's parameters are: {names}")
    return key_text(arguments[key])


def check_bound(name: str, value: object) -> None:
    """Raise ConfigurationError if it is no bound."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000_000_000):
        raise ConfigurationError(f"{name}={value!r} of a limit must be a whole number, 0 or more")


def _check_key(name: str, key: object) -> None:
    if key is not None and not callable(key) and not (isinstance(key, str) and key):
        raise ConfigurationError(f"{name}={key!r} must be a parameter's name, or a function of the bound arguments")

"""Unique jobs: which calls are the same one, and what happens to a call whose job is there already.

    f.options(unique=Unique("waiting", by=("user_id",)))      a second call while one waits is the same job
    f.options(debounce=Debounce(wait=5, at_most=60))          runs once the calls have paused
    f.options(throttle=Throttle(60, then="last"))             runs at once, and then at most once a minute

Each of them becomes a `Rule`, which is stored with the job's options: its key, and what decides about a conflict. Which
job has a key stands in a row of its own (storage/unique.py), and whether that counts follows from the job's state at
the moment when it matters. So no end of a job has to free a key, and none is left behind, whatever is killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Literal, NamedTuple, get_args

from embedq.errors import ConfigurationError

Scope = Literal["waiting", "unfinished"]
OnConflict = Literal["keep", "replace", "raise"]
# Parameters' names, or a function of the bound arguments; None for all of them.
By = tuple[str, ...] | Callable[[Mapping[str, Any]], object] | None

MICROS = 1_000_000
LONGEST_SECONDS = 1e10
# By their stored names. A job that is awaited for its parent's end waits too.
WAITING = frozenset({"awaiting", "scheduled", "ready", "retrying", "parked"})
UNFINISHED = WAITING | {"running"}
# How the text of stored options with a rule looks; the options of other jobs are not read.
_MARK = '"unique":{'


def _micros(owner: str, name: str, value: object, *, least: int = 1) -> int:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LONGEST_SECONDS:
        micros = round(value * MICROS)
        if micros >= least:
            return micros
    raise ConfigurationError(f"{owner}: {name}={value!r} must be seconds or a timedelta, above 0")


def _check_by(owner: str, by: object) -> By:
    if by is None or callable(by):
        return by
    names = (by,) if isinstance(by, str) else by
    if isinstance(names, tuple | list) and all(isinstance(name, str) and name for name in names):
        return tuple(names)
    raise ConfigurationError(
        f"{owner}: by={by!r} must be names of parameters, such as by=('user_id',), or a function of the arguments"
    )


@dataclass(frozen=True)
class Unique:
    """One job at a time for equal calls.

    Attributes:
        scope: a call is the same as an earlier one "waiting" until that is claimed, or "unfinished" until it has ended;
            "waiting" unless set.
        by: the parameters whose values make calls equal, or a function of the bound arguments (a dict) that returns
            what does; None for all arguments, () for none: one job for the task.
        on_conflict: "keep" returns the handle of the earlier job, "replace" gives that the new arguments, "raise"
            raises UniqueConflictError.
        period: instead of a scope: equal for so many seconds (or a timedelta) from the first call, however
            its job ends, unless that is cancelled or deleted.
    Raises:
        ConfigurationError: a value is not valid, or "replace" where the job may be running.
    """

    scope: Scope | None = None
    by: By = None
    on_conflict: OnConflict = "keep"
    period: float | timedelta | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _check_by("Unique", self.by))
        if self.scope not in (None, *get_args(Scope)):
            raise ConfigurationError(f"Unique: {self.scope!r} must be one of {', '.join(get_args(Scope))}")
        if self.on_conflict not in get_args(OnConflict):
            raise ConfigurationError(
                f"Unique: on_conflict={self.on_conflict!r} must be one of {', '.join(get_args(OnConflict))}"
            )
        if self.period is not None:
            _micros("Unique", "period", self.period)
            if self.scope is not None:
                raise ConfigurationError(f"Unique: give the scope {self.scope!r} or period={self.period!r}, not both")
        if self.on_conflict == "replace" and (self.scope == "unfinished" or self.period is not None):
            raise ConfigurationError(
                'Unique: on_conflict="replace" is for the scope "waiting": the arguments of a job that runs, or has '
                'ended, are not replaced. With "waiting", a call during a run makes one more run after it'
            )

    def rule(self, key: str) -> Rule:
        """Return the rule of a call with this key."""
        if self.period is not None:
            return Rule(key, "period", self.on_conflict, _micros("Unique", "period", self.period))
        return Rule(key, self.scope or "waiting", self.on_conflict)


@dataclass(frozen=True)
class Debounce:
    """One run for many equal calls, once they pause, with the arguments of the latest.

    Attributes:
        wait: how long after the latest call it runs; seconds or a timedelta.
        at_most: how long after the first call at the latest, however many follow.
        by: as of `Unique`: which calls are equal; None for those with the same arguments, () for all of the task.
    Raises:
        ConfigurationError: a value is not valid.
    """

    wait: float | timedelta
    at_most: float | timedelta
    by: By = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _check_by("Debounce", self.by))
        if _micros("Debounce", "at_most", self.at_most) < _micros("Debounce", "wait", self.wait):
            raise ConfigurationError(f"Debounce: at_most={self.at_most!r} must not be below wait={self.wait!r}")

    def rule(self, key: str) -> Rule:
        """Return the rule of a call with this key."""
        wait, at_most = _micros("Debounce", "wait", self.wait), _micros("Debounce", "at_most", self.at_most)
        return Rule(key, "waiting", "replace", wait=wait, at_most=at_most)


@dataclass(frozen=True)
class Throttle:
    """The first of many equal calls runs at once, and then at most one in each period.

    Attributes:
        per: the period; seconds or a timedelta.
        then: what happens to the calls in a period: "drop" returns the handle of the first; "last" makes one run at
            its end, with the arguments of the latest.
        by: as of `Unique`: which calls are equal; None for those with the same arguments, () for all of the task.
    Raises:
        ConfigurationError: a value is not valid.
    """

    per: float | timedelta
    then: Literal["drop", "last"] = "drop"
    by: By = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _check_by("Throttle", self.by))
        _micros("Throttle", "per", self.per)
        if self.then not in ("drop", "last"):
            raise ConfigurationError(f"Throttle: then={self.then!r} must be drop or last")

    def rule(self, key: str) -> Rule:
        """Return the rule of a call with this key."""
        per = _micros("Throttle", "per", self.per)
        return Rule(key, "period", "keep", per) if self.then == "drop" else Rule(key, "throttle", "replace", per)


class Holder(NamedTuple):
    """The job that has a key.

    Attributes:
        job_id: 0 for none.
        until: the end of the period, in microseconds.
        state: as stored; None if the job is not there any more.
        created_at: when it was first enqueued, in microseconds.
    """

    job_id: int
    until: int
    state: str | None
    created_at: int


class Admission(Enum):
    """What happens to a call."""

    INSERT = "a job of its own"
    KEEP = "the earlier job stands for it"
    REPLACE = "the earlier job gets its arguments"
    REFUSE = "an error"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is stored of it with a job. Times are microseconds.

    Attributes:
        key: what equal calls have in common, the task's name included.
        scope: "waiting", "unfinished", "period", or "throttle": a period after which one more runs.
    """

    key: str
    scope: str
    on_conflict: str
    period: int = 0
    wait: int = 0
    at_most: int = 0

    def decide(self, holder: Holder, now: int) -> Admission:
        """Decide about a call, given the job that has its key."""
        there = holder.job_id != 0 and holder.state != "cancelled"
        if self.scope == "waiting":
            equal = holder.state in WAITING
        elif self.scope == "unfinished":
            equal = holder.state in UNFINISHED
        elif self.scope == "throttle":
            equal = there and holder.state in WAITING
        else:
            equal = there and now < holder.until
        if not equal:
            return Admission.INSERT
        return {"keep": Admission.KEEP, "replace": Admission.REPLACE}.get(self.on_conflict, Admission.REFUSE)

    def run_at(self, holder: Holder, now: int) -> int:
        """Return when a new job may run at the earliest."""
        if self.scope == "throttle" and holder.job_id and holder.state != "cancelled":
            return max(now, holder.until)
        return now + self.wait

    def replaced_run_at(self, holder: Holder, now: int) -> int | None:
        """Return when a job that waits for its time runs once its arguments were replaced; None to leave that."""
        return min(holder.created_at + self.at_most, now + self.wait) if self.wait else None

    def until(self, run_at: int) -> int:
        """Return the end of the period of a job that may run at that moment."""
        return run_at + self.period

    @property
    def returns(self) -> bool:
        """Whether a job that is to run again has to take its key again."""
        return self.scope != "period"

    def stored_in(self, options: str | None) -> str:
        """Return stored options with this rule."""
        own = {name: value for name, value in asdict(self).items() if value}
        return json.dumps({**json.loads(options or "{}"), "unique": own}, separators=(",", ":"))


def may_have_rule(options: str | None) -> bool:
    """Return whether stored options may have a rule; for nearly all jobs this is all that is asked."""
    return options is not None and _MARK in options


def rule_of(options: str | None) -> Rule | None:
    """Return the rule in stored options; None if there is none, or it is damaged."""
    if options is None or _MARK not in options:
        return None
    try:
        return Rule(**json.loads(options)["unique"])
    except (ValueError, KeyError, TypeError):
        return None

"""Options of a job, on the decorator, for one enqueue, or both; the one closer to the enqueue wins."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Literal, TypedDict, get_args

from embedq.clock import to_seconds
from embedq.config import Retention, refuse_unknown
from embedq.display.units import brief
from embedq.errors import ConfigurationError
from embedq.flow.limits import Key, Limit, Rate
from embedq.flow.unique import Debounce, Throttle, Unique
from embedq.tasks.retry import Retry
from embedq.tasks.retry_json import retry_from_json, retry_to_json

# SQLite and the server databases hold 64-bit integers; ten digits are plenty.
MAX_PRIORITY = 1_000_000_000
# Three centuries.
LONGEST_SECONDS = 1e10

Executor = Literal["thread", "async", "process"]
LostContact = Literal["stop", "keep"]


class OptionKeywords(TypedDict, total=False):
    """The keywords of `options(...)` and `@job(...)`."""

    queue: str
    priority: int
    retry: Retry
    timeout: float | timedelta
    idempotency_key: str
    expires_in: float | timedelta
    tags: Iterable[str]
    retention: Retention
    executor: Executor
    on_lost_contact: LostContact
    concurrency: Limit
    limits: Iterable[Limit]
    rate: Rate | Iterable[Rate]
    fair_by: Key
    lane: str
    weight: int
    unique: Unique
    debounce: Debounce
    throttle: Throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that were given; None for those that were not.

    Attributes:
        queue: "default" unless set.
        priority: higher is sooner within a queue; 0 unless set.
        retry: the policy; 10 attempts with growing waits unless set.
        timeout: seconds; 0 for no limit; the app's default unless set.
        idempotency_key: a second enqueue with the same key returns the first job for as long as that is kept.
        expires_in: seconds from its due time, or from when its parent ended if that is later; a job whose first run has
            not started by then is cancelled.
        tags: for people to search by.
        retention: how long the job is kept after it has ended; the app's unless set.
        executor: where it runs: "thread", "async" (the event loop, for an `async def` function) or "process" (a process
            of its own, which can be killed); "async" for an `async def` function, else "thread", unless set.
        on_lost_contact: what happens to a run when its process may have lost the database's server, so that other
            processes take its jobs: "stop" interrupts it, and the job runs again; "keep" lets it continue, possibly
            at the same time as its next run; "stop" unless set.
        concurrency: how many of its jobs run at once; see `Limit`.
        limits: limits that it shares with other functions, made by `embedq.limit`.
        rate: how many of its jobs start in a while; see `Rate`.
        fair_by: jobs take turns by this: the name of a parameter, or a function of the bound arguments (a dict).
        lane: the same, for one enqueue, as a text.
        weight: how many jobs in a row the lane may start in its turn; 1 unless set.
        unique: which calls are the same job; see `Unique`. One of this, `debounce`, `throttle` and `idempotency_key`.
        debounce: one run for many calls, once they pause; see `Debounce`.
        throttle: at most one run in each period; see `Throttle`.
    """

    queue: str | None = None
    priority: int | None = None
    retry: Retry | None = None
    timeout: float | None = None
    idempotency_key: str | None = None
    expires_in: float | None = None
    tags: tuple[str, ...] | None = None
    retention: Retention | None = None
    executor: Executor | None = None
    on_lost_contact: LostContact | None = None
    concurrency: Limit | None = None
    limits: tuple[Limit, ...] | None = None
    rate: tuple[Rate, ...] | None = None
    fair_by: Key | None = None
    lane: str | None = None
    weight: int | None = None
    unique: Unique | None = None
    debounce: Debounce | None = None
    throttle: Throttle | None = None

    @property
    def laned(self) -> bool:
        """Whether such jobs stand in lanes: under a limit or a rate, or with fair turns."""
        return any(one is not None for one in (self.concurrency, self.limits, self.rate, self.fair_by, self.lane))

    @property
    def sameness(self) -> Unique | Debounce | Throttle | None:
        """What defines which calls are the same, if anything does."""
        return self.unique or self.debounce or self.throttle

    def __setstate__(self, state: list[Any]) -> None:
        # The values in order, as dataclasses pickle them; a function that was stored by an earlier version has fewer.
        names = [item.name for item in fields(self)]
        for name, value in zip(names, [*state, *[None] * len(names)], strict=False):
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, **given: Any) -> Options:
        """Options from keywords.

        Raises:
            ConfigurationError: an unknown keyword or a value that cannot work.
        """
        refuse_unknown("option", given, [item.name for item in fields(cls)])
        values = {name: value for name, value in given.items() if value is not None}
        for name in ("queue", "idempotency_key"):
            if name in values and not (isinstance(values[name], str) and 0 < len(values[name]) <= 255):
                raise ConfigurationError(f"{name}={brief(values[name])} must be a string of 1 to 255 characters")
        priority = values.get("priority", 0)
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > MAX_PRIORITY:
            raise ConfigurationError(f"priority={brief(priority)} must be a whole number within ±{MAX_PRIORITY}")
        for name in ("timeout", "expires_in"):
            if name in values:
                values[name] = _duration(name, values[name])
        if not isinstance(values.get("retry", Retry()), Retry):
            raise ConfigurationError(
                f"retry={brief(values['retry'])} must be an embedq.Retry, such as embedq.Retry(attempts=5)"
            )
        if not isinstance(values.get("retention", Retention()), Retention):
            raise ConfigurationError(f"retention={brief(values['retention'])} must be an embedq.Retention")
        for name, kinds in (("executor", get_args(Executor)), ("on_lost_contact", get_args(LostContact))):
            if name in values and values[name] not in kinds:
                raise ConfigurationError(f"{name}={brief(values[name])} must be one of {', '.join(kinds)}")
        _parse_flow(values)
        for name, flow in _FLOW.items():
            if not isinstance(values.get(name), flow | None):
                raise ConfigurationError(f"{name}={brief(values[name])} must be an embedq.{flow.__name__}")
        if "tags" in values:
            values["tags"] = _tags(values["tags"])
        options = cls(**values)
        options.check_sameness()
        return options

    def check_sameness(self) -> None:
        """Raise ConfigurationError if several options define which calls are the same."""
        given = [name for name in (*_FLOW, "idempotency_key") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigurationError(
                f"{' and '.join(given)} each define which calls are the same job; give one of them (an enqueue's "
                "options add to those of the decorator)"
            )

    def over(self, base: Options) -> Options:
        """Return these options where set, and those of `base` elsewhere."""
        if self == NO_OPTIONS:
            return base
        return replace(base, **self._set())

    def stored(self, meta: Mapping[str, Any]) -> str | None:
        """Return the part that is stored in the job's row as JSON: what the worker cannot read from its own code.

        None when there is nothing to store, which is nearly always.
        """
        out: dict[str, Any] = {}
        if self.on_lost_contact is not None:
            out["on_lost_contact"] = self.on_lost_contact
        if self.timeout is not None:
            out["timeout"] = self.timeout
        if self.retry is not None:
            out["retry"] = retry_to_json(self.retry)
        if self.retention is not None:
            out["retention"] = {
                item.name: None if (kept := getattr(self.retention, item.name)) is None else kept.total_seconds()
                for item in fields(self.retention)
            }
        if meta:
            out["meta"] = dict(meta)
        return json.dumps(out, separators=(",", ":")) if out else None

    def _set(self) -> dict[str, Any]:
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}


_FLOW: Mapping[str, Any] = {"unique": Unique, "debounce": Debounce, "throttle": Throttle}
NO_OPTIONS = Options()
# Those that every process must know, so that they cannot be of one enqueue.
OF_FUNCTIONS = ("concurrency", "limits", "rate", "fair_by")
DEFAULT_QUEUE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedOptions:
    """The options of a task's jobs in one app, resolved once: those of the enqueue, the decorator and the app.

    Attributes:
        app_defaults: the app's default options that these were resolved with.
        options: the options that apply.
        stored: those that are stored with a job: all that the process that runs it cannot read from the decorator.
        stored_json: `stored` as the job's row has them; None when there are none.
        tags_json: the tags as the job's row has them; None when there are none.
    """

    app_defaults: Options
    options: Options
    stored: Options
    queue: str
    priority: int
    stored_json: str | None
    tags_json: str | None

    @classmethod
    def resolve(cls, effective: Options, overrides: Options, app_defaults: Options) -> ResolvedOptions:
        """Resolve a task's options against those of an app.

        Args:
            effective: the task's options, its decorator's included.
            overrides: those of its `.options(...)`.
        """
        options, stored = effective, overrides
        if app_defaults is not NO_OPTIONS:
            options = effective.over(app_defaults)
            # The process that runs the job knows the decorator, but not the defaults of this app.
            stored = overrides.over(
                Options(
                    retry=app_defaults.retry if effective.retry is None else None,
                    timeout=app_defaults.timeout if effective.timeout is None else None,
                )
            )
        options.check_sameness()
        if options.retention is not None and stored.retention is None:
            # Also needed where no code of the app runs, such as when the command line cancels a waiting job.
            stored = replace(stored, retention=options.retention)
        return cls(
            app_defaults=app_defaults,
            options=options,
            stored=stored,
            queue=options.queue or DEFAULT_QUEUE,
            priority=options.priority or 0,
            stored_json=stored.stored({}),
            tags_json=tags_to_json(options.tags),
        )


def tags_to_json(tags: Iterable[str] | None) -> str | None:
    """Return the tags as a job's row has them; None when there are none."""
    return json.dumps(tags, ensure_ascii=False) if tags else None


# Those that can apply to everything that an app enqueues.
_FOR_AN_APP = ("queue", "priority", "retry", "timeout", "expires_in", "tags", "retention")


def parse_defaults(given: Options | Mapping[str, Any] | None) -> Options:
    """Return the default options of an app.

    Raises:
        ConfigurationError: an option that belongs to one function or one enqueue, an unknown option, an invalid value,
            or a retry policy that cannot be stored with a job.
    """
    if given is None:
        return NO_OPTIONS
    if not isinstance(given, Options | Mapping):
        raise ConfigurationError(
            f"default_options={given!r} must be an embedq.Options, such as embedq.Options(queue='mail'), or a dict"
        )
    values = given._set() if isinstance(given, Options) else dict(given)
    refuse_unknown("default option", values, _FOR_AN_APP)
    if isinstance(values.get("retry"), Mapping):
        values["retry"] = retry_from_json(values["retry"])
    parsed = Options.parse(**values)
    # Raises where the retry policy cannot be stored: it goes into each job's row, and to job processes.
    defaults_to_plain(parsed)
    return parsed


def defaults_to_plain(defaults: Options) -> dict[str, Any]:
    """Return keywords that `parse_defaults` makes equal options from, in any process of the app."""
    values = defaults._set()
    return {**values, "retry": retry_to_json(defaults.retry)} if defaults.retry is not None else values


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOptions:
    """The options that `Options.stored` wrote, as the worker reads them, and what `with_occurrence` added."""

    timeout: float | None = None
    retry: Retry | None = None
    on_lost_contact: LostContact | None = None
    scheduled_for: int | None = None
    meta: Mapping[str, Any]

    @classmethod
    def read(cls, text: str | None) -> StoredOptions:
        """Read them from the job's row."""
        if text is None:
            return _NOTHING_STORED
        values = json.loads(text)
        if not isinstance(values, dict) or not isinstance(values.get("meta", {}), dict):
            raise ConfigurationError(f"the stored options cannot be read: {brief(text)}; enqueue the job again")
        if values.get("timeout") is not None:
            values["timeout"] = _duration("the stored timeout", values["timeout"])
        retry = values.get("retry")
        return cls(
            timeout=values.get("timeout"),
            retry=None if retry is None else retry_from_json(retry),
            on_lost_contact=values.get("on_lost_contact"),
            scheduled_for=values.get("scheduled_for"),
            meta=values.get("meta", {}),
        )


_NOTHING_STORED = StoredOptions(meta={})


def meta_of(text: str | None) -> dict[str, Any]:
    """Return the meta in stored options; empty if they are damaged."""
    try:
        found = json.loads(text or "{}")["meta"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def with_occurrence(text: str | None, at: int) -> str:
    """Return stored options with the time of the occurrence that the job is for, in microseconds.

    It is kept here because a job's `run_at` moves with each retry, and so that other jobs have no column for it. An
    earlier version ignores it.
    """
    return json.dumps({**json.loads(text or "{}"), "scheduled_for": at}, separators=(",", ":"))


def with_meta(text: str | None, meta: Mapping[str, Any]) -> str:
    """Return stored options with another meta."""
    return json.dumps({**json.loads(text or "{}"), "meta": dict(meta)}, separators=(",", ":"))


def _duration(name: str, value: Any) -> float:
    if isinstance(value, int | float | timedelta) and not isinstance(value, bool):
        try:
            seconds = to_seconds(value)
        except ValueError:
            seconds = math.inf
        if 0 <= seconds < LONGEST_SECONDS:
            return seconds
    raise ConfigurationError(
        f"{name}={brief(value)} must be seconds or a timedelta, zero or more and below {LONGEST_SECONDS:g}"
    )


def _parse_flow(values: dict[str, Any]) -> None:
    """Check the options of limits and lanes, and make tuples of their lists."""
    if not isinstance(values.get("concurrency", Limit(1)), Limit):
        raise ConfigurationError(
            f"concurrency={brief(values['concurrency'])} must be an embedq.Limit, such as embedq.Limit(5)"
        )
    for name, kind in (("limits", Limit), ("rate", Rate)):
        if name in values:
            given = values[name]
            some = (given,) if isinstance(given, kind) else tuple(given) if isinstance(given, Iterable) else (None,)
            if not all(isinstance(one, kind) for one in some):
                raise ConfigurationError(f"{name}={brief(given)} must be a list of embedq.{kind.__name__}")
            values[name] = some or None
    if any(one.name is None for one in values.get("limits") or ()):
        raise ConfigurationError(
            "limits=[…] takes shared limits, made by embedq.limit(name, …); a function's own is concurrency="
        )
    if "fair_by" in values and not (
        callable(values["fair_by"]) or (isinstance(values["fair_by"], str) and values["fair_by"])
    ):
        raise ConfigurationError(f"fair_by={brief(values['fair_by'])} must be the name of a parameter, or a function")
    if "lane" in values and not (isinstance(values["lane"], str) and 0 < len(values["lane"]) <= 200):
        raise ConfigurationError(f"lane={brief(values['lane'])} must be a string of 1 to 200 characters")
    weight = values.get("weight", 1)
    if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= 1000:
        raise ConfigurationError(f"weight={brief(weight)} must be a whole number from 1 to 1000")


def _tags(value: Any) -> tuple[str, ...]:
    tags = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not all(isinstance(tag, str) and 0 < len(tag) <= 255 for tag in tags):
        raise ConfigurationError(f"tags={brief(value)} must be a list of strings of 1 to 255 characters")
    return tuple(dict.fromkeys(tags))

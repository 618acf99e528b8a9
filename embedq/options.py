"""How a job is to be treated: on the decorator, for one enqueue, or both; the one nearer to the enqueue wins."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Literal, TypedDict, get_args

from embedq.clock import to_seconds
from embedq.config import Retention
from embedq.errors import ConfigurationError
from embedq.retry import Retry
from embedq.stored_retry import retry_from_json, retry_to_json

# SQLite and the server databases hold 64-bit integers; ten digits are plenty.
MAX_PRIORITY = 1_000_000_000

Executor = Literal["thread", "async", "process"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; None where nothing was.

    Attributes:
        queue: "default" unless set.
        priority: higher is sooner within a queue; 0 unless set.
        retry: the policy; 10 attempts with growing waits unless set.
        timeout: seconds; 0 for no limit; the app's default unless set.
        idempotency_key: a second enqueue with the same key returns the first job for as long as that is kept.
        expires_in: seconds from its due time, or from when its parent ended if that is later; a job whose first run has
            not started by then is cancelled.
        tags: for people to search by.
        retention: how long the job is kept once it has ended; the app's unless set.
        executor: where it runs: "thread", "async" (the event loop, for an `async def` function) or "process" (a process
            of its own, which can be killed); the event loop for an `async def` function, else a thread, unless set.
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

    @classmethod
    def parse(cls, **given: Any) -> Options:
        """Options from keywords.

        Raises:
            ConfigurationError: an unknown keyword or a value that cannot work.
        """
        known = [item.name for item in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigurationError(f"unknown option {name!r}; there are: {', '.join(known)}")
        values = {name: value for name, value in given.items() if value is not None}
        for name in ("queue", "idempotency_key"):
            if name in values and not (isinstance(values[name], str) and 0 < len(values[name]) <= 255):
                raise ConfigurationError(f"{name}={values[name]!r} must be a string of 1 to 255 characters")
        priority = values.get("priority", 0)
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > MAX_PRIORITY:
            raise ConfigurationError(f"priority={priority!r} must be a whole number within ±{MAX_PRIORITY}")
        for name in ("timeout", "expires_in"):
            if name in values:
                values[name] = _duration(name, values[name])
        if not isinstance(values.get("retry", Retry()), Retry):
            raise ConfigurationError(
                f"retry={values['retry']!r} must be an embedq.Retry, such as embedq.Retry(attempts=5)"
            )
        if not isinstance(values.get("retention", Retention()), Retention):
            raise ConfigurationError(f"retention={values['retention']!r} must be an embedq.Retention")
        if values.get("executor", "thread") not in get_args(Executor):
            raise ConfigurationError(f"executor={values['executor']!r} must be one of {', '.join(get_args(Executor))}")
        if "tags" in values:
            values["tags"] = _tags(values["tags"])
        return cls(**values)

    def over(self, base: Options) -> Options:
        """These options where set, and `base` elsewhere."""
        if self == NO_OPTIONS:
            return base
        return replace(base, **self._set())

    def stored(self, meta: Mapping[str, Any]) -> str | None:
        """The part that goes into the job's row as JSON: what the worker must know and cannot learn from its own code.

        None when there is nothing, which is nearly always.
        """
        if self.timeout is None and self.retry is None and self.retention is None and not meta:
            return None
        out: dict[str, Any] = {}
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
        return json.dumps(out, separators=(",", ":"))

    def _set(self) -> dict[str, Any]:
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOptions:
    """What `Options.stored` wrote, read back by the worker."""

    timeout: float | None = None
    retry: Retry | None = None
    meta: Mapping[str, Any]

    @classmethod
    def read(cls, text: str | None) -> StoredOptions:
        """From the row."""
        if text is None:
            return _NOTHING_STORED
        values = json.loads(text)
        retry = values.get("retry")
        return cls(
            timeout=values.get("timeout"),
            retry=None if retry is None else retry_from_json(retry),
            meta=values.get("meta", {}),
        )


_NOTHING_STORED = StoredOptions(meta={})


def _duration(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta) or not 0 <= to_seconds(value) < 1e10:
        raise ConfigurationError(f"{name}={value!r} must be seconds or a timedelta, zero or more")
    return to_seconds(value)


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(tag, str) and 0 < len(tag) <= 255 for tag in value):
        raise ConfigurationError(f"tags={value!r} must be a list of strings of 1 to 255 characters")
    return tuple(dict.fromkeys(value))

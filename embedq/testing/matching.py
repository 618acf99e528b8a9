"""Matching of enqueued jobs: `find(send_mail, 7)` takes the arguments of `enqueue(send_mail, 7)`, or some of them.

Arguments that are not given may be anything. Positional and named ones are equivalent, and a default counts as
given. Values are compared by `==`, so `unittest.mock.ANY` and the like work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from embedq.tasks.options import NO_OPTIONS, Options
from embedq.tasks.registry import NamedTask, Registry
from embedq.tasks.task import Call, MethodTask, Task
from embedq.testing.enqueued import EnqueuedJob, KeptOutCall, call_text

# A moment that a test and its app compute one after the other differs by some microseconds.
TOLERANCE = timedelta(seconds=1)
COMPARED_OPTIONS = ("queue", "priority", "tags", "idempotency_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedJob:
    """The jobs that a test expects.

    Attributes:
        function: None for a name that no function here has; then arguments are compared as they are given.
        options: those of `task.options(…)`; None is any.
        delay, moment: when it is due: so long after its enqueue, or then; None is any time.
    """

    name: str
    function: Callable[..., Any] | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Options = NO_OPTIONS
    delay: timedelta | None = None
    moment: datetime | None = None

    def __str__(self) -> str:
        parts = [call_text(self.name, self.args, self.kwargs)]
        parts += [f"{name} {value!r}" for name, value in _given(self.options).items()]
        if self.delay is not None:
            parts.append(f"due {self.delay} later")
        if self.moment is not None:
            parts.append(f"due at {self.moment.isoformat()}")
        return "  ".join(parts)

    def differences(self, job: EnqueuedJob | KeptOutCall) -> list[str] | None:
        """Return how a job differs, in words; None if it has another function."""
        differing = self.call_differences(job.name, job.args, job.kwargs)
        if differing is None:
            return None
        for name, option in _given(self.options).items():
            own = getattr(job, name)
            if not (set(option) <= set(own) if name == "tags" else option == own):
                differing.append(f"{name} is {own!r}")
        if self.delay is not None and abs(job.run_at - job.enqueued_at - self.delay) > TOLERANCE:
            differing.append(f"it is due {job.run_at - job.enqueued_at} later")
        if self.moment is not None and abs(job.run_at - self.moment) > TOLERANCE:
            differing.append(f"it is due at {job.run_at.isoformat()}")
        return differing

    def call_differences(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str] | None:
        """`differences` of the call alone."""
        if name != self.name:
            return None
        found = self.bound(args, kwargs, whole=True)
        return [
            f"{name} is {found[name]!r}" if name in found else f"{name} is not there"
            for name, value in self.bound(self.args, self.kwargs).items()
            if name not in found or value != found[name]
        ]

    def bound(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, whole: bool = False) -> dict[str, Any]:
        """Each argument under its parameter's name, defaults too if `whole`. TypeError if they do not fit."""
        if (signature := _signature(self.function)) is None:
            return {**{f"argument {place}": value for place, value in enumerate(args, 1)}, **kwargs}
        bound = signature.bind_partial(*args, **kwargs)
        if whole:
            bound.apply_defaults()
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                named.update({f"{name}[{place}]": one for place, one in enumerate(value)})
            elif kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            else:
                named[name] = value
        return named


def expected_job(
    registry: Registry,
    function: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    delay: timedelta | None = None,
    moment: datetime | None = None,
) -> ExpectedJob:
    """Return the job that a test expects.

    Args:
        function: a function, a task, `task.options(…)`, a call, or the name of a job.
    Raises:
        TypeError: the arguments do not fit the function, so no job could have them.
        ValueError: an option that a stored job does not show.
    """
    if isinstance(function, Call):
        args, kwargs, function = (*function.args, *args), {**function.kwargs, **kwargs}, function.task
    if isinstance(function, MethodTask):
        args, function = (function.instance, *args), function.method
    if isinstance(function, str | NamedTask):
        name, options = (function, NO_OPTIONS) if isinstance(function, str) else (function.name, function.overrides)
        known = registry.get(name)
        target = None if known is None else known.function
    else:
        task: Task[..., Any] = registry.wrap(function)
        name, target, options = task.name, task.function, task.overrides
    unseen = sorted(item.name for item in fields(options) if getattr(options, item.name) is not None)
    unseen = [option for option in unseen if option not in COMPARED_OPTIONS]
    if unseen:
        raise ValueError(f"{', '.join(unseen)} cannot be compared; these can: {', '.join(COMPARED_OPTIONS)}")
    expected = ExpectedJob(
        name=name, function=target, args=args, kwargs=kwargs, options=options, delay=delay, moment=moment
    )
    try:
        expected.bound(args, kwargs)
    except TypeError as error:
        raise TypeError(f"no job can be {expected}: {error}") from None
    return expected


def _given(options: Options) -> dict[str, Any]:
    return {name: getattr(options, name) for name in COMPARED_OPTIONS if getattr(options, name) is not None}


def _signature(function: Callable[..., Any] | None) -> inspect.Signature | None:
    try:
        return None if function is None else inspect.signature(function)
    except (TypeError, ValueError):
        return None


def missing(expected: ExpectedJob, jobs: Sequence[EnqueuedJob], kept_out: Sequence[KeptOutCall] = ()) -> str:
    """The message of a failed search: what was enqueued instead, the nearest first, and in what it differs."""
    if not jobs:
        return f"no job {expected} was enqueued; none was at all"
    alike = [(job, differences) for job in jobs if (differences := expected.differences(job))]
    others = [job for job in jobs if expected.differences(job) is None]
    lines = [f"no job {expected} was enqueued."]
    calls = [call for call in kept_out if expected.differences(call) == []]
    if calls:
        lines += ["These calls made no job of their own:", *_lines(calls)]
    if alike:
        lines.append("These are other jobs of that function:")
        lines += [line for job, told in alike for line in (f"  {job.id}  {job}", f"       {', '.join(told)}")]
    if others:
        lines.append("These were enqueued besides:" if alike or calls else "These were:")
        lines += listing(others)
    return "\n".join(lines)


def not_kept_out(expected: ExpectedJob, jobs: Sequence[EnqueuedJob], kept_out: Sequence[KeptOutCall]) -> str:
    """The message of a search for a call that made no job of its own."""
    lines = [f"no call {expected} was kept out" + ("." if kept_out else "; none was at all.")]
    if kept_out:
        lines += ["These were:", *_lines(kept_out)]
    own = [job for job in jobs if expected.differences(job) == []]
    if own:
        lines += ["These jobs match:", *listing(own)]
    return "\n".join(lines)


def _lines(calls: Sequence[KeptOutCall], most: int = 30) -> list[str]:
    lines = [f"  {call}" for call in calls[:most]]
    return lines if len(calls) <= most else [*lines, f"  … and {len(calls) - most:,} more"]


def unwelcome(expected: ExpectedJob, found: Sequence[EnqueuedJob]) -> str:
    """The message of a search that should have found nothing."""
    return "\n".join([f"{expected} was enqueued, and should not have been:", *listing(found)])


def listing(jobs: Sequence[EnqueuedJob], most: int = 30) -> list[str]:
    """A line for each job, up to `most` of them."""
    lines = [f"  {job.id}  {job}" for job in jobs[:most]]
    return lines if len(jobs) <= most else [*lines, f"  … and {len(jobs) - most:,} more"]

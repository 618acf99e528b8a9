"""The misfire policy: what happens to occurrences of a schedule that were missed because no process was running.

`Misfire` is the policy and `plan_fires` the decision: from what is due it returns what to enqueue, and accounts for the
rest. It has no effects; the code that fires the schedule writes the decision.

    skip         an occurrence that is late by more than its grace (60 s) is skipped; each that is on time runs
    once         of all that are due the latest runs, and the others are merged into it
    all(max=n)   each that is due runs, and of more than n the latest n

However long the downtime, a plan is bounded: at most 10,000 fires, and a line or two for all the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast, get_args

from embedq.clock import SECOND
from embedq.errors import ScheduleError
from embedq.scheduling.schedule import Schedule

Policy = Literal["skip", "once", "all"]
DEFAULT_MAX = 100
MOST_FIRES = 10_000
COUNTED_AT_MOST = 1_000
"""How many skipped occurrences of a `Cron` are counted one by one."""

# A change of leaders takes some seconds, and is not a misfire.
_DEFAULT_SKIP_GRACE = timedelta(seconds=60)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfire:
    """How to treat occurrences that are due when some of them are late.

    Args:
        policy: "skip", "once" or "all".
        max: how many run at most, for "all" only; 1 to 10,000.
        grace: an occurrence that is later than this does not run. None is 60 s for "skip", and no limit for the others.
    Raises:
        ScheduleError: one of them is invalid.
    """

    policy: Policy = "once"
    max: int = DEFAULT_MAX
    grace: timedelta | None = None

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ScheduleError(
                f"{self.policy!r} is not a misfire policy; use 'skip', 'once', 'all' or catch_up(max=n)"
            )
        if not isinstance(self.max, int) or not 1 <= self.max <= MOST_FIRES:
            raise ScheduleError(f"max is how many late runs there may be, from 1 to {MOST_FIRES}, not {self.max!r}")
        if self.max != DEFAULT_MAX and self.policy != "all":
            raise ScheduleError(f"max goes with the policy 'all', not with {self.policy!r}; use catch_up({self.max})")
        if self.grace is not None and not isinstance(self.grace, timedelta):
            raise ScheduleError(f"grace={self.grace!r} must be a timedelta, such as timedelta(minutes=5)")
        if self.grace is not None and self.grace < timedelta(0):
            raise ScheduleError(f"grace is how late a run may be, so it cannot be negative ({self.grace})")

    @property
    def limit(self) -> int:
        """How many occurrences run at most."""
        return {"skip": MOST_FIRES, "once": 1, "all": self.max}[self.policy]

    @property
    def effective_grace(self) -> timedelta | None:
        """`grace`, or the policy's own; None is no limit."""
        return _DEFAULT_SKIP_GRACE if self.grace is None and self.policy == "skip" else self.grace


def catch_up(max: int = DEFAULT_MAX, *, grace: timedelta | None = None) -> Misfire:
    """The policy "all": each missed occurrence runs, the latest `max` of them."""
    return Misfire(policy="all", max=max, grace=grace)


def parse_misfire(value: str | Misfire, grace: timedelta | None = None) -> Misfire:
    """Return the policy that a user gave: its name, or a `Misfire`, which includes the grace.

    Raises:
        ScheduleError: it is not a policy, or the grace is given twice.
    """
    if not isinstance(value, Misfire):
        return Misfire(policy=cast(Policy, value), grace=grace)
    if grace is not None:
        raise ScheduleError(f"misfire is a Misfire already; give it the grace: Misfire(..., grace={grace!r})")
    return value


def misfire_to_text(misfire: Misfire) -> str:
    """Return the policy as JSON, the same text for equal policies."""
    stored: dict[str, str | int] = {"policy": misfire.policy}
    if misfire.policy == "all":
        stored["max"] = misfire.max
    if misfire.grace is not None:
        stored["grace_micros"] = misfire.grace // _MICROSECOND
    return json.dumps(stored, separators=(",", ":"), sort_keys=True)


def misfire_from_text(text: str) -> Misfire:
    """What `misfire_to_text` wrote.

    Raises:
        ScheduleError: the text is something else.
    """
    try:
        stored = json.loads(text)
        grace = timedelta(microseconds=stored["grace_micros"]) if "grace_micros" in stored else None
        return Misfire(policy=stored["policy"], max=stored.get("max", DEFAULT_MAX), grace=grace)
    except ScheduleError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise ScheduleError(f"not a stored misfire policy: {text!r}; was it written by a newer embedq?") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """Consecutive occurrences that were due and are not fired.

    Attributes:
        first: the first of them, in microseconds since the epoch, UTC; `last` is the last, and may be the same.
        count: how many there are from `first` to `last`, or at least.
        capped: there are more than `count`; they were not all counted.
        reason: why, in a few words for people.
    """

    first: int
    last: int
    count: int
    capped: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirePlan:
    """The decision about a schedule.

    Attributes:
        fires: the occurrences to enqueue, ascending, in microseconds since the epoch, UTC.
        passed: the others that were due, in order.
        next_fire_at: the first occurrence that is not due yet.
    """

    fires: tuple[int, ...]
    passed: tuple[PassedOver, ...]
    next_fire_at: int


def plan_fires(schedule: Schedule, misfire: Misfire, *, next_fire_at: int, now: int) -> FirePlan:
    """Decide about the occurrences from `next_fire_at` to `now`, both included.

    When the clock has stepped back, to before `next_fire_at`, nothing is due and nothing changes. What had fired is
    not fired again.

    Raises:
        ScheduleError: the schedule has no further occurrence.
    """
    if now < next_fire_at:
        return FirePlan(fires=(), passed=(), next_fire_at=next_fire_at)
    grace = misfire.effective_grace
    in_time_from = next_fire_at if grace is None else max(next_fire_at, now - grace // _MICROSECOND)
    fires = _latest(schedule, in_time_from, now, misfire.limit)
    passed = [*_pass_over(schedule, next_fire_at, in_time_from - 1, _too_late(misfire))]
    if fires:
        passed += _pass_over(schedule, in_time_from, fires[0] - 1, _too_many(schedule, misfire, fires[0]))
    return FirePlan(fires=fires, passed=tuple(passed), next_fire_at=schedule.next_micros(now))


def _latest(schedule: Schedule, first: int, last: int, limit: int) -> tuple[int, ...]:
    """Return the latest `limit` occurrences from `first` to `last`, found from the end."""
    found: list[int] = []
    if schedule.next_micros(first - 1) <= last:
        occurrence = schedule.previous_micros(last + 1)
        while occurrence >= first:
            found.append(occurrence)
            if len(found) == limit:
                break
            occurrence = schedule.previous_micros(occurrence)
    return tuple(reversed(found))


def _pass_over(schedule: Schedule, first: int, last: int, reason: str) -> Iterator[PassedOver]:
    """Return one line for the occurrences from `first` to `last`, or none if there are none."""
    begin = schedule.next_micros(first - 1)
    if begin <= last:
        count, capped = schedule.count(begin, last, limit=COUNTED_AT_MOST)
        end = schedule.previous_micros(last + 1)
        yield PassedOver(first=begin, last=end, count=count, capped=capped, reason=reason)


def _too_late(misfire: Misfire) -> str:
    grace = misfire.effective_grace
    return "" if grace is None else f"missed by more than {_seconds(grace)} s (policy: {misfire.policy})"


def _too_many(schedule: Schedule, misfire: Misfire, first_fire: int) -> str:
    if misfire.policy == "once":
        return f"merged into the run at {schedule.at(first_fire).isoformat()}"
    return f"more than {misfire.limit} were due (policy: {misfire.policy})"


def _seconds(duration: timedelta) -> str:
    whole, micros = divmod(duration // _MICROSECOND, SECOND)
    return f"{whole}.{micros:06}".rstrip("0") if micros else str(whole)

"""Whether a failed job runs again, and when.

A `Retry` consists of tenacity's own strategies. `decide` evaluates them between processes: it builds tenacity's
`RetryCallState` from the job's row, calls the strategies in tenacity's order (retry, wait, stop), and has no effects.
retry_json.py stores a policy that was given for one job only in its row.

The surprise: `attempts` and `stop` both apply, and whichever comes first ends the job. Pass `attempts=None` for a
`stop` that should decide alone.
"""

from __future__ import annotations

import math
import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from embedq.clock import SECOND, to_seconds
from embedq.errors import ConfigurationError, Discard, JobTimeout
from embedq.process import faults

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.retry import RetryBaseT
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

FIRST_WAIT_SECONDS = 15.0
LAST_WAIT_SECONDS = 3600.0
LONGEST_WAIT_SECONDS = 366 * 24 * 3600.0

_JITTER = 1.25

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed job runs again.

    Attributes:
        attempts: the most runs there may be, the first included; None for no limit.
        wait: a tenacity wait strategy, such as `wait_exponential(min=1, max=600)`. None: `default_wait_seconds`.
        stop: a tenacity stop strategy, such as `stop_after_delay(timedelta(days=2))`, counted from the first start.
        retry: a tenacity retry strategy, such as `retry_if_exception_message(match="busy")`. Instead of `retry_on`.
        retry_on: the exceptions that are worth another run. Empty: every `Exception`, a timeout, and asyncio's
            CancelledError if the job was not cancelled.
        discard_on: the exceptions that end the job at once; they win over `retry_on` and `retry`.
    Raises:
        ConfigurationError: an invalid setting.
    """

    attempts: int | None = 10
    wait: WaitBaseT | None = None
    stop: StopBaseT | None = None
    retry: RetryBaseT | None = None
    retry_on: tuple[type[BaseException], ...] = ()
    discard_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts is not None and (type(self.attempts) is not int or self.attempts < 1):
            raise ConfigurationError(
                f"attempts={self.attempts!r}: it counts runs, so it must be 1 or more, or None for no limit"
            )
        _require_strategy("wait", self.wait, "tenacity.wait_fixed(60)")
        _require_strategy("stop", self.stop, "tenacity.stop_after_delay(3600)")
        _require_strategy("retry", self.retry, "tenacity.retry_if_exception_type(OSError)")
        _require_exceptions("retry_on", self.retry_on)
        _require_exceptions("discard_on", self.discard_on)
        if self.retry is not None and self.retry_on:
            raise ConfigurationError("retry and retry_on decide the same thing; give one of them")
        for kind in self.retry_on:
            if kind in self.discard_on:
                raise ConfigurationError(f"{kind.__qualname__} is in both retry_on and discard_on; keep one")
        most = getattr(self.stop, "max_attempt_number", None)
        if self.attempts is not None and isinstance(most, int) and most > self.attempts:
            raise ConfigurationError(
                f"stop_after_attempt({most}) is never reached with attempts={self.attempts}; "
                f"give attempts={most}, and no stop"
            )


def _require_strategy(name: str, value: Any, example: str) -> None:
    if value is not None and (isinstance(value, type) or not callable(value)):
        raise ConfigurationError(f"{name}={value!r} is not a tenacity strategy; give one such as {example}, or None")


def _require_exceptions(name: str, kinds: Any) -> None:
    sound = isinstance(kinds, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
    )
    if not sound:
        raise ConfigurationError(f"{name}={kinds!r} must be a tuple of exception types, such as (ValueError,)")


NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """The decision after a failed run.

    Attributes:
        retry_at: when the next run is due, in microseconds since the epoch; None when the job is dead.
        wait_seconds: from the failure to the next run; 0.0 when the job is dead.
        reason: one line for people.
    """

    retry_at: int | None
    wait_seconds: float
    reason: str


def default_wait_seconds(attempt: int) -> float:
    """Return the wait after a failed run: min(15 · 2^(attempt - 1), 2880) seconds, times a random 1 to 1.25.

    So the first is from 15 s to 19 s, each is about twice the one before, and none is longer than an hour. The random
    part keeps jobs that failed together from coming back together.
    """
    # From the ninth on the cap applies, so larger powers need not be computed.
    steady = FIRST_WAIT_SECONDS * 2.0 ** min(attempt - 1, 8)
    return min(steady, LAST_WAIT_SECONDS / _JITTER) * random.uniform(1.0, _JITTER)


def decide(
    policy: Retry,
    *,
    attempt: int,
    first_started_at: int,
    now: int,
    error: BaseException,
    slept: float,
) -> RetryDecision:
    """Decide about a job whose run number `attempt` has just ended with `error`.

    `Discard` makes the job dead at once, and `tenacity.TryAgain` retries it regardless of `retry`, as in tenacity. A
    strategy that raises, or returns something other than seconds, does not lose the job: the default replaces it, and
    the reason states it. Waits are limited to a year. No error makes this raise, whatever code of its own it has.

    Args:
        first_started_at: when run 1 began; `stop_after_delay` counts from here to `now`.
        now: when run `attempt` ended; both in microseconds since the epoch.
        slept: the seconds between runs so far (tenacity's `idle_for`).
    """
    refusal = _refusal(policy, error)
    if refusal:
        return _dead(refusal)
    strategies = _Strategies(
        policy, attempt=attempt, elapsed=(now - first_started_at) / SECOND, error=error, slept=slept
    )
    if not strategies.want_retry():
        return _dead(f"{faults.name_of(error)} is not retried by this policy")
    wait = strategies.wait_seconds()
    if policy.attempts is not None and attempt >= policy.attempts:
        return _dead(f"attempts spent ({policy.attempts}){strategies.faults}")
    if strategies.stop():
        return _dead(f"the policy's stop ended it after attempt {attempt}{strategies.faults}")
    left = "" if policy.attempts is None else f"{policy.attempts - attempt} more to go, "
    return RetryDecision(
        retry_at=now + round(wait * SECOND),
        wait_seconds=wait,
        reason=f"{left}next in {_brief(wait)}{strategies.faults}",
    )


def _dead(reason: str) -> RetryDecision:
    return RetryDecision(retry_at=None, wait_seconds=0.0, reason=reason)


def _brief(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{max(seconds, 0.0):.1f} s"


def _said(error: BaseException) -> str:
    """Return type and message, also of an error whose `__str__` fails."""
    try:
        return "".join(traceback.format_exception_only(error)).strip()
    except BaseException:
        return faults.name_of(error)


def _refusal(policy: Retry, error: BaseException) -> str | None:
    """Return why this error ends the job before any strategy is called; None if it does not."""
    name = faults.name_of(error)
    if faults.is_a(error, Discard):
        return "discarded by the job"
    if _is_try_again(error):
        return None
    if _matches(error, policy.discard_on):
        return f"{name} is in discard_on"
    if policy.retry is not None:
        return None
    if policy.retry_on:
        return None if _matches(error, policy.retry_on) else f"{name} is not in retry_on"
    return None if faults.is_ordinary(error) or faults.is_a(error, JobTimeout) else f"{name} is not an Exception"


def _matches(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    if faults.is_a(error, kinds):
        return True
    try:
        # For classes with an `__instancecheck__` of their own (retry_json.py).
        return isinstance(error, kinds)
    except BaseException:
        return False


def _is_try_again(error: BaseException) -> bool:
    # The code that raised it has imported tenacity; without it, there is no need to import it here.
    tenacity = sys.modules.get("tenacity")
    return faults.is_a(error, getattr(tenacity, "TryAgain", ()))


class _Strategies:
    """A policy's strategies for one failure. One that raises is replaced by the default, and named in `faults`."""

    def __init__(self, policy: Retry, *, attempt: int, elapsed: float, error: BaseException, slept: float) -> None:
        self._policy = policy
        self._attempt = attempt
        self._error = error
        self.faults = ""
        if any(strategy is not None for strategy in (policy.wait, policy.stop, policy.retry)):
            self._state = _call_state(policy, attempt, max(elapsed, 0.0), error, slept)

    def want_retry(self) -> bool:
        if self._policy.retry is None or _is_try_again(self._error):
            return True
        return self._ask("retry", self._policy.retry, read=bool, otherwise=True)

    def wait_seconds(self) -> float:
        wait = None
        if self._policy.wait is not None:
            wait = self._ask("wait", self._policy.wait, read=_readable_wait, otherwise=None)
        if wait is None:
            wait = default_wait_seconds(self._attempt)
        if self._policy.stop is not None:
            # stop_before_delay reads it.
            self._state.upcoming_sleep = wait
        return wait

    def stop(self) -> bool:
        if self._policy.stop is None:
            return False
        return self._ask("stop", self._policy.stop, read=bool, otherwise=False)

    def _ask(self, name: str, strategy: Callable[..., Any], *, read: Callable[[Any], T], otherwise: D) -> T | D:
        try:
            return read(strategy(self._state))
        except BaseException as error:
            # Raised by the strategy itself, or by code of the error that it inspected.
            self.faults += f" (the policy's {name} failed, the default was used: {_said(error)})"
            return otherwise


def _call_state(policy: Retry, attempt: int, elapsed: float, error: BaseException, slept: float) -> RetryCallState:
    """Return the state that tenacity's own loop would have now, if it had slept in one process all the time."""
    from tenacity import Future, RetryCallState, Retrying

    given = {"wait": policy.wait, "stop": policy.stop, "retry": policy.retry}
    retrying = Retrying(**{name: strategy for name, strategy in given.items() if strategy is not None})  # type: ignore[arg-type]
    state = RetryCallState(retrying, fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    # Only their difference has a meaning. From zero, it is exact.
    state.start_time = 0.0
    state.outcome_timestamp = elapsed
    state.idle_for = slept
    state.outcome = Future.construct(attempt, error, has_exception=True)
    return state


def _readable_wait(answer: Any) -> float:
    seconds = to_seconds(answer)
    if math.isnan(seconds):
        raise ValueError("it returned nan")
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)

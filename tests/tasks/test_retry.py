"""Retry policies: tenacity's strategies decide between processes as they would in one loop."""

import inspect
import json
import random
import subprocess
import sys
from datetime import timedelta
from typing import Any, cast

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import (
    retry_any,
    retry_if_exception,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_any,
    stop_before_delay,
    stop_never,
    wait_chain,
    wait_combine,
    wait_exponential,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)

from embedq.clock import SECOND
from embedq.errors import ConfigurationError, Discard, JobTimeout
from embedq.tasks.retry import (
    LONGEST_WAIT_SECONDS,
    NO_RETRY,
    Retry,
    decide,
    default_wait_seconds,
)
from embedq.tasks.retry_json import retry_from_json, retry_to_json

START = 1_800_000_000 * SECOND
# Of tenacity 9.1.3.
WAIT_EXCEPTION = [strategy] if (strategy := getattr(tenacity, "wait_exception", None)) else []


def exponential_jitter(multiplier: Any, **numbers: Any) -> Any:
    """tenacity's strategy, by the name that its first number has in the version at hand."""
    factory = tenacity.wait_exponential_jitter
    name = "multiplier" if "multiplier" in inspect.signature(factory).parameters else "initial"
    return factory(**{name: multiplier}, **numbers)


class PaymentError(Exception):
    class CardError(Exception):
        pass


def after(policy: Any, *, attempt: int = 1, elapsed: float = 0.0, error: Any = None, slept: float = 0.0) -> Any:
    """The decision after run `attempt` failed, `elapsed` seconds after the first began."""
    now = START + round(elapsed * SECOND)
    return decide(
        policy,
        attempt=attempt,
        first_started_at=START,
        now=now,
        error=error or ValueError("busy: try later"),
        slept=slept,
    )


def waits(policy: Any, attempts: Any) -> Any:
    return [after(policy, attempt=number).wait_seconds for number in range(1, attempts + 1)]


def is_dead(decision: Any) -> Any:
    assert (decision.retry_at is None) == (decision.wait_seconds == 0.0 and "next in" not in decision.reason)
    return decision.retry_at is None


# --- the default


def test_ten_attempts_from_fifteen_seconds_to_an_hour() -> None:
    for attempt in range(1, 10):
        decision = after(Retry(), attempt=attempt)
        base = min(15 * 2 ** (attempt - 1), 2880)
        assert base <= decision.wait_seconds <= base * 1.25
        assert decision.retry_at == START + round(decision.wait_seconds * SECOND)
    assert after(Retry(), attempt=10).reason == "attempts spent (10)"
    assert is_dead(after(Retry(), attempt=11))


@given(st.integers(1, 10**9))
def test_a_default_wait_is_never_under_fifteen_seconds_or_over_an_hour(attempt: Any) -> None:
    assert 15 <= default_wait_seconds(attempt) <= 3600


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    assert len({after(Retry()).retry_at for _ in range(50)}) > 40


def test_the_reason_is_for_people() -> None:
    policy = Retry(attempts=10, wait=wait_fixed(74))
    assert after(policy, attempt=3, elapsed=60).reason == "7 more to go, next in 74 s"
    assert after(Retry(attempts=None, wait=wait_fixed(0.25))).reason == "next in 0.2 s"


def test_the_default_does_not_import_tenacity() -> None:
    script = (
        "import sys\nfrom embedq.tasks.retry import *\nfrom embedq.tasks.retry_json import *\n"
        "decide(Retry(), attempt=1, first_started_at=0, now=1, error=ValueError(), slept=0.0)\n"
        "retry_from_json(retry_to_json(Retry(retry_on=(OSError,))))\n"
        "print([name for name in ('tenacity', 'asyncio', 'cloudpickle') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- which errors


def test_one_attempt_is_no_retry() -> None:
    assert is_dead(after(NO_RETRY))


def test_without_a_limit_it_continues() -> None:
    assert not is_dead(after(Retry(attempts=None), attempt=10**6))


def test_discard_is_dead_at_once() -> None:
    decision = after(Retry(attempts=None, retry_on=(Discard,)), error=Discard("no such user"))
    assert is_dead(decision)
    assert decision.reason == "discarded by the job"


def test_try_again_is_retried_whatever_the_policy_states_of_errors() -> None:
    for policy in (
        Retry(retry_on=(OSError,)),
        Retry(retry=tenacity.retry_never),
        Retry(retry=retry_if_exception_type(OSError), wait=wait_fixed(1)),
    ):
        assert not is_dead(after(policy, error=tenacity.TryAgain()))
        assert is_dead(after(policy, error=ValueError()))
    assert is_dead(after(Retry(attempts=2), attempt=2, error=tenacity.TryAgain()))


def test_discard_on_wins_over_retry_on() -> None:
    policy = Retry(retry_on=(OSError,), discard_on=(FileNotFoundError,))
    assert not is_dead(after(policy, error=ConnectionError()))
    assert after(policy, error=FileNotFoundError()).reason == "FileNotFoundError is in discard_on"
    assert after(policy, error=ValueError()).reason == "ValueError is not in retry_on"
    policy = Retry(retry=tenacity.retry_always, discard_on=(ValueError,))
    assert is_dead(after(policy))


def test_every_exception_and_a_timeout_is_retried_and_an_exit_is_not() -> None:
    assert not is_dead(after(Retry(), error=JobTimeout()))
    assert not is_dead(after(Retry(), error=PaymentError()))
    assert after(Retry(), error=SystemExit(1)).reason == "SystemExit is not an Exception"
    assert not is_dead(after(Retry(retry_on=(SystemExit,)), error=SystemExit(1)))


@pytest.mark.parametrize(
    ("strategy", "retried", "dead"),
    [
        (retry_if_exception_type(OSError), ConnectionError(), ValueError()),
        (retry_if_exception_type((OSError, KeyError)), KeyError(), ValueError()),
        (retry_if_not_exception_type(OSError), ValueError(), ConnectionError()),
        (retry_if_exception(lambda error: error.args == (429,)), ValueError(429), ValueError(404)),
        (retry_if_exception_message(match="busy"), ValueError("busy now"), ValueError("gone")),
        (retry_if_exception_message(message="busy"), ValueError("busy"), ValueError("busy now")),
        (retry_any(retry_if_result(bool), retry_if_exception_type(OSError)), OSError(), ValueError()),
        (retry_if_exception_type(OSError) | retry_if_exception_type(KeyError), KeyError(), ValueError()),
        (retry_if_exception_type(OSError) & retry_if_exception_message(match="b"), OSError("b"), OSError("a")),
        (lambda state: state.outcome.exception().args == (1,), ValueError(1), ValueError(2)),
    ],
)
def test_retry_strategies_of_tenacity(strategy: Any, retried: Any, dead: Any) -> None:
    for policy in (Retry(retry=strategy), Retry(retry=strategy, wait=wait_fixed(1), stop=stop_never)):
        assert not is_dead(after(policy, error=retried))
        assert is_dead(after(policy, error=dead))


def test_a_result_strategy_does_not_hold_of_an_error() -> None:
    assert is_dead(after(Retry(retry=retry_if_result(lambda result: True))))


# --- when


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (wait_fixed(5), [5, 5, 5, 5]),
        (wait_fixed(timedelta(minutes=1)), [60, 60, 60, 60]),
        (wait_none(), [0, 0, 0, 0]),
        (wait_exponential(min=1, max=6), [1, 2, 4, 6]),
        (wait_incrementing(start=10, increment=20, max=45), [10, 30, 45, 45]),
        (wait_chain(wait_fixed(1), wait_fixed(2), wait_fixed(7)), [1, 2, 7, 7]),
        (wait_chain(*[wait_fixed(3)] * 2, wait_exponential()), [3, 3, 4, 8]),
        (wait_fixed(3) + wait_incrementing(start=0, increment=1), [3, 4, 5, 6]),
        (wait_combine(wait_fixed(3), wait_fixed(4)), [7, 7, 7, 7]),
        (exponential_jitter(2, jitter=0), [2, 4, 8, 16]),
        (lambda state: state.attempt_number * 1.5, [1.5, 3.0, 4.5, 6.0]),
        (lambda state: timedelta(hours=1), [3600] * 4),
        *[(strategy(lambda error: 9 if isinstance(error, ValueError) else 0), [9] * 4) for strategy in WAIT_EXCEPTION],
    ],
)
def test_wait_strategies_of_tenacity(strategy: Any, expected: Any) -> None:
    assert waits(Retry(wait=strategy), 4) == expected


@pytest.mark.parametrize(
    ("strategy", "low", "high"),
    [
        (wait_random(2, 5), 2, 5),
        (wait_random_exponential(multiplier=4, max=60), 0, 16),
        (exponential_jitter(8, max=60, jitter=3), 32, 35),
    ],
)
def test_wait_strategies_with_chance_in_them(strategy: Any, low: Any, high: Any) -> None:
    found = [after(Retry(wait=strategy), attempt=3).wait_seconds for _ in range(200)]
    assert low <= min(found) < max(found) <= high
    assert max(found) - min(found) > (high - low) / 2


@pytest.mark.parametrize(
    ("strategy", "attempt", "elapsed", "dead"),
    [
        (stop_after_attempt(3), 2, 0, False),
        (stop_after_attempt(3), 3, 0, True),
        (stop_after_delay(60), 5, 59.999999, False),
        (stop_after_delay(60), 5, 60, True),
        (stop_after_delay(timedelta(days=2)), 1, 172_799.999999, False),
        (stop_after_delay(timedelta(days=2)), 1, 172_800, True),
        (stop_before_delay(60), 1, 49.999999, False),
        (stop_before_delay(60), 1, 50, True),
        (stop_any(stop_after_attempt(3), stop_after_delay(60)), 1, 60, True),
        (stop_after_attempt(3) | stop_after_delay(60), 3, 0, True),
        (stop_after_attempt(3) | stop_after_delay(60), 2, 1, False),
        (stop_all(stop_after_attempt(3), stop_after_delay(60)), 3, 59, False),
        (stop_after_attempt(3) & stop_after_delay(60), 3, 60, True),
        (stop_never, 9, 10**9, False),
        (lambda state: state.idle_for >= 30, 2, 0, True),
    ],
)
def test_stop_strategies_of_tenacity(strategy: Any, attempt: Any, elapsed: Any, dead: Any) -> None:
    policy = Retry(attempts=None, stop=strategy, wait=wait_fixed(10))
    assert is_dead(after(policy, attempt=attempt, elapsed=elapsed, slept=30.0)) == dead


def test_attempts_and_stop_both_apply() -> None:
    policy = Retry(attempts=3, stop=stop_after_delay(60))
    assert not is_dead(after(policy, attempt=2, elapsed=59))
    assert is_dead(after(policy, attempt=2, elapsed=60))
    assert after(policy, attempt=3, elapsed=0).reason == "attempts spent (3)"


def test_a_strategy_sees_the_state_that_tenacitys_own_loop_would_show() -> None:
    seen = {}

    def look(state: Any) -> Any:
        seen["state"] = state
        return 4

    error = ValueError("x")
    after(Retry(wait=look), attempt=3, elapsed=100, error=error, slept=70.0)
    state = seen["state"]
    assert (state.attempt_number, state.seconds_since_start, state.idle_for) == (3, 100.0, 70.0)
    assert state.outcome.failed
    assert state.outcome.exception() is error
    assert state.outcome.attempt_number == 3
    assert state.retry_object.wait is look
    assert (state.fn, state.args, state.kwargs) == (None, (), {})
    assert "attempt #3; slept for 70.0; last result: failed (ValueError x)" in repr(state)


def test_no_state_is_left_from_one_decision_to_the_next() -> None:
    states: list[tenacity.RetryCallState] = []

    def wait(state: tenacity.RetryCallState) -> int:
        states.append(state)
        return 1

    policy = Retry(wait=wait)
    after(policy, attempt=5)
    after(policy, attempt=2)
    assert [state.attempt_number for state in states] == [5, 2]
    assert states[0] is not states[1]


@settings(max_examples=50)
@given(st.integers(1, 8), st.floats(0.1, 5), st.integers(0, 2**32))
def test_decisions_add_up_to_what_a_tenacity_loop_does(attempts: Any, multiplier: Any, seed: Any) -> None:
    slept: list[float] = []
    runs: list[int] = []

    def fail() -> None:
        runs.append(1)
        raise ValueError

    random.seed(seed)
    wait, stop = exponential_jitter(multiplier, max=20), stop_after_attempt(attempts)
    with pytest.raises(tenacity.RetryError):
        tenacity.Retrying(wait=wait, stop=stop, sleep=slept.append)(fail)

    random.seed(seed)
    policy = Retry(attempts=None, wait=wait, stop=stop)
    ours: list[float] = []
    while not is_dead(decision := after(policy, attempt=len(ours) + 1)):
        ours.append(decision.wait_seconds)
    assert ours == slept
    assert len(ours) == len(runs) - 1


# --- strategies that fail


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def fails(state: Any) -> Any:
    raise UnreadableError


@pytest.mark.parametrize(
    "strategy",
    [fails, lambda state: None, lambda state: "soon", lambda state: float("nan"), lambda state: 10**400, lambda: 1],
)
def test_a_wait_that_fails_gives_way_to_the_default(strategy: Any) -> None:
    decision = after(Retry(wait=strategy))
    assert 15 <= decision.wait_seconds <= 18.75
    assert "(the policy's wait failed, the default was used: " in decision.reason
    assert is_dead(after(Retry(attempts=1, wait=strategy)))


def test_a_retry_or_a_stop_that_fails_does_not_lose_the_job() -> None:
    decision = after(Retry(retry=fails, stop=fails, wait=wait_fixed(5)))
    assert decision.wait_seconds == 5
    assert "the policy's retry failed" in decision.reason
    assert "the policy's stop failed" in decision.reason
    assert is_dead(after(Retry(retry=fails, stop=fails), attempt=10))
    assert after(Retry(), error=Discard(UnreadableError())).retry_at is None


@pytest.mark.parametrize(
    ("answer", "wait"), [(-5, 0.0), (float("inf"), LONGEST_WAIT_SECONDS), (1e18, LONGEST_WAIT_SECONDS), (0, 0.0)]
)
def test_a_wait_out_of_bounds_is_cut(answer: Any, wait: Any) -> None:
    decision = after(Retry(wait=lambda state: answer))
    assert decision.wait_seconds == wait
    assert decision.retry_at == START + wait * SECOND


def test_an_exponential_wait_without_a_maximum_can_be_stored() -> None:
    assert after(Retry(attempts=None, wait=wait_exponential()), attempt=5000).retry_at < 2**63


def test_a_clock_that_went_back_is_no_time_passed() -> None:
    assert not is_dead(after(Retry(stop=stop_after_delay(10)), elapsed=-3600))


# --- settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attempts": 0}, "attempts=0: it counts runs"),
        ({"attempts": -1}, "1 or more, or None"),
        ({"attempts": True}, "attempts=True"),
        ({"attempts": 2.0}, "attempts=2.0"),
        ({"wait": 5}, r"wait=5 is not a tenacity strategy; give one such as tenacity.wait_fixed\(60\)"),
        ({"wait": wait_fixed}, "is not a tenacity strategy"),
        ({"stop": 3}, "stop=3 is not"),
        ({"retry": ValueError}, "retry=<class 'ValueError'> is not"),
        ({"retry_on": ValueError}, r"must be a tuple of exception types, such as \(ValueError,\)"),
        ({"retry_on": [ValueError]}, "must be a tuple"),
        ({"discard_on": (ValueError(),)}, "must be a tuple"),
        ({"discard_on": (int,)}, "must be a tuple"),
        ({"retry": retry_if_exception_type(), "retry_on": (OSError,)}, "decide the same thing"),
        ({"retry_on": (OSError,), "discard_on": (OSError,)}, "OSError is in both"),
        ({"stop": stop_after_attempt(20)}, r"stop_after_attempt\(20\) is never reached with attempts=10"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: Any, message: Any) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Retry(**given)


# --- stored policies

numbers = st.integers(0, 1000) | st.floats(0, 1000)
plain_waits = st.one_of(
    st.builds(wait_none),
    st.builds(wait_fixed, numbers | st.timedeltas(timedelta(0), timedelta(days=3))),
    st.builds(wait_incrementing, numbers, numbers, st.just(float("inf")) | numbers),
    st.builds(wait_exponential, numbers, st.floats(1, 1e9), st.integers(1, 5), numbers),
)
stored_waits = st.recursive(
    plain_waits,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: wait_combine(*parts))
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: wait_chain(*parts))
    ),
    max_leaves=6,
)
stored_stops = st.recursive(
    st.just(stop_never)
    | st.builds(stop_after_attempt, st.integers(1, 9))
    | st.builds(stop_after_delay, numbers)
    | st.builds(stop_before_delay, numbers),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: stop_any(*parts))
        | st.lists(inner, max_size=3).map(lambda parts: stop_all(*parts))
    ),
    max_leaves=6,
)
exceptions = st.lists(
    st.sampled_from([ValueError, OSError, KeyError, PaymentError.CardError, SystemExit]), unique=True, max_size=3
).map(tuple)


@st.composite
def policies(draw: Any) -> Any:
    kinds = draw(exceptions)
    return Retry(
        attempts=draw(st.none() | st.integers(9, 100)),
        wait=draw(st.none() | stored_waits),
        stop=draw(st.none() | stored_stops),
        retry_on=kinds,
        discard_on=tuple(kind for kind in draw(exceptions) if kind not in kinds),
    )


@given(
    policies(),
    st.integers(1, 12),
    st.floats(0, 3000),
    st.sampled_from([ValueError, PaymentError.CardError, SystemExit]),
)
def test_a_stored_policy_decides_as_the_one_that_was_stored(
    policy: Any, attempt: Any, elapsed: Any, error: Any
) -> None:
    stored = retry_to_json(policy)
    back = retry_from_json(json.loads(json.dumps(stored), parse_constant=pytest.fail))
    assert retry_to_json(back) == stored

    def decision(policy: Any) -> Any:
        random.seed(1)
        return after(policy, attempt=attempt, elapsed=elapsed, error=error())

    assert decision(back) == decision(policy)


@pytest.mark.parametrize(
    "strategy",
    [
        wait_random(2, 5),
        wait_random_exponential(multiplier=4, max=60),
        exponential_jitter(8, max=60, jitter=3),
        tenacity.wait_full_jitter(max=100) + wait_random(0, 1),
    ],
)
def test_a_stored_wait_with_chance_in_it_draws_the_same(strategy: Any) -> None:
    back = retry_from_json(retry_to_json(Retry(wait=strategy))).wait
    for attempt in range(1, 6):
        random.seed(attempt)
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = attempt
        one = strategy(state)
        random.seed(attempt)
        assert back is not None
        assert back(state) == one


# Strategies that tenacity takes and its types do not name.
three = cast(Any, lambda state: 3)
true = cast(Any, lambda state: True)


@pytest.mark.parametrize(
    "policy",
    [
        Retry(retry=retry_if_exception_type(OSError)),
        Retry(wait=lambda state: 5),
        *[Retry(wait=wait_fixed(1) + strategy(lambda error: 2)) for strategy in WAIT_EXCEPTION],
        Retry(wait=wait_chain(wait_fixed(1), three)),
        Retry(stop=lambda state: True),
        Retry(stop=stop_any(stop_after_attempt(2), true)),
        Retry(wait=type("wait_fixed", (wait_fixed,), {})(3)),
        Retry(wait=wait_exponential(multiplier=True)),
        Retry(retry_on=(type("Local", (Exception,), {}),)),
    ],
)
def test_what_is_not_plain_numbers_belongs_on_the_job(policy: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"declare it on @embedq\.job\(retry=Retry\("):
        retry_to_json(policy)


def test_an_exception_that_is_not_imported_keeps_its_name_and_matches_nothing_else() -> None:
    stored = {"attempts": 3, "retry_on": ["shop.errors:Card.Declined"], "discard_on": ["shop.errors:Gone"]}
    policy = retry_from_json(stored)
    assert retry_to_json(policy) == stored
    assert is_dead(after(policy, error=ValueError()))
    assert "shop.errors" not in sys.modules


def test_an_exception_that_is_imported_after_the_policy_was_read_matches_by_its_name() -> None:
    policy = retry_from_json({"attempts": 3, "retry_on": ["shop.errors:Declined"]})
    declined = type("Declined", (Exception,), {"__module__": "shop.errors"})
    assert not is_dead(after(policy, error=declined()))
    assert not is_dead(after(policy, error=type("Sub", (declined,), {})()))
    assert is_dead(after(policy, error=type("Declined", (Exception,), {"__module__": "other"})()))


@pytest.mark.parametrize("name", ["os:system", "os:environ", "builtins:int", "builtins:exec", ":", "", "\ud800:\x00x"])
def test_a_name_that_is_no_exception_is_an_unknown_one(name: Any) -> None:
    try:
        policy = retry_from_json({"attempts": 3, "retry_on": [name]})
    except ConfigurationError:
        return
    assert is_dead(after(policy))


@pytest.mark.parametrize(
    "stored",
    [
        *(None, [], 3, "text", {}, {"attempts": 0}, {"attempts": "3"}, {"attempts": 3, "retry_on": 3}),
        {"attempts": 3, "retry_on": [3]},
        {"attempts": 3, "wait": 3},
        {"attempts": 3, "wait": ["wait_fixed"]},
        {"attempts": 3, "wait": ["wait_fixed", {}]},
        {"attempts": 3, "wait": ["wait_fixed", {"wait": "5"}]},
        {"attempts": 3, "wait": ["wait_exception", {"predicate": 1}]},
        {"attempts": 3, "wait": ["os", {}]},
        {"attempts": 3, "wait": ["sleep", {"seconds": 1000}]},
        {"attempts": 3, "wait": ["stop_never", {}]},
        {"attempts": 3, "stop": ["wait_none", {}]},
        {"attempts": 3, "wait": ["wait_combine", [["stop_never", {}]]]},
        {"attempts": 3, "wait": ["wait_chain", []]},
    ],
)
def test_a_policy_that_is_not_readable_reports_it(stored: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        retry_from_json(stored)


def test_a_policy_that_is_nested_too_deep_is_not_readable() -> None:
    stop: list[Any] = ["stop_never", {}]
    for _ in range(5000):
        stop = ["stop_any", [stop]]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        retry_from_json({"attempts": 3, "stop": stop})

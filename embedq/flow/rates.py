"""The arithmetic of rates: the generic cell rate algorithm (GCRA), in whole microseconds.

One number is kept: the *theoretical arrival time* (`tat`), up to which all starts are given away. Each start moves it
on by `per / count`. With a burst of b, at most count + b - 1 starts fall into any half-open window of `per`.
"""

from __future__ import annotations

from embedq.clock import SECOND
from embedq.errors import ConfigurationError


def interval(count: int, per: float) -> int:
    """Return the microseconds between two starts, rounded up."""
    return -(-round(per * SECOND) // count)


def grantable(tat: int, now: int, *, interval: int, burst: int, most: int) -> int:
    """Return how many starts are allowed at this moment, `most` at most."""
    ahead = max(0, tat - now)
    return max(0, min(most, burst - -(-ahead // interval)))


def spent(tat: int, now: int, starts: int, *, interval: int) -> int:
    """Return the theoretical arrival time after so many starts."""
    return max(tat, now) + starts * interval


def next_at(tat: int, *, interval: int, burst: int) -> int:
    """Return the moment at which the next start is allowed."""
    return tat - (burst - 1) * interval


def check_rate(count: object, per: object, burst: object) -> None:
    """Raise ConfigurationError for values that cannot work."""
    for name, value in (("count", count), ("burst", burst)):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000_000:
            raise ConfigurationError(f"{name}={value!r} of a Rate must be a whole number, 1 or more")
    if not isinstance(per, int | float) or isinstance(per, bool) or not 0.001 <= per <= 1e9:
        raise ConfigurationError(f"per={per!r} of a Rate must be seconds, such as Rate(60, per=60) for 60 a minute")

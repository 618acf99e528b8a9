"""Throttling of failed logins, with a growing delay, and of repeated log lines. Counted per process.

Wrong passwords are counted per address (`FailedLogins`), so that one client does not slow down another, and in total
(`TotalFailures`), so that an attacker gains little from many addresses.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

# The first failures cause no delay; each further one doubles it, up to a minute.
FREE_FAILURES = 10
MAX_DELAY_SECONDS = 60.0
# From all addresses together: this many at once, then one a minute.
FREE_FAILURES_IN_TOTAL = 200
# Failures are forgotten after this many seconds without another.
EXPIRY_SECONDS = 600.0
# Keys come from requests; beyond this number the oldest are dropped.
MAX_KEYS = 1_000


@dataclass(slots=True)
class _Failures:
    number: int = 0
    last: float = 0.0


class FailedLogins:
    """Counts failed logins per group of clients, such as those of one address."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failures] = {}
        self._lock = threading.Lock()

    def delay(self, group: str, now: float) -> float:
        """Return the seconds until the group may try again; 0.0 for now."""
        with self._lock:
            failures = self._failures.get(group)
            if failures is None or failures.number <= FREE_FAILURES or now - failures.last >= EXPIRY_SECONDS:
                return 0.0
            return max(
                0.0, failures.last + min(MAX_DELAY_SECONDS, 2.0 ** min(30, failures.number - FREE_FAILURES)) - now
            )

    def record(self, group: str, now: float) -> int:
        """Count a failure; return how many the group has."""
        with self._lock:
            # Ordered by time: the latest is last.
            failures = self._failures.pop(group) if group in self._failures else _Failures()
            self._failures[group] = failures
            while len(self._failures) > MAX_KEYS:
                del self._failures[next(iter(self._failures))]
            if now - failures.last >= EXPIRY_SECONDS:
                failures.number = 0
            failures.number += 1
            failures.last = now
            return failures.number

    def reset(self, group: str) -> None:
        """Forget the group's failures."""
        with self._lock:
            self._failures.pop(group, None)


class TotalFailures:
    """Limits the failed logins of all clients together (a leaky bucket).

    Attributes:
        number: failures so far.
    """

    def __init__(self) -> None:
        self.number = 0
        self._spent = 0.0
        self._last = 0.0
        self._lock = threading.Lock()

    def delay(self, now: float) -> float:
        """Return the seconds until another attempt is allowed; 0.0 for now."""
        with self._lock:
            return max(0.0, (self._spent_at(now) + 1 - FREE_FAILURES_IN_TOTAL) * MAX_DELAY_SECONDS)

    def record(self, now: float) -> int:
        """Count a failure; return how many there were so far."""
        with self._lock:
            self._spent, self._last = min(self._spent_at(now) + 1, FREE_FAILURES_IN_TOTAL), now
            self.number += 1
            return self.number

    def _spent_at(self, now: float) -> float:
        return max(0.0, self._spent - max(0.0, now - self._last) / MAX_DELAY_SECONDS)


class RateLimiter:
    """Limits how often something happens for each key, such as a log line."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def allows(self, key: str, now: float, *, seconds: float) -> bool:
        """Return whether `seconds` have passed since the key was last allowed; if so, restart the interval."""
        with self._lock:
            last = self._last.get(key)
            if last is not None and 0 <= now - last < seconds:
                return False
            self._last.pop(key, None)
            self._last[key] = now
            while len(self._last) > MAX_KEYS:
                del self._last[next(iter(self._last))]
            return True


def group_of(address: str) -> str:
    """Return the key of an address: for IPv6 its /64 network, which usually belongs to one client."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))

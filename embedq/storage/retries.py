"""Time limits of statements, and the repetition of transactions that fail for reasons outside them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from embedq.errors import EmbedqError
from embedq.storage.driver import ErrorKind

T = TypeVar("T")

# How often a transaction is repeated after conflicts with others.
CONFLICTS = 20
LONGEST_PAUSE = 1.0
# A failure that takes this long shows that the server hangs; no thread tries it then, for at most so long.
LONG_TRY_SECONDS = 1.0
LONGEST_SILENCE_SECONDS = 5.0
LONGEST_LOCK_SECONDS = 20.0
# How long a server may take for a statement that waits for no lock.
SLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a statement may take.

    Attributes:
        lock_seconds: for a row that another transaction has locked. The application may lock one for as long as its
            transaction is open, and may itself be waiting for embedq.
        answer_seconds: for any answer; after that the connection is closed.
    """

    lock_seconds: float
    answer_seconds: float

    @classmethod
    def of(cls, busy_timeout: float) -> Timeouts:
        """Return the timeouts of an app."""
        lock_seconds = min(LONGEST_LOCK_SECONDS, max(1.0, busy_timeout))
        return cls(lock_seconds, max(busy_timeout, lock_seconds + SLOW_SECONDS))

    @classmethod
    def within(cls, limit: float) -> Timeouts:
        """Return timeouts with which nothing takes longer than `limit` seconds."""
        return cls(0.8 * limit, limit)


# A change of the schema may take any time.
UNLIMITED = Timeouts(LONGEST_LOCK_SECONDS, math.inf)


class Retries:
    """Runs transactions, and repeats them after conflicts and while the server is unavailable.

    After an outage of `busy_timeout` each further call tries once. A server that hangs takes long to fail; for a while
    after such a failure, calls raise the same error without trying.

    Args:
        busy_timeout: how long a server that cannot be reached is waited for, from when it went away.
        trouble: what an error means.
        lost: called when a connection was, before the next try.
    """

    def __init__(
        self, busy_timeout: float, *, classify: Callable[[Exception], ErrorKind], lost: Callable[[], None]
    ) -> None:
        self._busy_timeout = busy_timeout
        self._classify = classify
        self._lost = lost
        # When the outage began (monotonic), the error of the last attempt that hung, and until when it is raised again.
        self._unavailable_since: float | None = None
        self._last_error: Exception | None = None
        self._silent_until = 0.0

    def run(self, action: Callable[[], T]) -> T:
        """Return the action's result; raise its last error once it is not to be repeated."""
        last_error = self._last_error
        if last_error is not None and time.monotonic() < self._silent_until:
            raise last_error.with_traceback(None)
        # During a known outage connections are new. Otherwise one may have been closed while it was idle, and the
        # action is repeated on a new one.
        conflicts, tries, known = 0, 0, self._unavailable_since is not None
        while True:
            began = time.monotonic()
            try:
                result = action()
                self._unavailable_since = self._last_error = None
                return result
            except EmbedqError:
                raise
            except Exception as error:
                kind = self._classify(error)
                if kind is ErrorKind.PERMANENT:
                    raise
                if kind is ErrorKind.CONFLICT:
                    conflicts += 1
                    if conflicts > CONFLICTS:
                        raise
                    time.sleep(random.random() * 0.01 * conflicts)
                    continue
                if self._waited_long_enough(error, began) and (tries or known):
                    raise
            self._lost()
            time.sleep(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.02 * 2**tries) if tries else 0.0)
            tries += 1

    def _waited_long_enough(self, error: Exception, began: float) -> bool:
        """Note that an attempt found the server unavailable; return whether the outage has lasted long enough."""
        now = time.monotonic()
        if self._unavailable_since is None:
            self._unavailable_since = began
        if now - self._unavailable_since <= self._busy_timeout:
            return False
        took = now - began
        if took >= LONG_TRY_SECONDS:
            self._last_error, self._silent_until = error, now + min(took, LONGEST_SILENCE_SECONDS)
        return True

"""How long a server is waited for, and how often a transaction is tried."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from embedq.errors import EmbedqError
from embedq.storage.driver import Trouble

T = TypeVar("T")

# How often a transaction is run again that another one made fail.
CONFLICTS = 20
LONGEST_PAUSE = 1.0
# A server that takes so long to fail hangs; for how long at most nobody tries it then.
LONG_TRY_SECONDS = 1.0
LONGEST_SILENCE_SECONDS = 5.0
LONGEST_LOCK_SECONDS = 20.0
# What a server may take for a statement that waits for nobody.
SLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a statement may take.

    Attributes:
        lock_seconds: for a row that somebody else has locked: the application may hold one for as long as its
            transaction is open, and may itself be waiting for us.
        answer_seconds: for the answer, whatever it is; after that the connection is given up.
    """

    lock_seconds: float
    answer_seconds: float

    @classmethod
    def of(cls, busy_timeout: float) -> Patience:
        """That of an app."""
        lock_seconds = min(LONGEST_LOCK_SECONDS, max(1.0, busy_timeout))
        return cls(lock_seconds, max(busy_timeout, lock_seconds + SLOW_SECONDS))


# A change of the schema takes as long as it takes.
ENDLESS = Patience(LONGEST_LOCK_SECONDS, math.inf)


class Retries:
    """Runs transactions, and again while others are in their way or the server is away.

    Once it has been away for as long as one may wait, who comes then tries once. To try a server that hangs takes long,
    and is not done by everybody: what the last one heard goes for who comes soon after.

    Args:
        busy_timeout: how long a server that cannot be reached is waited for, from when it went away.
        trouble: what an error means.
        lost: called when a connection was, before the next try.
    """

    def __init__(
        self, busy_timeout: float, *, trouble: Callable[[Exception], Trouble], lost: Callable[[], None]
    ) -> None:
        self._busy_timeout = busy_timeout
        self._trouble = trouble
        self._lost = lost
        # When the server went away (monotonic), what the last one to hang there heard, and until when that goes.
        self._away_since: float | None = None
        self._heard: Exception | None = None
        self._silent_until = 0.0

    def run(self, action: Callable[[], T]) -> T:
        """The action's result; the error that it still met when it was not to be tried again."""
        heard = self._heard
        if heard is not None and time.monotonic() < self._silent_until:
            raise heard.with_traceback(None)
        # Where it is known that the server is away, connections are new. Else one may have been closed while nobody
        # looked, and it is tried again on a new one.
        conflicts, tries, known = 0, 0, self._away_since is not None
        while True:
            began = time.monotonic()
            try:
                result = action()
                self._away_since = self._heard = None
                return result
            except EmbedqError:
                raise
            except Exception as error:
                trouble = self._trouble(error)
                if trouble is Trouble.OWN:
                    raise
                if trouble is Trouble.CONFLICT:
                    conflicts += 1
                    if conflicts > CONFLICTS:
                        raise
                    time.sleep(random.random() * 0.01 * conflicts)
                    continue
                if self._waited_for(error, began) and (tries or known):
                    raise
            self._lost()
            time.sleep(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.02 * 2**tries) if tries else 0.0)
            tries += 1

    def _waited_for(self, error: Exception, began: float) -> bool:
        """What was begun then found the server away; whether it has been waited for long enough."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = began
        if now - self._away_since <= self._busy_timeout:
            return False
        took = now - began
        if took >= LONG_TRY_SECONDS:
            self._heard, self._silent_until = error, now + min(took, LONGEST_SILENCE_SECONDS)
        return True

"""A process on a machine whose clock is wrong."""

from __future__ import annotations

import os

from embedq.clock import SECOND, SystemClock

# By how many seconds the clock is ahead.
SKEW_VARIABLE = "EMBEDQ_TEST_SKEW"


def set_the_clock() -> None:
    """Let this process's clock be as far ahead as its environment says."""
    ahead = int(float(os.environ.get(SKEW_VARIABLE, "0")) * SECOND)
    right = SystemClock.now
    SystemClock.now = lambda self: right(self) + ahead  # type: ignore[method-assign]

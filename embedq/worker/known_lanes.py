"""The lanes as one dispatcher has seen them: how far their rounds are, which had no room, and when to look again."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection

from embedq.flow.lanes import LaneTurn, Sweep
from embedq.flow.limits import LimitValues, declared
from embedq.storage.claims import Request
from embedq.storage.lanes import LaneNews, LaneRequest, Place

# For so long after a claim that found no room in lanes, a write of another process is no reason for the next.
REST_SECONDS = 0.05
# Rounds that are remembered.
MOST_PLACES = 1000


class KnownLanes:
    """The lanes of one dispatcher. Other threads may set `changed`.

    Attributes:
        changed: something may have made room, or brought a job, so that the rounds begin again.
        saturated: the executors of lanes that could start nothing when a claim last looked at them.
        look_at: when to look again, in microseconds; `math.inf` for when something changes.
    """

    def __init__(self) -> None:
        self.changed = True
        self.saturated: frozenset[str] = frozenset()
        self._more: frozenset[str] = frozenset()
        self.look_at: float = math.inf
        self._sweeps: dict[Place, Sweep] = {}
        self._turns: dict[tuple[str, ...], LaneTurn] = {}
        # Each process begins somewhere else, so that no lane is the first in all of them.
        self._start = secrets.token_hex(4)
        self._turn = secrets.randbelow(1000)
        self._tried_at = 0.0
        self._stored: dict[str, LimitValues] = {}

    @property
    def waiting(self) -> bool:
        """Whether lanes have jobs that can start when a worker is idle."""
        return bool(self._more)

    def request(self, now: int) -> LaneRequest:
        """Return what a claim must know."""
        self._turn += 1
        due = self.look_at <= now
        return LaneRequest(
            declared=declared(), sweeps=self._sweeps, turns=self._turns, restart=self.changed or due, turn=self._turn,
            start=self._start, due=due,
        )  # fmt: skip

    def undeclared(self, news: LaneNews) -> dict[str, LimitValues]:
        """Return the code's values of limits that were met, and that this process has not stored yet."""
        known = declared()
        fresh = {name: known[name] for name in news.limits if name in known and self._stored.get(name) != known[name]}
        self._stored |= fresh
        return fresh

    def just_tried(self) -> bool:
        """Return whether a claim has found no room a moment ago."""
        return time.monotonic() - self._tried_at < REST_SECONDS

    def claim_starts(self, request: Request) -> None:
        """Forget what the claim is about to learn."""
        if request.lanes.restart:
            self.changed = False
        if request.lanes.due:
            self.look_at = math.inf

    def learned(self, asked: Collection[str], news: LaneNews) -> None:
        """Record what a claim of these executors learned; what is known of others stands."""
        if len(self._sweeps) > MOST_PLACES:
            self._sweeps.clear()
        self._sweeps.update(news.sweeps)
        self._turns.update(news.turns)
        self._more = (self._more - frozenset(asked)) | news.more
        self.saturated = (self.saturated - frozenset(asked)) | news.saturated
        if news.saturated:
            self._tried_at = time.monotonic()
        if news.look_at is not None:
            self.look_at = min(self.look_at, news.look_at)

"""Claiming the most urgent job that is due: one at a time, in the order in which one worker would take them.

Jobs under limits, rates and fair turns stand in lanes, and are claimed as in production. Where a dispatcher takes turns
from a random start, this one has a fixed order: of plain jobs and lanes with the same priority the oldest job is first,
and then they take turns.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field, replace
from functools import partial

from embedq.flow.lanes import EXECUTORS, LANE_EXECUTORS, is_laned, laned, unlaned
from embedq.storage import claims, inspect, permits
from embedq.storage.base import Transaction
from embedq.storage.claims import ALL_EXECUTORS, ISOLATED_EXECUTORS, Claim, Request
from embedq.storage.inspect import ReadyJob
from embedq.storage.lanes import LaneNews
from embedq.storage.rows import ClaimedJob
from embedq.testing.errors import EndlessJobsError
from embedq.testing.standin import EngineUnderTest
from embedq.worker.known_lanes import KnownLanes

# Queues with ready jobs that a drain sees at a time.
MOST_QUEUES = 1000


@dataclass(slots=True, kw_only=True)
class Found:
    """What one transaction claimed, and what it learned.

    Attributes:
        job: None where nothing can start.
        made: the rows of permits that were made for it.
        news: of lanes.
        barred: something is paused, or a limit is reached: jobs that are due may be left.
    """

    made: Set[str]
    job: ClaimedJob | None = None
    news: list[LaneNews] = field(default_factory=list)
    barred: bool = False


class PermitsMissingError(Exception):
    """Rows of permits are to be made before a search can be exact; it is undone."""

    def __init__(self, names: Set[str]) -> None:
        super().__init__(f"the permits {', '.join(sorted(names))} are not stored yet")
        self.names = names


class Claimer:
    """Claims jobs, one at a time, for one engine.

    Attributes:
        barred: the last search has left jobs that are paused, or wait for a limit.
    """

    def __init__(self, engine: EngineUnderTest) -> None:
        self._engine = engine
        self._lanes = KnownLanes()
        self._turn = 0
        self._last_was_laned: bool | None = None
        # One search at a time: inline, several threads may run jobs.
        self._lock = threading.RLock()
        self.barred = False

    @property
    def look_at(self) -> int | None:
        """When a rate or a cool-down lets the next job start, in microseconds, as far as the last search has seen."""
        return None if self._lanes.look_at == math.inf else int(self._lanes.look_at)

    def begin(self) -> None:
        """Begin a drain: the oldest job is first again."""
        self._last_was_laned = None

    def claim(self, queue: str | None, needs: tuple[str, ...], *, server_id: int) -> ClaimedJob | None:
        """Claim the most urgent job that can start now and return it; None if there is none.

        Args:
            queue: only a job of this queue.
            needs: what parked jobs need and this process has.
        """
        with self._lock:
            return self._claim(queue, needs, server_id)

    def refuse_more(self, queue: str | None, needs: tuple[str, ...], message: str, *, server_id: int) -> None:
        """Raise EndlessJobsError if another job can start; it is not claimed."""

        def check(found: Found) -> None:
            if found.job is not None:
                raise EndlessJobsError(message)

        with self._lock:
            self._found(queue, needs, server_id, check)

    def _claim(self, queue: str | None, needs: tuple[str, ...], server_id: int) -> ClaimedJob | None:
        found = self._found(queue, needs, server_id, lambda _: None)
        undeclared = {name: values for news in found.news for name, values in self._lanes.undeclared(news).items()}
        if undeclared:
            self._engine.database.write(permits.declare, undeclared, now=self._engine.clock.now())
        if found.job is not None:
            self._turn += 1
            self._last_was_laned = is_laned(found.job.executor)
        self.barred = found.barred
        return found.job

    def _found(
        self, queue: str | None, needs: tuple[str, ...], server_id: int, check: Callable[[Found], None]
    ) -> Found:
        """Return what a search has claimed, unless `check` raises an error: then it is undone."""
        engine, made = self._engine, set[str]()

        def search(tx: Transaction) -> Found:
            found = self._search(tx, queue, needs, now=engine.clock.now(), server_id=server_id, made=made)
            check(found)
            return found

        while True:
            try:
                return engine.database.write(search)
            except PermitsMissingError as error:
                made |= error.names
                engine.database.write(permits.create, sorted(error.names), now=engine.clock.now())

    def _search(
        self, tx: Transaction, queue: str | None, needs: tuple[str, ...], *, now: int, server_id: int, made: Set[str]
    ) -> Found:
        claim = partial(claims.claim, tx, now=now, retention=self._engine.settings.retention)
        found = Found(made=made)
        self._lanes.look_at = math.inf
        # What is due becomes ready, so that the most urgent job is among those.
        found.barred = bool(claim(Request(server_id=server_id, limits={}, queues=None)).holds)
        queues = self._queues(tx) if queue is None else (queue,)
        plain = inspect.next_ready(tx, queues, EXECUTORS)
        in_lane = inspect.next_ready(tx, queues, LANE_EXECUTORS)
        lanes_first = self._lanes_first(plain, in_lane)
        request = Request(server_id=server_id, limits={}, queues=queues, known_needs=needs)
        for limits in _plans(plain, in_lane, lanes_first=lanes_first):
            # A new round: what an earlier one has passed over may start by now.
            self._lanes.changed = True
            more = True
            while more:
                one = replace(request, limits=limits)
                claimed = self._learned(one, claim(self._with_lanes(one, now, lanes_first=lanes_first)), found)
                if claimed.jobs:
                    found.job = claimed.jobs[0]
                    return found
                # An expired one was cancelled, or some lanes were visited and others are left: try the next.
                more = any(executor in claimed.full for executor in limits)
        # Jobs that ran during two crashes run alone, which is last here.
        apart = {executor: 1 for executor in ALL_EXECUTORS if executor not in ISOLATED_EXECUTORS}
        one = replace(request, limits=apart, known_needs=(), suspect=True)
        suspects = self._learned(one, claim(self._with_lanes(one, now, lanes_first=lanes_first)), found)
        found.job = next(iter(suspects.jobs), None)
        return found

    def _with_lanes(self, request: Request, now: int, *, lanes_first: bool) -> Request:
        """Return the request with what is known of lanes, in a fixed order."""
        turn = 2 * self._turn + int(lanes_first)
        request = replace(request, lanes=replace(self._lanes.request(now), start="", turn=turn))
        self._lanes.claim_starts(request)
        return request

    def _learned(self, request: Request, claim: Claim, found: Found) -> Claim:
        missing = set(claim.lanes.missing) - found.made
        if missing:
            # A dispatcher passes over such a lane for a moment; here the order would not be the same each time.
            raise PermitsMissingError(missing)
        self._lanes.learned(() if request.suspect else request.limits, claim.lanes)
        found.news.append(claim.lanes)
        found.barred = found.barred or bool(claim.holds or claim.lanes.saturated)
        return claim

    def _lanes_first(self, plain: ReadyJob | None, in_lane: ReadyJob | None) -> bool:
        """Whether it is the turn of lanes, where they have jobs of the same rank as plain ones."""
        if plain is None or in_lane is None or plain.rank != in_lane.rank:
            return plain is None or (in_lane is not None and in_lane.rank < plain.rank)
        return in_lane.id < plain.id if self._last_was_laned is None else not self._last_was_laned

    def _queues(self, tx: Transaction) -> tuple[str, ...] | None:
        """All of them: first those that the app works, in its order."""
        own = self._engine.settings.queues
        if own is None:
            return None
        waiting = {queue for executor in ALL_EXECUTORS for (queue,) in tx.all("ready_queues", (executor, MOST_QUEUES))}
        return (*own, *sorted(waiting.difference(own)))


def _plans(plain: ReadyJob | None, in_lane: ReadyJob | None, *, lanes_first: bool) -> Iterator[dict[str, int]]:
    """Return which executors to claim for, one after another until a job is found, the most urgent job's first."""
    pairs = {executor: {executor: 1, laned(executor): 1} for executor in EXECUTORS}
    if lanes_first and in_lane is not None:
        own = unlaned(in_lane.executor)
        # Where the first plain job has another executor, those of this one are not its equals.
        yield pairs[own] if plain is None or plain.executor == own else {in_lane.executor: 1}
    if plain is not None:
        yield pairs[plain.executor]
    yield from pairs.values()

"""Claiming jobs that stand in lanes: by fair turns, as many as their limits allow.

Beside plain jobs of the same queue and priority they share the idle workers equally; a higher priority goes first, as
ever. The lanes of one queue and priority take turns, from where the last claim ended, and a claim visits `VISITS` of
them for each job that it may take: so its cost does not grow with what waits. A lane whose limit is reached is
passed over.

What a claim learns comes back to its caller, since a function over a transaction changes nothing else: how far the
rounds are (`sweeps`), when to look again, and which rows of permits must be made first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial

from embedq.flow.lanes import (
    EXECUTORS,
    LANE_EXECUTORS,
    Lane,
    LaneTurn,
    LaneTurns,
    Pair,
    Shares,
    Sweep,
    Visited,
    after_start,
    by_turns,
    is_laned,
    laned,
    limits_of,
    shares,
    unlaned,
    visit,
)
from embedq.flow.limits import LimitValues
from embedq.storage.base import Transaction
from embedq.storage.permits import Permits, pairs_of
from embedq.storage.rows import ClaimedJob

# Lanes that are visited for each job that may be taken, and at least.
VISITS, FEWEST_VISITS = 4, 20
MOST_QUEUES = 1000
HIGHEST = 1 << 40
# Jobs that were parked and take their turn again, at once.
WOKEN = 500

Place = tuple[str, str, int]
"""An executor, a queue and a priority."""
Rank = tuple[int, int]
"""How urgent a place is: by its queue, where queues are named, then by its priority; the least is the most urgent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRequest:
    """What a claim must know to take jobs from lanes.

    Attributes:
        declared: the code's values of limits.
        sweeps: how far the rounds are.
        turns: whose turn it is under each combination of limits.
        restart: something has changed, so that rounds begin again from where they are.
        turn: grows with each claim: what has no better order takes turns by it.
        start: where a round begins that this process has not begun yet.
        due: it is the moment at which lanes were to be looked at again.
    """

    declared: Mapping[str, LimitValues] = field(default_factory=dict)
    sweeps: Mapping[Place, Sweep] = field(default_factory=dict)
    turns: LaneTurns = field(default_factory=dict)
    restart: bool = True
    turn: int = 0
    start: str = ""
    due: bool = False


@dataclass(slots=True, kw_only=True)
class LaneNews:
    """What a claim learned of lanes.

    Attributes:
        more: the executors of lanes that may have more to start at once.
        saturated: the executors of lanes that can start nothing now.
        sweeps: how far the rounds have come.
        turns: whose turn it is now, where that has changed.
        look_at: when to look again, in microseconds; None for when something changes.
        missing: rows of permits that must be made before their jobs can start.
        limits: the limits that were met.
    """

    more: set[str] = field(default_factory=set)
    saturated: set[str] = field(default_factory=set)
    sweeps: dict[Place, Sweep] = field(default_factory=dict)
    turns: dict[tuple[str, ...], LaneTurn] = field(default_factory=dict)
    look_at: int | None = None
    missing: tuple[str, ...] = ()
    limits: frozenset[str] = frozenset()


class LaneClaim:
    """The part of one claim that takes jobs from lanes.

    Args:
        limits: how many jobs for each executor, those of lanes among them; 0 to learn only whether there are any.
        queues: as of the claim.
        held: queues that are paused.
    """

    def __init__(
        self,
        tx: Transaction,
        request: LaneRequest,
        *,
        limits: Mapping[str, int],
        queues: tuple[str, ...] | None,
        held: frozenset[str],
        legible: int,
        now: int,
    ) -> None:
        self._tx = tx
        self._request = request
        self._limits = dict(limits)
        self._queues = queues
        self._held = held
        self._legible = legible
        self._permits = Permits(tx, request.declared, now)
        self._taken: dict[int, tuple[Pair, ...]] = {}
        self.news = LaneNews()

    def share(self, plain: list[ClaimedJob], ready: frozenset[str]) -> list[ClaimedJob]:
        """Return what to start of plain jobs and of those in lanes.

        Args:
            plain: the plain jobs that could be taken, most urgent first for each executor.
            ready: the executors of lanes that have a ready job.
        """
        chosen: list[ClaimedJob] = []
        for executor in EXECUTORS:
            others = [job for job in plain if job.executor == executor]
            room = self._limits.get(executor, 0)
            if len(others) > room:
                del others[room:]
                self.news.more.add(executor)
            lanes = laned(executor)
            if lanes in ready and self._limits.get(lanes, 0) > 0:
                chosen += self._merged(executor, others)
            else:
                chosen += others
                if lanes in ready and lanes in self._limits:
                    self.news.more.add(lanes)
        return chosen

    def allowed(self, jobs: Sequence[ClaimedJob]) -> list[ClaimedJob]:
        """Return those of these suspects that their limits allow to start; they take room of their executors."""
        ids = json.dumps([job.id for job in jobs if is_laned(job.executor)])
        pairs = {job_id: pairs_of(*named) for job_id, *named in self._tx.all("limits_of_jobs", (ids,))}
        found = []
        for job in jobs:
            mine = pairs.get(job.id, ())
            self._permits.learn(mine)
            self._permits.lock(mine)
            if not self._permits.may_lock(mine) or not self._permits.room(mine, 1):
                self.news.saturated.add(job.executor)
                continue
            self._start([job], mine)
            found.append(job)
            for executor in {job.executor, unlaned(job.executor)} & self._limits.keys():
                self._limits[executor] -= 1
        return found

    def finish(self, started: Sequence[ClaimedJob]) -> LaneNews:
        """Write what was spent; return what was learned.

        Args:
            started: the jobs of the claim, without those that have expired or are held: these are no starts.
        """
        for job_id in self._taken.keys() - {job.id for job in started}:
            self._permits.take(self._taken[job_id], -1)
        self._permits.spend()
        self.news.look_at = self._permits.look_at
        self.news.limits = self._permits.met
        self.news.missing = tuple(sorted(self._permits.missing))
        return self.news

    def _start(self, jobs: Sequence[ClaimedJob], pairs: tuple[Pair, ...]) -> None:
        self._permits.take(pairs, len(jobs))
        self._taken.update((job.id, pairs) for job in jobs)

    # -- plain jobs and lanes ------------------------------------------------------------------------------------------

    def _merged(self, executor: str, plain: list[ClaimedJob]) -> list[ClaimedJob]:
        lanes = laned(executor)
        room = self._limits[lanes]
        chosen: list[ClaimedJob] = []
        taken_any = False
        place_of = partial(self._places, lanes)
        for rank, queue, priority in place_of():
            ahead = [job for job in plain if self._rank(job.queue, job.priority) < rank]
            chosen += ahead[: room - len(chosen)]
            plain = plain[len(ahead) :]
            if len(chosen) >= room:
                self.news.more.add(lanes)
                break
            equal = sum(self._rank(job.queue, job.priority) == rank for job in plain)
            free = room - len(chosen)
            wanted = max((free + self._request.turn % 2) // 2, free - equal)
            found = self._take((lanes, queue, priority), wanted) if wanted else []
            taken_any = taken_any or bool(found)
            chosen += found
            if len(found) == wanted:
                self.news.more.add(lanes)
                break
        if not taken_any and lanes not in self.news.more:
            self.news.saturated.add(lanes)
            # Nothing in lanes can start: the plain ones are as if alone.
            return chosen + plain
        rest = max(0, room - len(chosen))
        if len(plain) > rest:
            self.news.more.add(executor)
        return chosen + plain[:rest]

    def _rank(self, queue: str, priority: int) -> Rank:
        return (0 if self._queues is None else self._queues.index(queue), -priority)

    def _places(self, executor: str) -> Iterator[tuple[Rank, str, int]]:
        """Return the queues and priorities with a job in a lane, most urgent first."""
        found = [queue for (queue,) in self._tx.all("ready_queues", (executor, MOST_QUEUES))]
        named = [queue for queue in found if queue not in self._held and (not self._queues or queue in self._queues)]
        # Queues of one rank take turns at being first: every second turn, since the others may be those of plain jobs.
        first = self._request.turn // 2 % len(named) if named else 0
        named = named[first:] + named[:first]
        level = {queue: self._level(executor, queue, HIGHEST) for queue in named}
        while True:
            left = [(self._rank(queue, top), queue, top) for queue, top in level.items() if top is not None]
            if not left:
                return
            rank, queue, priority = min(left, key=lambda place: place[0])
            yield rank, queue, priority
            level[queue] = self._level(executor, queue, priority)

    def _level(self, executor: str, queue: str, below: int) -> int | None:
        row = self._tx.one("lane_level", (executor, queue, below))
        return None if row is None else int(row[0])

    # -- one place -----------------------------------------------------------------------------------------------------

    def _take(self, place: Place, wanted: int) -> list[ClaimedJob]:
        """Return up to so many jobs of one queue and priority, by turns of its lanes."""
        sweep = self._request.sweeps.get(place) or Sweep(after=self._request.start)
        if self._request.restart:
            sweep = sweep.restarted()
        visited = visit(sweep, max(FEWEST_VISITS, VISITS * wanted), partial(self._lanes_from, place))
        lanes, left = by_turns(visited.lanes, {**self._request.turns, **self.news.turns}), sweep.left
        if left and not (lanes and lanes[0].key == sweep.after):
            left = 0
        self._permits.learn(pair for lane in lanes for pair in lane.pairs)
        jobs: list[ClaimedJob] = []
        taken: set[int] = set()
        last: Lane | None = None
        while len(jobs) < wanted and lanes:
            share, kept_out = self._granted(lanes, wanted - len(jobs), left)
            if not share.granted and not kept_out:
                break
            short = set(kept_out)
            for lane, number in share.granted.items():
                found = self._jobs(place, lane, number, taken)
                self._start(found, lane.pairs)
                self._pass_turn(lane, len(found))
                jobs += found
                taken.update(job.id for job in found)
                if len(found) < number:
                    short.add(lane)
            last = share.last or last
            left = 0 if last in short else share.left
            lanes = [lane for lane in lanes if lane not in short]
        done = len(jobs) >= wanted
        self._move(place, sweep, visited, last, left if done else 0, done=done)
        return jobs

    def _pass_turn(self, lane: Lane, number: int) -> None:
        if lane.pairs and number:
            limits = limits_of(lane)
            turn = self.news.turns.get(limits) or self._request.turns.get(limits)
            self.news.turns[limits] = after_start(turn, lane, number)

    def _move(self, place: Place, sweep: Sweep, visited: Visited, last: Lane | None, left: int, *, done: bool) -> None:
        """Record how far the round has come."""
        if done and last is not None:
            self.news.sweeps[place] = Sweep(after=last.key, left=left)
            return
        behind = visited.lanes[-1].key if visited.lanes else sweep.after
        if visited.complete:
            self.news.sweeps[place] = Sweep(after=last.key if last else behind)
            return
        if self._permits.missing:
            # The same lanes again, once the rows are there: else each lane would wait for a round of all others.
            self.news.sweeps[place] = sweep
            self.news.more.add(place[0])
            return
        origin = sweep.after if sweep.origin is None else sweep.origin
        self.news.sweeps[place] = Sweep(after=behind, origin=origin, wrapped=visited.wrapped)
        self.news.more.add(place[0])

    def _granted(self, lanes: list[Lane], wanted: int, left: int) -> tuple[Shares, list[Lane]]:
        """Return how many jobs each lane may start, counted under locks; and the lanes that others have locked."""
        likely = list(self._shares(lanes, wanted, left).granted)
        self._permits.lock(pair for lane in likely for pair in lane.pairs)
        able = [lane for lane in likely if self._permits.may_lock(lane.pairs)]
        share = self._shares(able, wanted, left if able and able[0] is lanes[0] else 0)
        return share, [lane for lane in likely if lane not in able]

    def _shares(self, lanes: list[Lane], wanted: int, left: int) -> Shares:
        def room(lane: Lane, most: int) -> int:
            number = self._permits.room(lane.pairs, most)
            if number:
                # Else a limit may be one that this process does not know.
                self._permits.take(lane.pairs, number)
            return number

        with self._permits.trial():
            return shares(lanes, wanted, left, room)

    def _lanes_from(self, place: Place, start: str, limit: int) -> list[Lane]:
        found = []
        for key, head in self._tx.all("visit_lanes", (*place, start, limit)):
            if head is not None:
                weight, *named = json.loads(head)
                found.append(Lane(key, max(1, int(weight or 1)), pairs_of(*named)))
        return found

    def _jobs(self, place: Place, lane: Lane, number: int, taken: Set[int]) -> list[ClaimedJob]:
        """Return the next jobs of a lane, which are still ready, behind those that this claim takes already."""
        rows = self._tx.batch("lane_jobs", (*place, lane.key, number + len(taken), self._legible))
        return [job for job in map(ClaimedJob._make, rows) if job.id not in taken][:number]


def wake_parked(tx: Transaction, known_needs: Sequence[str]) -> int:
    """Let parked jobs of lanes take their turn again, whose needs this process has; return how many."""
    return tx.run("wake_parked", (json.dumps(known_needs), json.dumps(LANE_EXECUTORS), WOKEN))

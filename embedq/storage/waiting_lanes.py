"""The lanes that have a ready job, for people: how many jobs wait in each, and since when.

The cost is bounded, whatever waits: so many lanes are looked at, an equal number in each queue and priority, and jobs
are counted up to a limit. `WaitingLanes.capped` states that there are others. Where it is, the lanes of what runs are
looked for by their names, so that thousands of tenants of one limit do not hide what waits under another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from embedq.flow.lanes import LANE_EXECUTORS, Pair, lane_key, shown_lane
from embedq.storage.base import Transaction
from embedq.storage.inspect.glance import COUNT_CAP, Count
from embedq.storage.lanes import HIGHEST, Place
from embedq.storage.permits import pairs_of

# Lanes in all places together, and at least in each; places.
MOST_LANES, FEWEST_LANES, MOST_PLACES = 200, 4, 100
# Lanes that are looked for by their names.
MOST_NAMED = 100
# The next jobs of a lane, among which the oldest is looked for.
FRONT = 20
# Up to which number the jobs of one lane are counted, where many lanes are.
FEWEST_COUNTED = 100
# No job has a higher number.
LAST = (1 << 63) - 1


class Front(NamedTuple):
    """A job that waits, and since when it is due (microseconds)."""

    job_id: int
    due_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLane:
    """A lane with a ready job.

    Attributes:
        queue: its jobs are in.
        name: for people.
        pairs: the limits that it is under, each with its key; '' for a limit without keys.
        jobs: how many are ready.
        next: the job that is started next.
        oldest: the one that is due for longest, among the next few.
    """

    queue: str
    name: str
    pairs: tuple[Pair, ...]
    jobs: Count
    next: Front
    oldest: Front


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLanes:
    """What was looked at; `capped` if there may be more."""

    lanes: list[WaitingLane]
    capped: bool


def waiting_lanes(tx: Transaction) -> WaitingLanes:
    """Return lanes that have a ready job, `MOST_LANES` or a few more at most."""
    places = _places(tx, MOST_PLACES + 1)
    capped = len(places) > MOST_PLACES
    del places[MOST_PLACES:]
    most = max(FEWEST_LANES, MOST_LANES // max(1, len(places)))
    found: dict[tuple[Place, str], tuple[Pair, ...]] = {}
    partly: list[Place] = []
    for place in places:
        heads = [(key, head) for key, head in tx.all("visit_lanes", (*place, "", most + 1)) if head is not None]
        found |= {(place, key): _pairs(head) for key, head in heads[:most]}
        if len(heads) > most:
            partly.append(place)
    if partly:
        found |= _named(tx, partly)
    cap = max(FEWEST_COUNTED, COUNT_CAP // max(1, len(found)))
    lanes = [_lane(tx, place, key, pairs, cap) for (place, key), pairs in found.items()]
    return WaitingLanes(lanes=[lane for lane in lanes if lane is not None], capped=capped or bool(partly))


def _pairs(head: str) -> tuple[Pair, ...]:
    _, *named = json.loads(head)
    return pairs_of(*named)


def _named(tx: Transaction, places: Iterable[Place]) -> dict[tuple[Place, str], tuple[Pair, ...]]:
    """Return where the next jobs of what runs would stand; in some of these places there are none."""
    running = sorted({pairs_of(*named) for *named, _ in tx.all("running_permits")})[:MOST_NAMED]
    return {(place, lane_key(None, pairs)): pairs for place in places for pairs in running}


def _places(tx: Transaction, most: int) -> list[Place]:
    found: list[Place] = []
    for executor in LANE_EXECUTORS:
        for (queue,) in tx.all("ready_queues", (executor, most)):
            priority = HIGHEST
            while len(found) < most and (row := tx.one("lane_level", (executor, queue, priority))) is not None:
                priority = int(row[0])
                found.append((executor, queue, priority))
    return found


def _lane(tx: Transaction, place: Place, key: str, pairs: tuple[Pair, ...], cap: int) -> WaitingLane | None:
    front = [Front(*row) for row in tx.all("lane_front", (*place, key, FRONT))]
    if not front:
        return None
    number = len(front)
    if number == FRONT:
        [(number,)] = tx.all("count_ahead", (*place, key, LAST, cap + 1))
    return WaitingLane(
        queue=place[1],
        name=shown_lane(key),
        pairs=pairs,
        jobs=Count(number=min(number, cap), capped=number > cap),
        next=front[0],
        oldest=min(front, key=lambda job: job.due_at),
    )

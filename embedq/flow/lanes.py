"""Lanes: how jobs under a limit, or with a fair share, stand apart from plain ones, and which lane is next.

Such jobs are stored with an executor of their own, "thread lane" for "thread". So the claim of plain jobs never meets
them, and neither does a process of an earlier build, which knows no limits. All jobs of a lane are under the same
limits with the same keys: where the first cannot start none of them can, and none waits behind another's limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

EXECUTORS = ("thread", "async", "process")
_SUFFIX = " lane"
LANE_EXECUTORS = tuple(executor + _SUFFIX for executor in EXECUTORS)
# A lane's name as it is shown; a longer one is cut; its digest is its own.
SHOWN_CHARACTERS = 200

Pair = tuple[str, str]
"""A limit's name and a key; '' for a limit without keys."""


def laned(executor: str) -> str:
    """Return the executor as it is stored with jobs that stand in a lane."""
    return executor + _SUFFIX


def unlaned(executor: str) -> str:
    """Return where a job runs, from its stored executor."""
    return executor.removesuffix(_SUFFIX)


def is_laned(executor: str) -> bool:
    """Return whether the stored executor is that of jobs in lanes."""
    return executor.endswith(_SUFFIX)


def lane_key(fair: str | None, pairs: Sequence[Pair]) -> str:
    """Return the stored name of a lane: a digest, so that lanes are in no alphabetical order, and a name for people."""
    digest = hashlib.sha256(repr((fair, *pairs)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    shown = fair if fair is not None else " ".join(part for part in pairs[0] if part)
    return f"{digest} {shown[:SHOWN_CHARACTERS]}"


def shown_lane(key: str) -> str:
    """Return a lane's name for people."""
    return key.partition(" ")[2]


class Lane(NamedTuple):
    """A lane with a ready job: its stored name, how many jobs in a row it may start, and the limits it is under."""

    key: str
    weight: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How far the round of the lanes of one queue and priority has come.

    Attributes:
        after: the lane that was visited last.
        left: how many more jobs that lane may start before it is the next one's turn.
        origin: where the round began; None if a new one begins.
        wrapped: it has come to the end of the lanes and continues from their beginning.
    """

    after: str
    left: int = 0
    origin: str | None = None
    wrapped: bool = False

    def restarted(self) -> Sweep:
        """Return a new round from here."""
        return Sweep(after=self.after, left=self.left)


class Visited(NamedTuple):
    """The lanes that a sweep meets next; whether those are all; whether it has wrapped."""

    lanes: list[Lane]
    complete: bool
    wrapped: bool


def visit(sweep: Sweep, most: int, lanes_from: Callable[[str, int], Sequence[Lane]]) -> Visited:
    """Return up to `most` lanes.

    Args:
        lanes_from: returns so many lanes, in order, from a name on, that name included.
    """
    found = list(lanes_from(sweep.after, most + 1))
    if found and found[0].key == sweep.after and not sweep.left:
        del found[0]
    del found[most:]
    origin = sweep.after if sweep.origin is None else sweep.origin
    if sweep.wrapped:
        within = [lane for lane in found if lane.key <= origin]
        return Visited(within, len(within) < len(found) or len(found) < most, True)
    if len(found) == most:
        return Visited(found, False, False)
    asked = most - len(found)
    rest = list(lanes_from("", asked))
    within = [lane for lane in rest if lane.key <= origin]
    complete = len(within) < len(rest) or len(rest) < asked
    return Visited(found + [lane for lane in within if lane not in found], complete, True)


class LaneTurn(NamedTuple):
    """The lane that started last under some limits, and how many more jobs it may start before it is the next one's."""

    key: str
    left: int


LaneTurns = Mapping[tuple[str, ...], LaneTurn]
"""Under each combination of limits, by their names, whose turn it is."""


def limits_of(lane: Lane) -> tuple[str, ...]:
    """Return the names of a lane's limits."""
    return tuple(limit for limit, _ in lane.pairs)


def by_turns(lanes: Sequence[Lane], turns: LaneTurns) -> list[Lane]:
    """Return the lanes of a round, those under the same limits in the order of their turns, at the same places.

    A round alone is no order among lanes that compete for a permit: one that finds none left is passed, and if a lane
    under no limit starts after it, the next round begins behind both.
    """
    places: dict[tuple[str, ...], list[int]] = {}
    for place, lane in enumerate(lanes):
        if lane.pairs:
            places.setdefault(limits_of(lane), []).append(place)
    ordered = list(lanes)
    for limits, own in places.items():
        if len(own) > 1 and (turn := turns.get(limits)) is not None:
            found = sorted((lanes[place] for place in own), key=partial(_place_behind, turn))
            for place, lane in zip(own, found, strict=True):
                ordered[place] = lane
    return ordered


def _place_behind(turn: LaneTurn, lane: Lane) -> tuple[bool, str]:
    return lane.key < turn.key if turn.left > 0 else lane.key <= turn.key, lane.key


def after_start(turn: LaneTurn | None, lane: Lane, number: int) -> LaneTurn:
    """Return whose turn it is after a lane has started so many jobs."""
    left = turn.left if turn is not None and turn.key == lane.key and turn.left > 0 else lane.weight
    return LaneTurn(lane.key, max(0, left - number))


class Shares(NamedTuple):
    """How many jobs each lane may start; which one was the last, and how many more it may start in its turn."""

    granted: dict[Lane, int]
    last: Lane | None
    left: int


def shares(lanes: Sequence[Lane], wanted: int, left: int, room: Callable[[Lane, int], int]) -> Shares:
    """Return how many jobs each lane may start, by turns.

    Args:
        left: what the first lane has left of a turn that began earlier; 0 for a turn of its own.
        room: how many more jobs of a lane may start, given how many were granted to it; it takes them.
    """
    granted: dict[Lane, int] = {}
    able, turn = list(lanes), left
    last: Lane | None = None
    left = 0
    while wanted > 0 and able:
        still: list[Lane] = []
        for lane in able:
            quota = turn or lane.weight
            taken = room(lane, min(quota, wanted))
            turn = 0
            if taken:
                granted[lane] = granted.get(lane, 0) + taken
                wanted -= taken
                last, left = lane, quota - taken
            if taken == quota:
                still.append(lane)
            if not wanted:
                break
        able = still
    return Shares(granted, last, left)

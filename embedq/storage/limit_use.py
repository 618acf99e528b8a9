"""Limits as people see them: their values and use, and why a job waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from embedq.clock import SECOND
from embedq.flow.lanes import is_laned, shown_lane
from embedq.flow.limits import LimitValues
from embedq.storage.base import Transaction
from embedq.storage.permits import Permits, pairs_of, stored_values

# Jobs before one in its lane that are counted.
MOST_AHEAD = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """A limit as it is now.

    Attributes:
        total, each: how many may run at once; None for any number.
        rates: in words, such as "60 in 60 s".
        changed: a value was set at run time, and wins over the code's.
        running: how many run under it, in all processes.
    """

    name: str
    total: int | None
    each: int | None
    rates: tuple[str, ...]
    changed: bool
    running: int


def limits_in_use(tx: Transaction) -> list[LimitUse]:
    running: Counter[str] = Counter()
    for limit_1, _, limit_2, _, number in tx.all("running_permits"):
        for name in {limit_1, limit_2} - {None}:
            running[name] += number
    found = []
    for name, *stored in tx.all("all_limits"):
        values = LimitValues.stored(*stored)
        words = tuple(f"{rate.count} in {rate.per:g} s" for rate in values.rates)
        changed = stored[3] is not None or stored[4] is not None
        found.append(
            LimitUse(
                name=name, total=values.total, each=values.each, rates=words, changed=changed, running=running[name]
            )
        )
    return found


class Obstacle(NamedTuple):
    """Why a ready job of a lane does not start: in words, and the limit that is the cause; None for jobs before it."""

    limit: str | None
    text: str


def why_waiting(tx: Transaction, job_id: int, *, now: int) -> str | None:
    """Return in words why a ready job of a lane does not start; None if nothing but workers is lacking.

    For example "behind 3 others of tenant-7; limit send: 5 run, 5 may".
    """
    return "; ".join([obstacle.text for obstacle in obstacles(tx, job_id, {}, now=now)]) or None


def obstacles(tx: Transaction, job_id: int, declared: Mapping[str, LimitValues], *, now: int) -> list[Obstacle]:
    """Return why a ready job of a lane does not start.

    Args:
        declared: the code's values of limits, for those that are not stored yet.
    """
    row = tx.one("lane_of_job", (job_id,))
    if row is None or row[0] != "ready" or not is_laned(row[1]):
        return []
    _, executor, queue, priority, lane, *named = row
    found = []
    [(ahead,)] = tx.all("count_ahead", (executor, queue, priority, lane, job_id, MOST_AHEAD))
    if ahead:
        others = f"{ahead} others" if ahead > 1 else "one other"
        text = f"behind {others if ahead < MOST_AHEAD else f'{MOST_AHEAD} others or more'} of {shown_lane(lane)}"
        found.append(Obstacle(None, text))
    pairs = pairs_of(*named)
    if not pairs:
        return found
    values = {**declared, **stored_values(tx, [limit for limit, _ in pairs])}
    running = _running(tx)
    for limit, key in pairs:
        known = values.get(limit)
        if known is None:
            found.append(Obstacle(limit, f"no process that knows the limit {limit} has run"))
            continue
        if known.total is not None and running[limit,] >= known.total:
            found.append(Obstacle(limit, f"limit {limit}: {running[limit,]} run, {known.total} may"))
        elif known.each is not None and key and running[limit, key] >= known.each:
            found.append(Obstacle(limit, f"limit {limit} of {key}: {running[limit, key]} run, {known.each} may"))
        reader = Permits(tx, declared, now)
        reader.learn([(limit, key)])
        reader.room([(limit, key)], 1)
        if reader.look_at is not None and reader.look_at > now:
            found.append(Obstacle(limit, f"limit {limit}: next start in {(reader.look_at - now) / SECOND:.1f} s"))
    return found


def _running(tx: Transaction) -> Counter[tuple[str, ...]]:
    """Return how many run under each limit, and under each key of one."""
    running: Counter[tuple[str, ...]] = Counter()
    for limit_1, key_1, limit_2, key_2, number in tx.all("running_permits"):
        for limit, key in ((limit_1, key_1), (limit_2, key_2)):
            if limit is not None:
                running[limit,] += number
                running[limit, key or ""] += number
    return running

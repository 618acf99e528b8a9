"""Why a job that is due has not started, in words: a pause, the jobs before it, its limits, their rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from embedq.clock import SECOND
from embedq.display.units import duration
from embedq.flow.lanes import Pair, is_laned, shown_lane
from embedq.flow.limits import LimitValues
from embedq.storage import holds, permits
from embedq.storage.base import Transaction
from embedq.storage.holds import Hold
from embedq.storage.limit_use import blocked_by_rate, rate_names
from embedq.storage.permits import PermitRow, pairs_of, permit_name

# Jobs before one in its lane that are counted.
MOST_AHEAD = 1000


class Obstacle(NamedTuple):
    """One reason for which a job that is due does not start.

    Attributes:
        text: in words.
        limit: the limit that is the cause; None for a pause, or for jobs before it.
    """

    text: str
    limit: str | None = None


def why_waiting(tx: Transaction, job_id: int, *, now: int, pauses: bool = True) -> list[str]:
    """Return why a job that is due does not start; nothing if it lacks only a worker, or is not due.

    For example "behind 3 others of tenant-7", "limit send: 5 run, 5 may".

    Args:
        pauses: name those too.
    """
    return [obstacle.text for obstacle in obstacles(tx, job_id, pauses=pauses, now=now)]


def obstacles(
    tx: Transaction,
    job_id: int,
    *,
    declared: Mapping[str, LimitValues] | None = None,
    pauses: bool = True,
    now: int,
) -> list[Obstacle]:
    """Return what keeps a job that is due from its start.

    Args:
        declared: the code's values of limits, for those that are not stored yet.
        pauses: those too.
    """
    row = tx.one("lane_of_job", (job_id,))
    if row is None:
        return []
    state, name, executor, queue, priority, lane, *named = row
    found = []
    if pauses and state in ("ready", "parked"):
        found = [Obstacle(paused(hold)) for hold in holds.in_force(tx, now=now) if hold.covers(queue, name)]
    if state != "ready" or not is_laned(executor):
        return found
    [(ahead,)] = tx.all("count_ahead", (executor, queue, priority, lane, job_id, MOST_AHEAD))
    if ahead:
        others = f"{ahead} others" if ahead > 1 else "one other"
        many = f"{MOST_AHEAD} others or more"
        found.append(Obstacle(f"behind {others if ahead < MOST_AHEAD else many} of {shown_lane(lane)}"))
    return [*found, *_limits(tx, pairs_of(*named), declared or {}, now=now)]


def paused(hold: Hold) -> str:
    """Return a pause as a reason: "queue mail is paused by ada until 2026-12-01 09:00 UTC: migration"."""
    until = "" if hold.until is None else f" until {hold.until:%Y-%m-%d %H:%M} UTC"
    return f"{hold} is paused by {hold.actor}{until}{f': {hold.reason}' if hold.reason else ''}"


def _limits(
    tx: Transaction, pairs: tuple[Pair, ...], declared: Mapping[str, LimitValues], *, now: int
) -> list[Obstacle]:
    if not pairs:
        return []
    values = {**declared, **permits.stored_values(tx, [limit for limit, _ in pairs])}
    running = permits.running(tx)
    names = {name for limit, key in pairs if limit in values for name in rate_names(limit, key, values[limit])}
    stored = permits.stored_rows(tx, names)
    found = []
    for limit, key in pairs:
        if limit not in values:
            found.append(Obstacle(f"no process that knows the limit {limit} has run", limit))
            continue
        mine = values[limit]
        if mine.total is not None and running[limit,] >= mine.total:
            found.append(Obstacle(f"limit {limit}: {running[limit,]} run, {mine.total} may", limit))
        elif mine.each is not None and key and running[limit, key] >= mine.each:
            found.append(Obstacle(f"limit {limit} of {key}: {running[limit, key]} run, {mine.each} may", limit))
        if rated := _rates(limit, key, mine, stored, now=now):
            found.append(Obstacle(rated, limit))
    return found


def _rates(limit: str, key: str, values: LimitValues, stored: dict[str, PermitRow], *, now: int) -> str | None:
    row = stored.get(permit_name(limit))
    if row is not None and row.closed_until is not None and row.closed_until > now:
        return f"limit {limit} is closed for {duration((row.closed_until - now) / SECOND)}: a job was refused"
    moment = blocked_by_rate(limit, key, values, stored, now=now)
    return None if moment is None else f"rate: next in {duration((moment - now) / SECOND)}"

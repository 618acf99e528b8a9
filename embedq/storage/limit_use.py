"""Limits as people see them: their values, how much of them is in use, and what waits under them.

The cost is bounded by what runs and by the number of limits, not by what waits; see `waiting_lanes.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from embedq.clock import SECOND, to_datetime
from embedq.display.units import duration
from embedq.flow import rates
from embedq.flow.lanes import Pair
from embedq.flow.limits import LimitValues, StoredRate
from embedq.storage import permits
from embedq.storage.base import Row, Transaction
from embedq.storage.inspect.glance import Count
from embedq.storage.permits import PermitRow, permit_name
from embedq.storage.waiting_lanes import WaitingLane, WaitingLanes, waiting_lanes

# Keys of one limit that are listed.
MOST_KEYS = 20
# Names in one statement.
NAMES_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateUse:
    """A rate as it is now.

    Attributes:
        count, per, burst: as of `embedq.Rate`; `per` in seconds.
        keyed: counted apart for each key; then the next two are None.
        free: how many may start at this moment, up to `burst`.
        next_in: the seconds until the next may start; 0 for now.
    """

    count: int
    per: float
    burst: int
    keyed: bool
    free: int | None
    next_in: float | None

    def __str__(self) -> str:
        burst = f", burst {self.burst}" if self.burst > 1 else ""
        return f"{self.count} in {self.per:g} s{burst}{' for each key' if self.keyed else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A key of a limit of which no further job may start now.

    Attributes:
        reason: in words, such as "5 run, 5 may".
        oldest_seconds: how long its oldest job has been due; None when none waits.
    """

    key: str
    running: int
    waiting: Count
    oldest_seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """A limit as it is now.

    Attributes:
        total, each: how many may run at once, in all and for each key; None for any number.
        code_total, code_each: the same as it stands in the code.
        set_total, set_each: what was set at run time, and wins over that; None where the code's value stands.
        changed: one of them is set.
        set_by, set_at: by which person or program, and when; None where nothing is set.
        closed_until: nothing under it starts before this moment, since a job was refused (`RateLimited`).
        running: how many run under it, in all processes.
        waiting: how many are ready under it.
        saturated: its keys of which no further job may start now, those with most waiting jobs first; `MOST_KEYS` at
            most.
        saturated_keys: how many those are in all.
    """

    name: str
    total: int | None
    each: int | None
    code_total: int | None
    code_each: int | None
    set_total: int | None
    set_each: int | None
    changed: bool
    set_by: str | None
    set_at: datetime | None
    rates: tuple[RateUse, ...]
    closed_until: datetime | None
    running: int
    waiting: Count
    saturated: tuple[KeyUse, ...]
    saturated_keys: Count

    @property
    def full(self) -> bool:
        """Whether its total is reached."""
        return self.total is not None and self.running >= self.total


def limits_in_use(tx: Transaction, *, now: int, lanes: WaitingLanes | None = None) -> list[LimitUse]:
    """Return all stored limits, by name.

    Args:
        lanes: what waits, where that has been read.
    """
    waiting = waiting_lanes(tx) if lanes is None else lanes
    rows = tx.all("all_limits")
    values = {name: LimitValues.stored(*stored) for name, *stored, _, _ in rows}
    by_key: dict[Pair, list[WaitingLane]] = defaultdict(list)
    for lane in waiting.lanes:
        for pair in lane.pairs:
            by_key[pair].append(lane)
    stored = _stored(tx, [permit_name(name) for name in values] + _keyed(values, by_key))
    running = permits.running(tx)
    keys: dict[str, set[str]] = defaultdict(set)
    for what in (*running, *by_key):
        if len(what) == 2 and what[1]:
            keys[what[0]].add(what[1])
    seen = _Use(by_key, stored, running, capped=waiting.capped, now=now)
    return [_use(seen, row, values[row[0]], keys[row[0]]) for row in rows]


def blocked_by_rate(
    limit: str, key: str, values: LimitValues, stored: Mapping[str, PermitRow], *, now: int
) -> int | None:
    """Return the moment from which the rates of a limit allow the next start (microseconds); None for now."""
    moments = []
    for rate in values.rates:
        row = stored.get(permit_name(limit, key if rate.keyed and key else None))
        tat = 0 if row is None else row.tats.get(rate.label, 0)
        moments.append(rates.next_at(tat, interval=rate.interval, burst=rate.burst))
    latest = max(moments, default=now)
    return latest if latest > now else None


def rate_names(limit: str, key: str, values: LimitValues) -> set[str]:
    """Return the rows of permits that hold what the rates of a limit have spent, and until when it is closed."""
    keyed = key and any(rate.keyed for rate in values.rates)
    return {permit_name(limit)} | ({permit_name(limit, key)} if keyed else set())


def _keyed(values: Mapping[str, LimitValues], waiting: Iterable[Pair]) -> list[str]:
    return [name for limit, key in waiting if limit in values for name in rate_names(limit, key, values[limit])]


def _stored(tx: Transaction, names: list[str]) -> dict[str, PermitRow]:
    found: dict[str, PermitRow] = {}
    for at in range(0, len(names), NAMES_AT_ONCE):
        found |= permits.stored_rows(tx, names[at : at + NAMES_AT_ONCE])
    return found


@dataclass(frozen=True, slots=True)
class _Use:
    """What was read of all limits.

    Attributes:
        lanes: with ready jobs, by limit and key.
        stored: what is stored of permits, by name.
        running: by limit, and by limit and key.
        capped: there may be more lanes.
    """

    lanes: Mapping[Pair, list[WaitingLane]]
    stored: Mapping[str, PermitRow]
    running: Mapping[tuple[str, ...], int]
    capped: bool
    now: int

    def waiting(self, limit: str, *keys: str) -> Count:
        found = [lane for key in keys for lane in self.lanes.get((limit, key), ())]
        return Count(
            number=sum(lane.jobs.number for lane in found),
            capped=self.capped or any(lane.jobs.capped for lane in found),
        )

    def rate(self, limit: str, rate: StoredRate) -> RateUse:
        free: int | None = None
        next_in: float | None = None
        if not rate.keyed:
            row = self.stored.get(permit_name(limit))
            tat = 0 if row is None else row.tats.get(rate.label, 0)
            free = rates.grantable(tat, self.now, interval=rate.interval, burst=rate.burst, most=rate.burst)
            next_in = max(0, rates.next_at(tat, interval=rate.interval, burst=rate.burst) - self.now) / SECOND
        return RateUse(count=rate.count, per=rate.per, burst=rate.burst, keyed=rate.keyed, free=free, next_in=next_in)

    def key(self, limit: str, key: str, values: LimitValues) -> KeyUse | None:
        """Return a key if nothing of it may start; None if something may."""
        running, reason = self.running.get((limit, key), 0), ""
        if values.each is not None and running >= values.each:
            reason = f"{running} run, {values.each} may"
        elif (limit, key) in self.lanes and any(rate.keyed for rate in values.rates):
            own = LimitValues(rates=tuple(rate for rate in values.rates if rate.keyed))
            moment = blocked_by_rate(limit, key, own, self.stored, now=self.now)
            reason = "" if moment is None else f"rate: next in {duration((moment - self.now) / SECOND)}"
        if not reason:
            return None
        oldest = min((lane.oldest.due_at for lane in self.lanes.get((limit, key), ())), default=None)
        return KeyUse(
            key=key,
            running=running,
            waiting=self.waiting(limit, key),
            oldest_seconds=None if oldest is None else max(0.0, (self.now - oldest) / SECOND),
            reason=reason,
        )


def _use(seen: _Use, row: Row, values: LimitValues, keys: set[str]) -> LimitUse:
    name, code_total, code_each, _, set_total, set_each, set_by, set_at = row
    closed = seen.stored[permit_name(name)].closed_until if permit_name(name) in seen.stored else None
    saturated = [use for key in keys if (use := seen.key(name, key, values)) is not None]
    saturated.sort(key=lambda use: (-use.waiting.number, -use.running, use.key))
    return LimitUse(
        name=name,
        total=values.total,
        each=values.each,
        code_total=code_total,
        code_each=code_each,
        set_total=set_total,
        set_each=set_each,
        changed=set_total is not None or set_each is not None,
        set_by=set_by,
        set_at=None if set_at is None else to_datetime(set_at),
        rates=tuple(seen.rate(name, rate) for rate in values.rates),
        closed_until=to_datetime(closed) if closed is not None and closed > seen.now else None,
        running=seen.running.get((name,), 0),
        waiting=seen.waiting(name, "", *keys),
        saturated=tuple(saturated[:MOST_KEYS]),
        saturated_keys=Count(number=len(saturated), capped=seen.capped and values.each == 0),
    )

"""Limits: those of 0, and keys whose jobs wait for long while others of the same limit start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedq.clock import SECOND, to_datetime
from embedq.display.units import counted, relative, span
from embedq.doctor import checks
from embedq.doctor.findings import Section, Severity
from embedq.flow.lanes import Pair
from embedq.storage import holds
from embedq.storage.base import Transaction
from embedq.storage.inspect.glance import Count
from embedq.storage.lane_starts import latest_starts
from embedq.storage.limit_use import LimitUse, limits_in_use
from embedq.storage.waiting_lanes import WaitingLane, waiting_lanes
from embedq.storage.why_waiting import why_waiting

SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Starving:
    """A key of which no job has started for long, though jobs of other keys of its limit have.

    Attributes:
        job_id: the next of its jobs.
        waits: seconds since that is due.
        reasons: why that one waits, in words.
    """

    limit: str
    key: str
    job_id: int
    waits: float
    jobs: Count
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFacts:
    """The limits, and the keys that starve, that which waits for longest first."""

    limits: Sequence[LimitUse]
    starving: Sequence[Starving]


def read(tx: Transaction, *, max_wait: float, now: int) -> LimitFacts:
    """Read the facts, each up to a limit.

    Args:
        max_wait: seconds that a job may be due before its key starves.
    """
    lanes = waiting_lanes(tx)
    paused = holds.snapshot(tx)
    served = [lane for lane in lanes.lanes if not paused.of_queue(lane.queue, now)]
    starving = [
        Starving(
            limit=limit,
            key=key,
            job_id=lane.next.job_id,
            waits=(now - lane.next.due_at) / SECOND,
            jobs=lane.jobs,
            reasons=tuple(why_waiting(tx, lane.next.job_id, now=now)),
        )
        for (limit, key), lane in _starving(served, latest_starts(tx), round(max_wait * SECOND), now)[:SHOWN]
    ]
    return LimitFacts(limits=limits_in_use(tx, now=now, lanes=lanes), starving=starving)


def _starving(
    lanes: Sequence[WaitingLane], starts: Mapping[Pair, int], max_wait: int, now: int
) -> list[tuple[Pair, WaitingLane]]:
    """Return the keys that starve, each with the lane that waits for longest; the longest wait first."""
    found: dict[Pair, WaitingLane] = {}
    for lane in sorted(lanes, key=lambda lane: lane.next.due_at):
        if now - lane.next.due_at <= max_wait:
            break
        for limit, key in lane.pairs:
            others = max((at for (name, other), at in starts.items() if name == limit and other != key), default=0)
            lately = others > max(now - max_wait, lane.next.due_at)
            if key and lately and starts.get((limit, key), 0) < now - max_wait:
                found.setdefault((limit, key), lane)
    return list(found.items())


def check(facts: LimitFacts, *, now: int) -> Section:
    """Check the limits."""
    section = Section("Limits")
    zero = [use for use in facts.limits if 0 in (use.total, use.each)]
    for use in sorted(zero, key=lambda use: (-use.waiting.number, use.name))[:SHOWN]:
        severity = Severity.WARNING if use.waiting.number else Severity.NOTE
        section.add(
            checks.LIMIT_ZERO, severity=severity, name=use.name, which="in total" if use.total == 0 else "for each key",
            source=_source(use, now), jobs=_jobs(use.waiting),
        )  # fmt: skip
    for one in facts.starving:
        section.add(
            checks.KEY_STARVES, limit=one.limit, key=one.key, wait=span(one.waits), jobs=_jobs(one.jobs),
            job=one.job_id, details=tuple(f"job {one.job_id}: {reason}" for reason in one.reasons),
        )  # fmt: skip
    if not section.findings:
        full = sum(use.full or bool(use.saturated) for use in facts.limits)
        limits = counted(len(facts.limits), "limit") if facts.limits else "no limits"
        section.fine.append(limits + (f"; {full} reached, in total or for some keys" if full else ""))
    return section


def _source(use: LimitUse, now: int) -> str:
    """Return where a limit of 0 stands."""
    code = use.code_total if use.total == 0 else use.code_each
    if code == 0:
        return "in the code"
    if use.set_at is None:
        return "set at run time"
    return f"set by {use.set_by}, {relative(use.set_at, to_datetime(now))}"


def _jobs(count: Count) -> str:
    return counted(count.number, "job", cap=count.number if count.capped else None)

"""Pauses: a row for each thing that is paused, and the jobs that are parked meanwhile; see flow/holds.py.

A claim that meets a held job parks it, and with it the held ones among the next in that line: so many of them are
written twice, and never read again until the hold is over. A hold that is over keeps its row until the last of them is
ready again; every claim that sees it brings some back, the oldest first. Parking and removing lock that row, so that no
job stays parked for a hold that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from embedq.clock import SECOND, to_datetime
from embedq.flow.holds import HoldKind, HoldRow, Holds, is_hold, of_need
from embedq.storage.base import Transaction
from embedq.storage.damage import member
from embedq.storage.rows import ClaimedJob, json_ids

# How many jobs of a line a claim parks, or brings back, for one hold.
SLICE = 1000
# After which time jobs are looked at again that another transaction had locked when the hold was over.
LOCKED_SECONDS = 1
# The row of a quiet process that is gone is kept for so long: it may register again.
GONE_SECONDS = 3600
# What claims nothing while it is held has no jobs that were parked for it.
_PARKING = (HoldKind.QUEUE, HoldKind.TASK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A pause: what is not claimed until it is resumed, or until a time.

    Attributes:
        kind: "everything", "queue", "task" or "process".
        name: of the queue or the task, or the UUID of the process; "" for everything.
        until: when it ends by itself; None for never.
        reason: why, for people; "" if none was given.
        actor: the person or program that paused it.
        since: when it was paused.
    """

    kind: HoldKind
    name: str
    until: datetime | None
    reason: str
    actor: str
    since: datetime

    def covers(self, queue: str, task: str) -> bool:
        """Whether it keeps the jobs of this queue and task from being claimed by any process."""
        return self.kind is HoldKind.EVERYTHING or (self.kind, self.name) in (
            (HoldKind.QUEUE, queue),
            (HoldKind.TASK, task),
        )

    def __str__(self) -> str:
        return "everything" if self.kind is HoldKind.EVERYTHING else f"{self.kind} {self.name}"


def put(
    tx: Transaction, kind: HoldKind, name: str, *, until: int | None, reason: str, actor: str, now: int
) -> list[Hold]:
    """Pause something until a moment (microseconds), or for good; return all holds. One that is there is replaced."""
    tx.run("put_hold", (kind, name, until, reason, actor, now))
    return in_force(tx, now=now)


def end(tx: Transaction, kind: HoldKind, name: str, *, now: int) -> bool:
    """End a hold now; False if it does not hold. Its parked jobs are brought back by the next claims."""
    if not tx.run("end_hold", (now, kind, name)):
        return False
    if kind not in _PARKING:
        tx.run("delete_hold", (kind, name))
    return True


def in_force(tx: Transaction, *, now: int) -> list[Hold]:
    """Return what is paused at this moment."""
    return [
        Hold(
            kind=member(HoldKind, kind),
            name=name,
            until=None if until is None else to_datetime(until),
            reason=reason,
            actor=actor,
            since=to_datetime(since),
        )
        for kind, name, until, reason, actor, since in tx.all("holds")
        if until is None or until > now
    ]


def snapshot(tx: Transaction) -> Holds:
    """Return the holds as a claim reads them."""
    return Holds(HoldRow(kind, name, until) for kind, name, until, *_ in tx.all("holds"))


# -- at the claim ------------------------------------------------------------------------------------------------------


class Sifted(NamedTuple):
    """The jobs that may run, and the executors in whose lines held ones were met: others may follow."""

    kept: list[ClaimedJob]
    met: frozenset[str]


def park(tx: Transaction, jobs: list[ClaimedJob], holds: Holds, *, across: bool, now: int) -> Sifted:
    """Park those of the jobs that are held, and the held ones that follow in their lines.

    Args:
        jobs: locked, and not claimed yet.
        across: all queues are worked, those but the default one as one line.
    """
    held = [job for job in jobs if holds.of_job(job.queue, job.name, now) is not None]
    if not held:
        return Sifted(jobs, frozenset())
    lines = {(job.executor, None if across and job.queue != "default" else job.queue) for job in held}
    by_hold: dict[HoldRow, set[int]] = {}
    met = [(job.id, job.queue, job.name) for job in held]
    for job_id, queue, name in (*met, *_following(tx, sorted(lines, key=str))):
        if (row := holds.of_job(queue, name, now)) is not None:
            by_hold.setdefault(row, set()).add(job_id)
    for row in sorted(by_hold, key=lambda row: row[:2]):
        _park(tx, row, by_hold[row], now)
    gone = {job.id for job in held}
    return Sifted([job for job in jobs if job.id not in gone], frozenset(job.executor for job in held))


def _following(tx: Transaction, lines: Iterable[tuple[str, str | None]]) -> Iterable[tuple[int, str, str]]:
    for executor, queue in lines:
        if queue is None:
            found = tx.all("line_across", (executor, SLICE))
        else:
            found = tx.all("line_of_queue", (executor, queue, SLICE))
        yield from ((job_id, queue, name) for job_id, queue, name in found)


def _park(tx: Transaction, row: HoldRow, job_ids: Collection[int], now: int) -> None:
    stored = tx.one("hold", (row.kind, row.name))
    # It may have ended since it was read.
    if stored is not None and row._replace(until=stored[0]).active(now):
        tx.run("park_held", (row.need, json_ids(sorted(job_ids))))


class Released(NamedTuple):
    """What was done about the holds that are over.

    Attributes:
        jobs: how many are ready again.
        more: others are still parked.
        look_at: when to look at them again, in microseconds; None if there are none, or at once.
    """

    jobs: int
    more: bool
    look_at: int | None


def release(tx: Transaction, holds: Holds, *, now: int) -> Released:
    """Bring back some of the jobs that were parked for holds that are over; remove the holds that have none left."""
    brought, more, locked = 0, False, False
    for row in holds.over(now):
        stored = tx.one("hold", (row.kind, row.name))
        if stored is None or row._replace(until=stored[0]).active(now):
            continue
        number = tx.run("release_held", (row.need, SLICE)) if row.kind in _PARKING else 0
        brought += number
        if number == SLICE:
            more = True
        elif tx.one("parked_for_hold", (row.need,)) is not None:
            locked = True
        else:
            tx.run("delete_hold", (row.kind, row.name))
    return Released(brought, more, now + LOCKED_SECONDS * SECOND if locked and not more else None)


def restore(tx: Transaction, needs: Sequence[str], *, now: int) -> None:
    """Let jobs continue that were parked for holds of which there is no row, as after a row was deleted by hand."""
    there = {row.need for row in snapshot(tx).rows}
    for need in needs:
        if is_hold(need) and need not in there:
            tx.run("restore_hold", (*of_need(need), now, "its row was missing", "embedq", now))


def forget_processes(tx: Transaction, *, now: int) -> int:
    """Remove the holds of processes that are gone; return how many."""
    gone = [
        (kind, name)
        for kind, name, *_, since in tx.all("holds")
        if kind == HoldKind.PROCESS
        and since < now - GONE_SECONDS * SECOND
        and tx.one("process_by_uuid", (name,)) is None
    ]
    return sum(tx.run("delete_hold", one) for one in gone)


class IgnoringProcess(NamedTuple):
    """A process of an earlier build, which starts jobs that are paused."""

    hostname: str
    pid: int
    version: str


def ignoring(tx: Transaction, *, limit: int = 20) -> list[IgnoringProcess]:
    """Return the processes of earlier builds."""
    return [IgnoringProcess._make(row) for row in tx.all("ignoring_holds", (limit,))]

"""The queries of the engine itself: parked needs, due times, and whether there is work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.flow.holds import HoldRow, Holds
from embedq.job import JobState
from embedq.storage.base import Transaction
from embedq.storage.claims import ISOLATED_EXECUTORS, json_or_none
from embedq.storage.inspect.filters import Search, conditions


def parked_needs(tx: Transaction) -> list[str]:
    """Return the needs of the parked jobs."""
    return [needs for (needs,) in tx.all("parked_needs")]


def next_due(tx: Transaction) -> int | None:
    """Return when the next scheduled job is due, in microseconds; None if there is none."""
    row = tx.one("next_due")
    return row[0] if row else None


class ReadyJob(NamedTuple):
    """The most urgent ready job of some executors.

    Attributes:
        rank: by its queue, where queues are named, then by its priority; the least is the most urgent.
    """

    rank: tuple[int, int]
    id: int
    executor: str


def next_ready(tx: Transaction, queues: Sequence[str] | None, executors: Sequence[str]) -> ReadyJob | None:
    """Return the most urgent ready job of these executors, whether it may start or not; `queues` as for a claim."""
    for place, queue in enumerate([None] if queues is None else queues):
        asked = conditions(Search(states=(JobState.READY,), queue=queue))
        of_these = ", ".join([f"'{executor}'" for executor in executors])
        sql = (
            f"SELECT priority, id, executor FROM embedq_jobs {asked.clause(f'executor IN ({of_these})')} "
            "ORDER BY priority DESC, id LIMIT 1"
        )
        for priority, job_id, executor in tx.select(sql, asked.params):
            return ReadyJob((place, -priority), job_id, executor)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableWork:
    """What another process may have changed.

    Attributes:
        ready: a ready job is there.
        suspect: a suspect is there.
        next_due: when the next job is due, or a pause ends, in microseconds; None if there is neither.
        cancels: the running jobs to cancel: (job id, claim).
        holds: what is paused.
    """

    ready: bool
    suspect: bool
    next_due: int | None
    cancels: Sequence[tuple[int, int]]
    holds: Holds


def waiting(tx: Transaction, server_id: int, queues: Sequence[str] | None) -> AvailableWork:
    """Return what a dispatcher of `queues` (None: all) must know after another process has written. A few seeks."""
    found = tx.all("news", (server_id, json_or_none(queues)))
    suspects = {executor for kind, executor, *_ in found if kind == "suspect"}
    held = [(*name.split(" ", 1), until) for kind, name, until, _ in found if kind == "hold"]
    moments = [at for kind, _, at, _ in found if kind in ("due", "hold") and at is not None]
    return AvailableWork(
        ready=bool(suspects & ISOLATED_EXECUTORS) or any(kind == "ready" for kind, *_ in found),
        suspect=bool(suspects - ISOLATED_EXECUTORS),
        next_due=min(moments, default=None),
        cancels=[(job_id, claim) for kind, _, job_id, claim in found if kind == "cancel"],
        holds=Holds(HoldRow(*one) for one in held),
    )

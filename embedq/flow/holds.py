"""Holds: what is paused, until when; and which jobs a hold keeps from being claimed.

A hold is a row, read with each claim. Under a hold of everything, or of one process, nothing is claimed. A held queue
is left out of the claim. The jobs of a held task, and those of a held queue where all queues are worked, are found when
they are met: they become `parked`, with the hold as what they need, so that no other job waits behind them. When the
hold is over they become `ready` again.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

# How the need of a parked job begins that a hold keeps.
NEED = "hold "


class HoldKind(StrEnum):
    """What a hold keeps from being claimed."""

    EVERYTHING = "everything"
    QUEUE = "queue"
    TASK = "task"
    PROCESS = "process"
    """One process claims nothing; its name is the process's UUID."""


class HoldRow(NamedTuple):
    """A hold as a claim reads it.

    Attributes:
        name: of the queue or task, or the UUID of the process; "" for everything.
        until: when it ends by itself, in microseconds; None for never.
    """

    kind: str
    name: str
    until: int | None

    def active(self, now: int) -> bool:
        """Whether it holds anything at this moment."""
        return self.until is None or self.until > now

    @property
    def need(self) -> str:
        """What the jobs need that were parked for it."""
        return f"{NEED}{self.kind} {self.name}"


def is_hold(need: str | None) -> bool:
    """Return whether a job with this need was parked for a hold, and not because no process can run it."""
    return need is not None and need.startswith(NEED)


def of_need(need: str) -> tuple[str, str]:
    """Return the kind and the name of the hold for which jobs with this need were parked."""
    kind, _, name = need.removeprefix(NEED).partition(" ")
    return kind, name


class Holds:
    """All holds at one moment, those that are over and not yet removed among them. False if there are none."""

    __slots__ = ("_everything", "_processes", "_queues", "_tasks", "rows")

    def __init__(self, rows: Iterable[HoldRow] = ()) -> None:
        self.rows = tuple(sorted(rows, key=lambda row: row[:2]))
        by_kind: dict[str, dict[str, HoldRow]] = {kind: {} for kind in HoldKind}
        for row in self.rows:
            # One of a kind that a newer build has is not this build's to judge.
            by_kind.setdefault(row.kind, {})[row.name] = row
        self._everything = by_kind[HoldKind.EVERYTHING].get("")
        self._queues = by_kind[HoldKind.QUEUE]
        self._tasks = by_kind[HoldKind.TASK]
        self._processes = by_kind[HoldKind.PROCESS]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holds) and self.rows == other.rows

    def __hash__(self) -> int:
        return hash(self.rows)

    def everything(self, now: int) -> bool:
        """Return whether no job may be claimed by any process."""
        return self._everything is not None and self._everything.active(now)

    def process(self, uuid: str, now: int) -> HoldRow | None:
        """Return the hold by which this process is quiet; None if it is not."""
        row = self._processes.get(uuid)
        return row if row is not None and row.active(now) else None

    def queues(self, now: int) -> frozenset[str]:
        """Return the held queues."""
        return frozenset(name for name, row in self._queues.items() if row.active(now))

    def of_queue(self, queue: str, now: int) -> bool:
        """Return whether no job of this queue may be claimed."""
        return self.everything(now) or queue in self.queues(now)

    def of_job(self, queue: str, task: str, now: int) -> HoldRow | None:
        """Return the hold of a queue or task that keeps a job; None if there is none."""
        for row in (self._queues.get(queue), self._tasks.get(task)):
            if row is not None and row.active(now):
                return row
        return None

    def bars(self, queue: str, task: str, now: int) -> bool:
        """Return whether a job must not start now."""
        return self.everything(now) or self.of_job(queue, task, now) is not None

    def over(self, now: int) -> list[HoldRow]:
        """Return those that have ended."""
        return [row for row in self.rows if not row.active(now)]

    def next_end(self, now: int) -> int | None:
        """Return when the next one ends by itself, in microseconds; None if none does."""
        return min((row.until for row in self.rows if row.until is not None and row.until > now), default=None)


NO_HOLDS = Holds()

"""Each queue: what waits in it, for how long, and who works it."""

from __future__ import annotations

from dataclasses import dataclass

from embedq.storage.base import Transaction
from embedq.storage.inspect.glance import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue that has jobs, has had some in the last day, or is worked by name.

    Attributes:
        oldest_seconds: how long its oldest ready job has been due; None when none waits.
        scheduled: scheduled and retrying.
        done_last_hour, failed_last_hour: attempts that succeeded, and that failed, timed out or crashed.
        servers: the numbers of the processes that work it.
    """

    name: str
    ready: Count
    oldest_seconds: float | None
    running: int
    scheduled: Count
    done_last_hour: int
    failed_last_hour: int
    servers: tuple[int, ...]


def queues(tx: Transaction, *, now: int) -> list[Queue]:
    """Every queue, by name; at most `MOST_QUEUES`."""
    raise NotImplementedError

"""Which queues have a ready job: one seek in the index for each.

Neither server seeks for a `queue > …` that depends on another row of the statement: it goes through all jobs of the
queue before, however many wait there. So the steps from one queue to the next are taken here, with constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def ready_queues(query: Callable[[str, list[Any]], Sequence[Any]], executor: str, limit: int) -> Iterator[tuple[str]]:
    """Return the queues that have a ready job for an executor, by name, `limit` at most.

    Args:
        query: runs a named statement and returns its rows.
    """
    latest: str | None = None
    for _ in range(limit):
        found = query("ready_queues", [executor, latest])
        if not found:
            return
        [(latest,)] = found
        yield from found


def visit_lanes(
    query: Callable[[str, list[Any]], Sequence[Any]], executor: str, queue: str, priority: int, start: str, limit: int
) -> Iterator[tuple[str, str]]:
    """Return the lanes from a name on that have a ready job, by name, `limit` at most."""
    latest, after = start, 0
    for _ in range(limit):
        found = query("visit_lanes", [executor, queue, priority, latest, after])
        if not found:
            return
        [(latest, _)] = found
        after = 1
        yield from found

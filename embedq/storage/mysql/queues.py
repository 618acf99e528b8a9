"""Which queues have a ready job: one seek in the index for each.

Neither server seeks for a `queue > …` that depends on another row of the statement: it goes through all jobs of the
queue before, however many wait there. So the steps from one queue to the next are taken here, with constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

# So many executors are asked about in one statement, `ready_queues`.
SLOTS = 3


def ready_queues(ask: Callable[[str, list[Any]], Sequence[Any]], executors: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of an executor, of at most `SLOTS`, and a queue that has a ready job for it.

    Args:
        ask: runs a named statement, and gives its rows.
    """
    latest: list[tuple[str | None, str | None]] = [(executor, None) for executor in executors]
    while latest:
        slots = latest + [(None, None)] * (SLOTS - len(latest))
        found = ask("ready_queues", [value for slot in slots for value in slot])
        latest = [(executor, queue) for executor, queue in found if queue is not None]
        yield from latest  # type: ignore[misc]

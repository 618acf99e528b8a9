"""The heartbeats of other processes as this process has seen them: the evidence for taking their jobs.

An old heartbeat proves nothing by itself. The server may have been down, or have accepted no writes, and then every
heartbeat is old; its clock may have jumped; this process may have slept. So a process counts as dead only when this
process has seen its heartbeat unchanged for a whole lease, *while the server accepted this process's own heartbeats*. A
new process thus waits for one lease first. The process that is cut off measures its lease from when it sent its last
heartbeat, which is earlier, and has ended its runs by then (`contact`).

Heartbeats are compared for change, never for age. Nothing here reads the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _LastHeartbeat(NamedTuple):
    value: int
    since: float


class HeartbeatObserver:
    """The heartbeats of other processes, over successive observations.

    Args:
        lease: for how many seconds a heartbeat must be unchanged.
        gap: observations that are further apart (seconds) are not successive: those before the gap do not count.
    """

    def __init__(self, *, lease: float, gap: float) -> None:
        self._lease = lease
        self._gap = gap
        self._observed_at: float | None = None
        self._seen: Mapping[int, _LastHeartbeat] = {}

    def observe(self, now: float, heartbeats: Mapping[int, int]) -> None:
        """Add one observation: what the server returned, at `now`, for a write of this process's own heartbeat.

        Args:
            now: on a clock that also counts while the machine is suspended (`clock.elapsed`).
            heartbeats: the latest heartbeats of the others, by their numbers.
        """
        if self._observed_at is not None and now - self._observed_at > self._gap:
            self._seen = {}
        self._observed_at = now
        before = self._seen
        # A new mapping each time: other threads read it.
        self._seen = {
            number: seen
            if (seen := before.get(number)) is not None and seen.value == value
            else _LastHeartbeat(value, now)
            for number, value in heartbeats.items()
        }

    def restart(self) -> None:
        """Discard all observations: a write failed, so what other processes could do meanwhile is unknown."""
        self._observed_at, self._seen = None, {}

    def unchanged_for_lease(self, number: int, heartbeat: int) -> bool:
        """Return whether that process had this heartbeat at every observation of a whole lease, up to the latest."""
        seen, observed_at = self._seen.get(number), self._observed_at
        return (
            seen is not None
            and observed_at is not None
            and seen.value == heartbeat
            and observed_at - seen.since >= self._lease
        )

"""Until when this process may run its jobs without a response from the database: self-fencing.

Other processes take its jobs when they have seen its heartbeat unchanged for a whole lease (`observation`). They cannot
have seen a heartbeat before it was sent. So a process that measures its lease from *sending* the last heartbeat that
was confirmed, and has ended its runs by the end of it, ends them first. It starts to end them a margin earlier.

An outage differs from a partition. While every address of the server refuses connections, no process can have its
heartbeat confirmed, so none can take jobs: the runs continue. Where nothing responds, other processes may get
responses.

Nothing here reads the time. Callers pass `clock.elapsed`, which also counts while the machine is suspended.
"""

from __future__ import annotations

from dataclasses import dataclass

# How many heartbeats there are in a lease: losing one must not matter.
BEATS = 8
LOCAL_BEATS = 3
# How long it takes to notice the loss, and to give back the jobs that were interrupted.
NOTICE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """The durations that follow from the lease, in seconds.

    Attributes:
        beat: from one heartbeat to the next.
        gap: between confirmed heartbeats that are further apart, other processes may have missed something.
        margin: how long before the end of the lease runs are interrupted.
        grace: how long they have to yield then; a child process is killed after that.
    """

    lease: float
    beat: float
    gap: float
    margin: float
    grace: float

    @classmethod
    def of(cls, lease: float, *, interrupt_grace: float, remote: bool) -> LeaseTiming:
        """Return the durations for a database on a server (`remote`), or for a file."""
        beat = lease / (BEATS if remote else LOCAL_BEATS)
        margin = min(lease / 4, 1.25 * interrupt_grace + NOTICE_SECONDS)
        return cls(lease=lease, beat=beat, gap=2 * beat, margin=margin, grace=min(interrupt_grace, 0.6 * margin))


class Contact:
    """Whether this process may still run its jobs. One thread updates it, any thread may read it.

    Args:
        now: when the process was registered; that counts as a heartbeat.
    Attributes:
        valid_from: when the claims of this process were last known to be safe.
    """

    def __init__(self, timing: LeaseTiming, now: float) -> None:
        self.timing = timing
        self.valid_from = now
        self._refused_since: float | None = None

    def confirmed(self, sent: float) -> None:
        """Record that the heartbeat that was sent at `sent` is in the database."""
        self.valid_from, self._refused_since = max(self.valid_from, sent), None

    def refused(self, tried: float) -> None:
        """Record that every address of the server refused a connection at `tried`.

        Other processes notice an outage only if it is longer than the gap that they allow; from then on it counts.
        """
        if self._refused_since is None:
            self._refused_since = tried
        elif tried - self._refused_since > self.timing.gap:
            self.valid_from = max(self.valid_from, tried)

    def unanswered(self) -> None:
        """Record that there was no response, or one from which nothing follows for other processes."""
        self._refused_since = None

    @property
    def deadline(self) -> float:
        """When runs have to be interrupted."""
        return self.valid_from + self.timing.lease - self.timing.margin

    def lost(self, now: float) -> bool:
        """Return whether no job may start here, and running jobs must end."""
        return now >= self.deadline

    def silent_for(self, now: float) -> float:
        """Return the seconds since `valid_from`."""
        return now - self.valid_from

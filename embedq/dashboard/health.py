"""The health check: the reasons why a queue needs attention."""

from __future__ import annotations

from embedq.dashboard.visit import Visit
from embedq.display.units import counted, span
from embedq.job import JobState

# The longest acceptable wait of a ready job, in seconds.
LONGEST_WAIT = 300.0


def reasons(visit: Visit, *, longest_wait: float = LONGEST_WAIT) -> list[str]:
    """Return the current problems of the queue; empty if it works. Dead letters do not count: they are history."""
    overview = visit.cached("overview", visit.queue.monitor.overview)
    found = []
    if not visit.alive() and overview.counts[JobState.READY].number:
        found.append("jobs are ready, and no process runs jobs")
    found += [
        f"{server.hostname} (process {server.pid}) has sent no heartbeat for "
        f"{span((visit.now - server.heartbeat_at).total_seconds())}"
        for server in overview.silent
    ]
    found += [
        f"the oldest job of queue {wait.queue} has waited for {span(wait.seconds)}"
        for wait in overview.waits
        if wait.seconds > longest_wait
    ]
    for trouble in overview.schedules:
        if trouble.late_seconds is not None:
            found.append(f"recurring job {trouble.name} is {span(trouble.late_seconds)} late")
    if overview.overdue:
        found.append(f"{counted(len(overview.overdue), 'job')} past the timeout and not stopping")
    return found

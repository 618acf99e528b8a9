"""Whether somebody should be woken: the reasons, in words."""

from __future__ import annotations

from embedq.dashboard.visit import Visit
from embedq.job import JobState
from embedq.wording import counted, span

# The oldest ready job of a queue may wait so long, in seconds.
LONGEST_WAIT = 300.0


def reasons(visit: Visit, *, longest_wait: float = LONGEST_WAIT) -> list[str]:
    """Why the queue does not do what it should; empty when it does. Dead letters are no reason: they are history."""
    overview = visit.shared("overview", visit.queue.monitor.overview)
    found = []
    if not visit.alive() and overview.counts[JobState.READY].number:
        found.append("jobs wait, and no process is there that runs any")
    found += [
        f"{server.hostname} (process {server.pid}) has not been heard of for "
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
        found.append(f"{counted(len(overview.overdue), 'job')} outlived the timeout and cannot be stopped")
    return found

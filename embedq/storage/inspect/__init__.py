"""The read model: the queries of people and dashboards. The engine itself uses `engine`, and reads jobs by `details`.

    job, attempts, logs, children              one job (`details`, with its log by pages, family and timeline)
    search, count_search, jobs, count_jobs     which jobs (`searching`, by `filters` and `orderings`)
    stats, count                               the queue at a glance (`glance`)
    servers                                    the processes (`processes`, with what each runs)
    schedules, occurrences                     recurring jobs (`recurrences`)

Only a dashboard uses the rest, which is not imported here: what is broken (`trouble`), what has ended by time
(`history`), each queue (`queueing`) and each function (`durations`).

Pages go by key, counts stop at a cap, and scans have a bound, so that a page costs the same at five million rows as at
five.

May import what `storage` may, and none of its databases. Start reading in `details.py`, then `searching.py`.
"""

from embedq.storage.inspect.details import (
    attempts,
    children,
    job,
    last_traceback,
    logs,
    options,
    outcome,
    outcomes,
    states,
)
from embedq.storage.inspect.engine import AvailableWork, ReadyJob, next_due, next_ready, parked_needs, waiting
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.glance import COUNT_CAP, Count, Stats, count, stats
from embedq.storage.inspect.processes import Server, servers
from embedq.storage.inspect.recurrences import Occurrence, ScheduleState, occurrences, schedules
from embedq.storage.inspect.searching import JobPage, count_jobs, count_search, jobs, search

__all__ = [
    "COUNT_CAP",
    "AvailableWork",
    "Count",
    "JobPage",
    "Occurrence",
    "ReadyJob",
    "ScheduleState",
    "Search",
    "Server",
    "Stats",
    "attempts",
    "children",
    "count",
    "count_jobs",
    "count_search",
    "job",
    "jobs",
    "last_traceback",
    "logs",
    "next_due",
    "next_ready",
    "occurrences",
    "options",
    "outcome",
    "outcomes",
    "parked_needs",
    "schedules",
    "search",
    "servers",
    "states",
    "stats",
    "waiting",
]

"""Each queue: the jobs that wait in it, for how long, and the processes that work it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from embedq.clock import SECOND
from embedq.job import Ending
from embedq.storage.base import Transaction
from embedq.storage.claims import ALL_EXECUTORS
from embedq.storage.inspect import glance
from embedq.storage.inspect.glance import COUNT_CAP, Count
from embedq.storage.inspect.history import Totals, totals_by_queue
from embedq.storage.inspect.processes import FETCHED, running, servers

MOST_QUEUES = 200
# Ready jobs that are counted, and looked at for their age, in all queues together.
COUNTED, LOOKED_AT = 10_000, 2_000
NONE = Count(number=0, capped=False)


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
    """Every queue, by name. Where there are many, `MOST_QUEUES`: those with ready jobs, then those with most to do."""
    waiting = ready(tx)
    held: Counter[str] = Counter(job.queue for job in running(tx, limit=FETCHED))
    by_state, due_capped = glance.due(tx)
    due = sum(by_state.values(), Counter[str]())
    hour = totals_by_queue(tx, "hour", now=now)
    workers = servers(tx)
    named = {queue for server in workers for queue in server.queues or ()}
    names = _most_important(waiting, held.keys() | due.keys() | named, totals_by_queue(tx, "day", now=now))
    return [
        Queue(
            name=name,
            ready=waiting[name].jobs if name in waiting else NONE,
            oldest_seconds=max(0.0, (now - waiting[name].oldest) / SECOND) if name in waiting else None,
            running=held[name],
            scheduled=Count(number=due[name], capped=due_capped),
            done_last_hour=hour[name].endings.get(Ending.SUCCEEDED, 0) if name in hour else 0,
            failed_last_hour=hour[name].failures if name in hour else 0,
            servers=tuple(server.id for server in workers if server.queues is None or name in server.queues),
        )
        for name in sorted(names)
    ]


def _most_important(waiting: Collection[str], active: Collection[str], day: Mapping[str, Totals]) -> set[str]:
    names = set(waiting)
    if len(names) >= MOST_QUEUES:
        # Of any other it is not known whether it has ready jobs.
        return names
    others = [*sorted(set(active) - names), *sorted(day.keys() - names - set(active), key=lambda name: -day[name].runs)]
    return names.union(others[: MOST_QUEUES - len(names)])


class Ready(NamedTuple):
    """What is ready in a queue: how many, and when the oldest was due (microseconds)."""

    jobs: Count
    oldest: int


def ready(tx: Transaction, *, counting: bool = True) -> dict[str, Ready]:
    """The queues that have a ready job.

    The oldest is looked for among the first in line and the first of each priority: jobs stand in line by their ids, so
    those that have waited longest are among them. Without `counting` the numbers are left out.
    """
    found: dict[str, Ready] = {}
    lines = [(one, queue) for one in ALL_EXECUTORS for (queue,) in tx.all("ready_queues", (one, MOST_QUEUES))][
        :MOST_QUEUES
    ]
    share = max(1, len(lines))
    cap, looks = max(100, min(COUNT_CAP, COUNTED // share)), max(20, min(1000, LOOKED_AT // share))
    for executor, queue in lines:
        for statement, extra in (("queue_line", (looks,)), ("queue_levels", ())):
            for (oldest,) in tx.all(statement, (executor, queue, *extra)):
                if oldest is not None:
                    _add(found, queue, 0, False, int(oldest))
        if counting and queue in found:
            [(number,)] = tx.all("queue_ready", (executor, queue, cap + 1))
            _add(found, queue, min(number, cap), number > cap, found[queue].oldest)
    for queue, number, oldest in tx.all("queue_suspects", (1000,)):
        _add(found, queue, number, False, oldest)
    return found


def _add(found: dict[str, Ready], queue: str, number: int, capped: bool, oldest: int) -> None:
    there = found.get(queue, Ready(NONE, oldest))
    count = Count(number=there.jobs.number + number, capped=there.jobs.capped or capped)
    found[queue] = Ready(count, min(there.oldest, oldest))

"""Finds the processes that are alive, for a process that runs no jobs itself, such as one that copies a database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from embedq.clock import SECOND, Clock, elapsed
from embedq.maintenance.contact import LeaseTiming
from embedq.maintenance.membership import lock_is_free
from embedq.maintenance.observation import HeartbeatObserver
from embedq.storage import servers
from embedq.storage.base import Database, Transaction
from embedq.storage.servers import ServerRow

CHECK_SECONDS = 0.2
# The number of no process.
NO_SERVER = 0


def live_processes(
    database: Database,
    *,
    clock: Clock,
    lease: float,
    folder: Path,
    host: str,
    waiting: Callable[[list[ServerRow]], None],
) -> list[ServerRow]:
    """Return the registered processes that are not known to be dead.

    The lock of a process on another host is not visible. This then waits until one of those heartbeats has changed, or
    all have been unchanged for a whole lease while the database accepted writes. A process that is alive can be missing
    only if it ends meanwhile.

    Args:
        folder: where the processes of the database keep their lock files on this host, whose `host_identity` is `host`.
        waiting: called, before this waits, with the processes that it waits for.
    """
    timing = LeaseTiming.of(lease, interrupt_grace=0, remote=True)
    observer = HeartbeatObserver(lease=lease, gap=timing.gap)
    first: dict[int, int] = {}
    waits = False
    while True:
        rows = database.write(_read, now=clock.now(), length=round(lease * SECOND))
        unseen = [row for row in rows if lock_is_free(row, folder=folder, host=host) is None]
        alive = [row for row in rows if lock_is_free(row, folder=folder, host=host) is False]
        alive += [row for row in unseen if first.setdefault(row.id, row.heartbeat_at) != row.heartbeat_at]
        observer.observe(elapsed(), {row.id: row.heartbeat_at for row in unseen})
        if alive or all(observer.unchanged_for_lease(row.id, row.heartbeat_at) for row in unseen):
            database.write(servers.release_leases, NO_SERVER)
            return alive
        if not waits:
            waits = True
            waiting(unseen)
        time.sleep(min(CHECK_SECONDS, timing.beat))


def _read(tx: Transaction, *, now: int, length: int) -> list[ServerRow]:
    # It writes each time: a database that accepts no writes accepts no heartbeats either.
    servers.take_lease(tx, "roll call", NO_SERVER, now=now, length=length)
    return servers.others(tx, NO_SERVER)

"""The complete examination, section by section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from embedq.clock import Clock
from embedq.config import Settings
from embedq.doctor import clocks, databases, limits, pauses, processes, queues, recurring_jobs
from embedq.doctor.findings import Section
from embedq.doctor.processes import ProcessState
from embedq.storage import health
from embedq.storage.base import Database

# A job that waits longer than this is late, unless the caller sets another limit.
MAX_WAIT_SECONDS = 300.0


class InspectedApp(recurring_jobs.ScheduleSource, Protocol):
    """An app that is connected. `EmbedQ` implements it; the doctor stands below the apps."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def database(self) -> Database: ...


def examine(app: InspectedApp, *, max_wait: float = MAX_WAIT_SECONDS) -> Iterator[Section]:
    """Examine an app's database and the processes that share it. Changes nothing.

    Args:
        app: connected; it need not be started.
        max_wait: seconds that a job may be due before there is a warning.
    Raises:
        StorageError: the database is not available.
    """
    database, now = app.database, app.clock.now()
    yield databases.check(app.settings, database)
    observed = processes.observe(
        database.read(health.processes), folder=database.folder / "servers", lease=app.settings.lease, now=now
    )
    yield processes.check(observed, now=now)
    yield clocks.check_database(database, app.clock, observed, now=now)
    yield queues.check(database.read(queues.read, now=now), observed, max_wait=max_wait, now=now)
    yield pauses.check(database.read(pauses.read, now=now), now=now)
    yield limits.check(database.read(limits.read, max_wait=max_wait, now=now), now=now)
    alive = any(one.state is ProcessState.ALIVE for one in observed)
    yield recurring_jobs.check(recurring_jobs.read(app), now=now, alive=alive)

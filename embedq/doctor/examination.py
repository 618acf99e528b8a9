"""The whole examination, section by section."""

from __future__ import annotations

from collections.abc import Iterator

from embedq.app import EmbedQ
from embedq.doctor import clocks, processes, queues, recurrences, stores
from embedq.doctor.findings import Section
from embedq.doctor.processes import Life
from embedq.storage import health
from embedq.storage.server_clock import ServerClock

# A job that waits for longer than this is late, unless the caller says otherwise.
MAX_WAIT_SECONDS = 300.0


def examine(app: EmbedQ, *, max_wait: float = MAX_WAIT_SECONDS) -> Iterator[Section]:
    """Look at an app's database, and at the processes that share it. Changes nothing.

    Args:
        app: connected; it need not be started.
        max_wait: seconds that a job may be due before that is worth a warning.
    Raises:
        StorageError: the database does not answer.
    """
    database, now = app.database, app.clock.now()
    yield stores.check(app.settings, database)
    seen = processes.observe(
        database.read(health.processes), folder=database.folder / "servers", lease=app.settings.lease, now=now
    )
    yield processes.check(seen, now=now)
    yield clocks.check(
        seen,
        newest=database.read(health.newest_created),
        offset=app.clock.offset if isinstance(app.clock, ServerClock) else None,
        now=now,
    )
    yield queues.check(database.read(queues.read, now=now), seen, max_wait=max_wait, now=now)
    schedules = app.schedules()
    last = [schedule.last_job_id for schedule in schedules if schedule.last_job_id is not None]
    yield recurrences.check(
        schedules,
        database.read(health.states, last),
        now=now,
        alive=any(one.life is Life.ALIVE for one in seen),
    )

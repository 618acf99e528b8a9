"""What a process looks at once, soon after it has started, and says in the log: the cheap part of the examination.

Of the processes of one app only one speaks: the leader, or the eldest while another app's process leads. So many
workers that start together, or are replaced one by one, say a thing once. What passes by itself while processes start
and end, as in a deployment, is left to `embedq doctor`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from embedq.clock import Clock
from embedq.config import Settings, scheme_of
from embedq.doctor import clocks, kinship, processes, queues, stores
from embedq.doctor.findings import Finding, Section, Severity
from embedq.doctor.kinship import Code
from embedq.doctor.processes import Life, Seen
from embedq.errors import StorageError
from embedq.readable import safe
from embedq.storage import health
from embedq.storage.base import Database
from embedq.storage.server_clock import ServerClock

logger = logging.getLogger("embedq")

TOLD = {
    "clock-set-back",
    "jobs-parked",
    "network-filesystem",
    "process-silent",
    "process-stopped",
    "two-apps",
}


def look(settings: Settings, clock: Clock, database: Database, *, server_uuid: str, has: Callable[[str], bool]) -> None:
    """Leave word of this process's code, look around, and log every error and warning with what to do.

    Args:
        server_uuid: this process's.
        has: says whether this process has what a parked job needs.
    """
    folder, code = database.folder / "servers", kinship.own_code()
    with suppress(OSError):
        kinship.write_note(folder, server_uuid, code)
    now = clock.now()
    seen = _seen(settings, database, folder, now)
    if not _speaks(server_uuid, code, seen):
        return
    for section in _sections(settings, clock, database, seen, has=has, now=now):
        for finding in section.findings:
            if finding.code in TOLD and finding.severity is not Severity.NOTE:
                logger.warning("%s", _text(finding))


def warn_of_takeover(
    settings: Settings, clock: Clock, database: Database, *, name: str, formerly: str, task: str
) -> None:
    """A recurring job is given another function: log that, if processes of another app are there whose it may be."""
    try:
        seen = _seen(settings, database, database.folder / "servers", clock.now())
    except (OSError, StorageError):
        return
    others = processes.strangers_to(kinship.own_code(), settings.queues, seen)
    if others:
        logger.warning(
            "%s",
            safe(
                f"recurring job {name!r} ran {formerly}, and from now on runs {task}; but processes of another app are "
                "there, whose it may be. Give each app a database of its own, or the recurring job another name "
                f"(two-apps: {'; '.join(map(processes.whose, others))})"
            ),
        )


def _seen(settings: Settings, database: Database, folder: Path, now: int) -> list[Seen]:
    return processes.observe(database.read(health.processes), folder=folder, lease=settings.lease, now=now)


def _speaks(server_uuid: str, code: Code, seen: list[Seen]) -> bool:
    """Whether it is for this process to speak."""
    family = [
        one
        for one in seen
        if one.server.uuid == server_uuid
        or (one.life is Life.ALIVE and not one.server.stopping and code.is_kin_to(one.code))
    ]
    speaker = min(family, key=lambda one: (not one.server.leader, one.server.id), default=None)
    return speaker is not None and speaker.server.uuid == server_uuid


def _sections(
    settings: Settings, clock: Clock, database: Database, seen: list[Seen], *, has: Callable[[str], bool], now: int
) -> Iterator[Section]:
    if scheme_of(settings.url) == "sqlite" and settings.allow_network_filesystem:
        yield stores.check_filesystem(settings)
    yield processes.check(seen, now=now)
    yield clocks.check(
        seen,
        newest=database.read(health.newest_created),
        offset=clock.offset if isinstance(clock, ServerClock) else None,
        now=now,
    )
    yield queues.check_unrunnable(database.read(queues.read_parked, settings.queues), has)


def _text(finding: Finding) -> str:
    # Names from the database may hold anything.
    details = f": {'; '.join(finding.details)}" if finding.details else ""
    return safe(f"{finding.problem}. What to do: {finding.advice} ({finding.code}{details})")

"""The checks that each process makes soon after its start: the cheap part of the examination, written to the log.

Of the processes of one app only one reports: the leader, or the oldest while a process of another app leads. So a
problem is logged once when many workers start together or are replaced one by one. Findings that disappear by
themselves while processes start and end, as in a deployment, are left to `embedq doctor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from embedq.clock import Clock
from embedq.config import Settings, scheme_of
from embedq.display.calls import safe
from embedq.doctor import clocks, databases, processes, queues, same_app
from embedq.doctor.findings import Finding, Section, Severity
from embedq.doctor.processes import ObservedProcess
from embedq.doctor.same_app import LoadedCode
from embedq.errors import StorageError
from embedq.observability.log import get_logger
from embedq.storage import health
from embedq.storage.base import Database

logger = get_logger()

LOGGED = {
    "clock-set-back",
    "jobs-parked",
    "network-filesystem",
    "process-silent",
    "process-stopped",
    "two-apps",
}


def check_startup(
    settings: Settings, clock: Clock, database: Database, *, server_uuid: str, has: Callable[[str], bool]
) -> None:
    """Write this process's code list, run the checks, and log every error and warning with what to do.

    Args:
        server_uuid: of this process.
        has: returns whether this process meets a requirement of a parked job.
    """
    folder, code = database.folder / "servers", same_app.loaded_code()
    with suppress(OSError):
        same_app.write_code_list(folder, server_uuid, code)
    now = clock.now()
    observed = _observe(settings, database, folder, now)
    if not _reports(server_uuid, code, observed):
        return
    for section in _sections(settings, clock, database, observed, has=has, now=now):
        for finding in section.findings:
            if finding.code in LOGGED and finding.severity is not Severity.NOTE:
                logger.warning("%s", _text(finding))


def warn_of_takeover(
    settings: Settings, clock: Clock, database: Database, *, name: str, formerly: str, task: str
) -> None:
    """Log that a recurring job was given another function, if processes of another app may have declared it."""
    try:
        observed = _observe(settings, database, database.folder / "servers", clock.now())
    except (OSError, StorageError):
        return
    others = processes.other_apps(same_app.loaded_code(), settings.queues, observed)
    if others:
        logger.warning(
            "%s",
            safe(
                f"recurring job {name!r} ran {formerly}, and from now on runs {task}; but processes of another app, "
                "which may have declared it, use this database. Give each app its own database, or rename the "
                f"recurring job (two-apps: {'; '.join(map(processes.app_of, others))})"
            ),
        )


def _observe(settings: Settings, database: Database, folder: Path, now: int) -> list[ObservedProcess]:
    return processes.observe(database.read(health.processes), folder=folder, lease=settings.lease, now=now)


def _reports(server_uuid: str, code: LoadedCode, observed: list[ObservedProcess]) -> bool:
    """Return whether this process reports for its app."""
    same = [one for one in observed if one.server.uuid == server_uuid or (one.works and code.is_same_app(one.code))]
    reporter = min(same, key=lambda one: (not one.server.leader, one.server.id), default=None)
    return reporter is not None and reporter.server.uuid == server_uuid


def _sections(
    settings: Settings,
    clock: Clock,
    database: Database,
    observed: list[ObservedProcess],
    *,
    has: Callable[[str], bool],
    now: int,
) -> Iterator[Section]:
    if scheme_of(settings.url) == "sqlite" and settings.allow_network_filesystem:
        yield databases.check_filesystem(settings)
    yield processes.check(observed, now=now)
    yield clocks.check_database(database, clock, observed, now=now)
    yield queues.check_parked_here(database.read(queues.read_parked, settings.queues), has)


def _text(finding: Finding) -> str:
    # Names from the database may contain any character.
    details = f": {'; '.join(finding.details)}" if finding.details else ""
    return safe(f"{finding.problem}. What to do: {finding.advice} ({finding.code}{details})")

"""The processes that run jobs: whether each is alive, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from embedq.clock import to_datetime
from embedq.display.units import counted, span
from embedq.doctor import checks, proc, same_app
from embedq.doctor.findings import Section
from embedq.doctor.same_app import LoadedCode
from embedq.process.liveness import died, host_identity
from embedq.storage.health import RegisteredProcess
from embedq.storage.inspect import Server
from embedq.version import VERSION

# A leader is elected within a second, and a lease that is not renewed lasts for 30.
LEADERLESS_SECONDS = 60


class ProcessState(Enum):
    """What is known about a process."""

    ALIVE = "alive"
    STOPPED = "stopped by a signal"
    SILENT = "silent, and holds its lock"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedProcess:
    """A registered process, as observed now.

    Attributes:
        silence: seconds since its last heartbeat; negative if that is in the future.
        guessed: its lock is not visible here, so the state follows from its heartbeat only. With an old heartbeat it
            may be dead, or alive and cut off.
        pid: its number as visible here; None if it is on another host or not visible.
        command, folder: how it was started and where it runs, if visible.
        code: the code that it has loaded; nothing for a process of another host.
    """

    server: Server
    state: ProcessState
    silence: float
    guessed: bool = False
    pid: int | None = None
    command: str | None = None
    folder: str | None = None
    code: LoadedCode = field(default_factory=LoadedCode)

    @property
    def name(self) -> str:
        """Return its name for messages."""
        return f"process {self.server.pid} on {self.server.hostname}"

    @property
    def works(self) -> bool:
        """Return whether it is alive and takes jobs."""
        return self.state is ProcessState.ALIVE and not self.server.stopping


def observe(registered: Sequence[RegisteredProcess], *, folder: Path, lease: float, now: int) -> list[ObservedProcess]:
    """Observe each process: by its lock and /proc if it is on this host, else by its heartbeat.

    Args:
        folder: where the processes of the database keep their lock files on this host.
        lease: seconds after which a heartbeat is late.
    """
    here = host_identity(folder) if folder.exists() else None
    return [_observe(process, folder if process.host == here else None, lease, now) for process in registered]


def _observe(process: RegisteredProcess, folder: Path | None, lease: float, now: int) -> ObservedProcess:
    server, states = process.server, ProcessState
    silence = (to_datetime(now) - server.heartbeat_at).total_seconds()
    dead = None if folder is None else died(folder, server.uuid)
    if folder is None or dead is None:
        state = states.DEAD if silence > lease else states.ALIVE
        return ObservedProcess(server=server, state=state, silence=silence, guessed=True)
    if dead:
        return ObservedProcess(server=server, state=states.DEAD, silence=silence)
    pid, code = proc.flock_holder(folder / f"{server.uuid}.lock"), same_app.read_code_list(folder, server.uuid)
    state = states.SILENT if silence > lease else states.ALIVE
    if pid is None:
        return ObservedProcess(server=server, state=state, silence=silence, code=code)
    return ObservedProcess(
        server=server,
        state=states.STOPPED if proc.is_stopped(pid) else state,
        silence=silence,
        pid=pid,
        command=proc.command(pid),
        folder=proc.working_directory(pid),
        code=code,
    )


def check(observed: Sequence[ObservedProcess], *, now: int) -> Section:
    """Check each process, and all of them together."""
    section = Section("Processes")
    for one in observed:
        _check_state(section, one)
        _check_restarts(section, one)
    alive = [one.server for one in observed if one.state is ProcessState.ALIVE]
    if not alive:
        return section
    threads = counted(sum(server.workers for server in alive), "thread")
    running = counted(sum(server.running for server in alive), "job")
    section.fine.append(f"{counted(len(alive), 'process')} alive, {threads}, {running} running")
    _check_versions(section, alive)
    _check_apps(section, observed)
    age = (to_datetime(now) - min(server.started_at for server in alive)).total_seconds()
    if not any(one.server.leader for one in observed) and age > LEADERLESS_SECONDS:
        section.add(checks.NO_LEADER)
    return section


def _check_state(section: Section, one: ObservedProcess) -> None:
    held = f" and holds {counted(one.server.running, 'running job')}" if one.server.running else ""
    facts: dict[str, Any] = {"process": one.name, "held": held, "silence": span(one.silence), "pid": one.pid}
    details = (one.command,) if one.command else ()
    match one.state:
        case ProcessState.STOPPED:
            section.add(checks.PROCESS_STOPPED, details=details, **facts)
        case ProcessState.SILENT:
            uwsgi = one.command is not None and "uwsgi" in one.command.lower()
            section.add(checks.PROCESS_SILENT_UWSGI if uwsgi else checks.PROCESS_SILENT, details=details, **facts)
        case ProcessState.DEAD if one.guessed:
            section.add(checks.PROCESS_DEAD_OR_CUT_OFF, **facts)
        case ProcessState.DEAD:
            section.add(checks.PROCESS_DEAD_WITH_JOBS if one.server.running else checks.PROCESS_DEAD, **facts)


def _check_restarts(section: Section, one: ObservedProcess) -> None:
    if one.state is ProcessState.DEAD or not one.server.restarts:
        return
    count = sum(thread.count for thread in one.server.restarts)
    section.add(
        checks.THREADS_RESTARTED,
        threads=counted(count, "thread"),
        process=one.name,
        were="was" if count == 1 else "were",
        details=tuple(
            f"{thread.thread}: {thread.count} times, last {thread.reason}" for thread in one.server.restarts[:10]
        ),
    )


def _check_versions(section: Section, alive: Sequence[Server]) -> None:
    versions = sorted({server.version for server in alive})
    if len(versions) > 1:
        details = tuple(f"{server.version}: process {server.pid} on {server.hostname}" for server in alive)
        section.add(checks.VERSIONS_DIFFER, versions=", ".join(versions), details=details)
    elif versions != [VERSION]:
        section.add(checks.DOCTOR_VERSION, version=versions[0], own=VERSION)


# -- apps --------------------------------------------------------------------------------------------------------------


def _check_apps(section: Section, observed: Sequence[ObservedProcess]) -> None:
    """Look for live processes of different apps that take each other's jobs."""
    oldest = _oldest_of_each_app(observed)
    if any(other_apps(one.code, one.server.queues, oldest) for one in oldest):
        section.add(checks.TWO_APPS, details=tuple(map(app_of, oldest[:5])))


def _oldest_of_each_app(observed: Sequence[ObservedProcess]) -> list[ObservedProcess]:
    oldest: list[ObservedProcess] = []
    for one in observed:
        if one.works and one.code.modules and not any(one.code.is_same_app(other.code) for other in oldest):
            oldest.append(one)
    return oldest


def other_apps(
    code: LoadedCode, queues: tuple[str, ...] | None, observed: Sequence[ObservedProcess]
) -> list[ObservedProcess]:
    """Return the live processes of other apps than the one with this code that work one of its queues."""
    return [
        one
        for one in observed
        if one.works
        and not one.code.is_same_app(code)
        and (queues is None or one.server.queues is None or not set(queues).isdisjoint(one.server.queues))
    ]


def app_of(one: ObservedProcess) -> str:
    """Describe a process and its app in one line."""
    return f"process {one.server.pid}, with code in {one.code.folder}{f': {one.command}' if one.command else ''}"


def in_folders(observed: Sequence[ObservedProcess]) -> tuple[str, ...]:
    """Return the folders and commands of live processes, if they run in different folders: perhaps two apps."""
    alive = [one for one in observed if one.state is ProcessState.ALIVE and one.folder is not None]
    if len({one.folder for one in alive}) < 2:
        return ()
    return tuple(f"process {one.server.pid} in {one.folder}: {one.command}" for one in alive)

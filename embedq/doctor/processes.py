"""The processes that run jobs: which of them live, which only hold on to their jobs, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from embedq.clock import to_datetime
from embedq.doctor import kinship, proc
from embedq.doctor.findings import Section
from embedq.doctor.kinship import Code
from embedq.liveness import died, host_identity
from embedq.storage.health import Process
from embedq.storage.inspect import Server
from embedq.version import VERSION
from embedq.wording import counted, span

# A leader is found within a second, and a lease that nobody renews lasts for 30.
LEADERLESS_SECONDS = 60


class Life(Enum):
    """What is known of a process."""

    ALIVE = "alive"
    STOPPED = "stopped by a signal"
    SILENT = "silent, and holds its lock"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A registered process, as found now.

    Attributes:
        silent: seconds since its last heartbeat; negative if that is yet to come.
        pid: its number as seen from here; None if it is on another host, or cannot be seen.
        command, folder: how it was started and where it runs, if that can be seen.
        code: what it says of the app that it runs; nothing from another host.
    """

    server: Server
    life: Life
    silent: float
    pid: int | None = None
    command: str | None = None
    folder: str | None = None
    code: Code = field(default_factory=Code)

    @property
    def name(self) -> str:
        """For messages."""
        return f"process {self.server.pid} on {self.server.hostname}"


def observe(registered: Sequence[Process], *, folder: Path, lease: float, now: int) -> list[Seen]:
    """Look at each process: by its lock and /proc if it is on this host, else by its heartbeat.

    Args:
        folder: where the processes of the database keep their lock files on this host.
        lease: seconds after which a heartbeat is late.
    """
    here = host_identity(folder) if folder.exists() else None
    return [_observe(process, folder if process.host == here else None, lease, now) for process in registered]


def _observe(process: Process, folder: Path | None, lease: float, now: int) -> Seen:
    server = process.server
    silent = (to_datetime(now) - server.heartbeat_at).total_seconds()
    gone = None if folder is None else died(folder, server.uuid)
    if folder is None or gone is None:
        return Seen(server=server, life=Life.DEAD if silent > lease else Life.ALIVE, silent=silent)
    if gone:
        return Seen(server=server, life=Life.DEAD, silent=silent)
    pid, code = proc.flock_holder(folder / f"{server.uuid}.lock"), kinship.read_note(folder, server.uuid)
    if pid is None:
        return Seen(server=server, life=Life.SILENT if silent > lease else Life.ALIVE, silent=silent, code=code)
    life = Life.STOPPED if proc.is_stopped(pid) else Life.SILENT if silent > lease else Life.ALIVE
    return Seen(
        server=server, life=life, silent=silent, pid=pid, command=proc.command(pid), folder=proc.home(pid), code=code
    )  # fmt: skip


def check(seen: Sequence[Seen], *, now: int) -> Section:
    """Each process by itself, and all of them together."""
    section = Section("Processes")
    for one in seen:
        if one.life is Life.STOPPED:
            _stopped(section, one)
        elif one.life is Life.SILENT:
            _silent(section, one)
        elif one.life is Life.DEAD:
            _dead(section, one)
    alive = [one.server for one in seen if one.life is Life.ALIVE]
    if not alive:
        return section
    threads = counted(sum(server.workers for server in alive), "thread")
    running = counted(sum(server.running for server in alive), "job")
    section.fine.append(f"{counted(len(alive), 'process')} alive, {threads}, {running} running")
    _versions(section, alive)
    _apps(section, seen)
    youth = (to_datetime(now) - min(server.started_at for server in alive)).total_seconds()
    if not any(one.server.leader for one in seen) and youth > LEADERLESS_SECONDS:
        section.error(
            "no-leader",
            "no process leads: recurring jobs are not fired, and ended jobs are not deleted",
            "look for errors of embedq in the processes' logs, and start them again",
        )
    return section


def _held(one: Seen) -> str:
    return f" and holds {counted(one.server.running, 'running job')}" if one.server.running else ""


def _stopped(section: Section, one: Seen) -> None:
    section.error(
        "process-stopped",
        f"{one.name} was stopped by a signal (SIGSTOP, Ctrl-Z) or stands in a debugger{_held(one)}",
        f"let it go on: kill -CONT {one.pid}; or end it, and its jobs run elsewhere: kill -KILL {one.pid}",
        (one.command,) if one.command else (),
    )


def _silent(section: Section, one: Seen) -> None:
    details = (one.command,) if one.command else ()
    what = f"{one.name} has said nothing for {span(one.silent)}, and is not dead: its lock is held{_held(one)}"
    if one.command is not None and "uwsgi" in one.command.lower():
        section.error(
            "process-silent",
            what,
            "uWSGI needs --enable-threads, and --lazy-apps or --py-call-uwsgi-fork-hooks: without them no thread runs",
            details,
        )
        return
    section.error(
        "process-silent",
        what,
        "it is suspended (a paused container, a laptop that slept), swaps, cannot reach the database, or computes "
        "without ever letting go of the interpreter's lock. Look at it, or end it: its jobs then run elsewhere",
        details,
    )


def _dead(section: Section, one: Seen) -> None:
    if one.server.running:
        section.warning(
            "process-dead",
            f"{one.name} is gone{_held(one)}",
            "start a process that runs jobs: it takes them back at once",
        )
    else:
        section.note("process-dead", f"{one.name} is gone without a goodbye", "the next process to start forgets it")


def _versions(section: Section, alive: Sequence[Server]) -> None:
    versions = sorted({server.version for server in alive})
    if len(versions) > 1:
        section.warning(
            "versions-differ",
            f"processes run different versions of embedq: {', '.join(versions)}",
            "fine while a deployment rolls out; else start the old ones again with the new version",
            tuple(f"{server.version}: process {server.pid} on {server.hostname}" for server in alive),
        )
    elif versions != [VERSION]:
        section.note(
            "version-of-the-doctor",
            f"the processes run embedq {versions[0]}, and this is {VERSION}",
            "ask the embedq that the processes use: run this in their environment",
        )


def _apps(section: Section, seen: Sequence[Seen]) -> None:
    """Live processes of apps that have nothing in common, and take each other's jobs."""
    alive = _apart(seen)
    if any(strangers_to(one.code, one.server.queues, alive) for one in alive):
        section.warning(
            "two-apps",
            "processes of different apps share this database: each takes the other's jobs, and recurring jobs of one "
            "name are whose app came last",
            "give each app a database of its own, or each a queue that only its processes work (queues=[…], --queues). "
            "While a deployment rolls out into a new folder it passes by itself",
            tuple(map(whose, alive[:5])),
        )


def _apart(seen: Sequence[Seen]) -> list[Seen]:
    """A live process of each app, the eldest."""
    eldest: list[Seen] = []
    for one in seen:
        if one.life is not Life.ALIVE or one.server.stopping or not one.code.modules:
            continue
        if not any(one.code.is_kin_to(other.code) for other in eldest):
            eldest.append(one)
    return eldest


def strangers_to(code: Code, queues: tuple[str, ...] | None, seen: Sequence[Seen]) -> list[Seen]:
    """The live processes of other apps than the one with that code, but for those that work none of its queues."""
    return [
        one
        for one in seen
        if one.life is Life.ALIVE
        and not one.server.stopping
        and not one.code.is_kin_to(code)
        and (queues is None or one.server.queues is None or not set(queues).isdisjoint(one.server.queues))
    ]


def whose(one: Seen) -> str:
    """The process and its app, in a line."""
    return f"process {one.server.pid}, with code in {one.code.folder}{f': {one.command}' if one.command else ''}"


def in_folders(seen: Sequence[Seen]) -> tuple[str, ...]:
    """The folders and commands of live processes, if they do not all run in one folder: perhaps of two apps."""
    alive = [one for one in seen if one.life is Life.ALIVE and one.folder is not None]
    if len({one.folder for one in alive}) < 2:
        return ()
    return tuple(f"process {one.server.pid} in {one.folder}: {one.command}" for one in alive)

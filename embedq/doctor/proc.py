"""What Linux tells of the processes on this machine. Elsewhere, and where it does not tell, None or nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
# How often, and how far apart, locks are looked at: what is there each time is held, and not merely passing.
LOOKS, LOOK_SECONDS = 4, 0.05


class Lock(NamedTuple):
    """A line of /proc/locks, as seen from this process's namespace."""

    kind: str
    pid: int
    inode: int
    start: str


def locks(path: Path) -> list[Lock]:
    """The locks on a file."""
    try:
        inode = path.stat().st_ino
        text = (PROC / "locks").read_text()
    except OSError:
        return []
    return [lock for lock in _parsed(text) if lock.inode == inode]


def _parsed(text: str) -> Iterator[Lock]:
    for line in text.splitlines():
        # 1: FLOCK  ADVISORY  WRITE 712 08:01:1311 0 EOF; an arrow marks those that only wait.
        fields = line.split()
        if len(fields) == 8 and "->" not in fields:
            yield Lock(fields[1], int(fields[4]), int(fields[5].rpartition(":")[2]), fields[6])


def flock_holder(path: Path) -> int | None:
    """The process that holds the lock on a lock file."""
    # 0: it is in a namespace that cannot be seen from here.
    pids = {lock.pid for lock in locks(path) if lock.kind in ("FLOCK", "OFDLCK") and lock.pid > 0}
    return pids.pop() if len(pids) == 1 else None


def lasting(path: Path, offsets: range) -> list[int]:
    """The processes that hold a POSIX lock on the file at any of these offsets, at each of several looks."""
    found: set[int] | None = None
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_SECONDS)
        held = {lock.pid for lock in locks(path) if lock.kind == "POSIX" and int(lock.start) in offsets}
        found = held if found is None else found & held
        if not found:
            return []
    return sorted((found or set()) - {os.getpid(), 0})


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal, or stands in a debugger."""
    try:
        # The name, in parentheses, may hold anything.
        state = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def age(pid: int) -> float | None:
    """For how many seconds it has been there, by a clock that nobody sets."""
    try:
        ticks = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        return float((PROC / "uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def command(pid: int) -> str | None:
    """Its command line."""
    try:
        text = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    return " ".join(part.decode("utf-8", "replace") for part in text.split(b"\0") if part) or None


def home(pid: int) -> str | None:
    """The folder that it runs in."""
    try:
        return os.readlink(PROC / str(pid) / "cwd")
    except OSError:
        return None

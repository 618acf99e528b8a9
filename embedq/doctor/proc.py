"""Facts about processes on this machine from Linux's /proc. On other systems the functions return None or nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
# Locks are sampled several times: a lock in every sample is held, not just taken briefly.
SAMPLES, SAMPLE_SECONDS = 4, 0.05


class Lock(NamedTuple):
    """A line of /proc/locks, as visible in this process's namespace."""

    kind: str
    pid: int
    inode: int
    start: str


def locks(path: Path) -> list[Lock]:
    """Return the locks on a file."""
    try:
        inode = path.stat().st_ino
        text = (PROC / "locks").read_text()
    except OSError:
        return []
    return [lock for lock in _parsed(text) if lock.inode == inode]


def _parsed(text: str) -> Iterator[Lock]:
    for line in text.splitlines():
        # 1: FLOCK  ADVISORY  WRITE 712 08:01:1311 0 EOF; an arrow marks a waiting process.
        fields = line.split()
        if len(fields) == 8 and "->" not in fields:
            yield Lock(fields[1], int(fields[4]), int(fields[5].rpartition(":")[2]), fields[6])


def flock_holder(path: Path) -> int | None:
    """Return the process that holds the lock on a lock file."""
    # 0: it is in a namespace that is not visible here.
    pids = {lock.pid for lock in locks(path) if lock.kind in ("FLOCK", "OFDLCK") and lock.pid > 0}
    return pids.pop() if len(pids) == 1 else None


def lock_holders(path: Path, offsets: range) -> list[int]:
    """Return the processes that hold a POSIX lock on the file at any of these offsets in every sample."""
    found: set[int] | None = None
    for sample in range(SAMPLES):
        if sample:
            time.sleep(SAMPLE_SECONDS)
        held = {lock.pid for lock in locks(path) if lock.kind == "POSIX" and int(lock.start) in offsets}
        found = held if found is None else found & held
        if not found:
            return []
    return sorted((found or set()) - {os.getpid(), 0})


def is_stopped(pid: int) -> bool:
    """Return whether the process was stopped by a signal, or is held by a debugger."""
    try:
        # The name, in parentheses, may contain any character.
        state = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def age(pid: int) -> float | None:
    """Return the seconds since the process started, by a clock that cannot be set."""
    try:
        ticks = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        return float((PROC / "uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def command(pid: int) -> str | None:
    """Return the command line of the process."""
    try:
        text = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    return " ".join(part.decode("utf-8", "replace") for part in text.split(b"\0") if part) or None


def working_directory(pid: int) -> str | None:
    """Return the working directory of the process."""
    try:
        return os.readlink(PROC / str(pid) / "cwd")
    except OSError:
        return None

"""Whether a process on this host is alive: the kernel knows, because it frees a file lock when its holder dies.

Each process holds a lock on `servers/<uuid>.lock`. Whoever can take that lock knows that the process is gone, however
it went, within the time it takes to look; no clock and no duration is involved. A process that hangs, or is stopped by
a debugger, still holds its lock and keeps its jobs.

Beside the lock is `<uuid>.running`, a small memory-mapped file in which each worker notes the job it is running. It
outlives a kill -9, so a rescuer can tell the jobs that were running from those that were merely claimed. `<uuid>.code`
says of which app the process is (doctor/kinship.py).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import struct
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from embedq.errors import StorageError, StorageFullError, StorageReadOnlyError, StorageUnavailableError

if TYPE_CHECKING:
    from filelock import FileLock

# A lock file younger than this may belong to a process that has not registered yet.
NEWBORN_SECONDS = 60.0
_SLOT = struct.Struct("=q")


class RunningNotes:
    """The jobs that are running in this process, as a file that survives it. One slot a worker."""

    def __init__(self, path: Path, slots: int) -> None:
        self._free = list(range(slots))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # Written, not only made long: a page that has no room on the disk when it is first touched is a SIGBUS.
            if os.write(descriptor, bytes(slots * _SLOT.size)) < slots * _SLOT.size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._map = mmap.mmap(descriptor, slots * _SLOT.size)
        finally:
            os.close(descriptor)

    def take_slot(self) -> int:
        """A slot of one's own; -1 when there are no more, and then the job is not noted."""
        try:
            return self._free.pop()
        except IndexError:
            return -1

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        if slot >= 0:
            self.note(slot, 0)
            self._free.append(slot)

    def note(self, slot: int, job_id: int) -> None:
        """This slot's worker runs `job_id` now; 0 for none."""
        if slot >= 0:
            _SLOT.pack_into(self._map, slot * _SLOT.size, job_id)


def read_notes(path: Path) -> frozenset[int] | None:
    """The jobs a process was running; None when its notes are not there."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return frozenset(job_id for (job_id,) in _SLOT.iter_unpack(data[: len(data) // _SLOT.size * _SLOT.size]) if job_id)


class Presence:
    """This process's proof of life, in `folder`.

    Raises:
        StorageError: the folder cannot be written, or there is no room; the message says which.
    """

    def __init__(self, folder: Path, slots: int) -> None:
        self.uuid = str(uuid.uuid4())
        self._folder = folder
        self._held: list[int] = []
        # Not a method of this object: a circle would keep the notes open until the garbage is collected.
        self._lock = _file_lock(folder, self.uuid, on_acquired=self._held.append)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Somebody who cleans up after dead processes may be trying the lock now; nobody holds it for long.
            self._lock.acquire(timeout=10)
            self.notes = RunningNotes(folder / f"{self.uuid}.running", slots)
        except OSError as error:
            with suppress(OSError):
                self.leave()
            raise _unusable(folder, error) from error

    @property
    def descriptor(self) -> int:
        """The lock's. As long as a child has it open too, this process does not look dead."""
        return self._held[-1]

    def leave(self) -> None:
        """Let go of the lock and remove the files. Only once no job of this process can still be running."""
        self._lock.release()
        remove_files(self._folder, self.uuid)


def _unusable(folder: Path, error: OSError) -> StorageError:
    what = f"{folder}, where each process of this queue keeps a small file while it runs jobs,"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(f"{what} has no room left ({error}). Free space on that disk and start again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageReadOnlyError(f"{what} cannot be written ({error}). Make it writable for this user.")
    return StorageUnavailableError(f"{what} cannot be used: {error}. Look at the disk and the system log.")


def died(folder: Path, server_uuid: str) -> bool | None:
    """Whether the process of that UUID, which keeps its lock in `folder`, is gone; None when its lock is not there.

    A missing lock proves nothing: somebody may have deleted the folder under a live process. Its lease decides then.
    """
    if not (folder / f"{server_uuid}.lock").exists():
        return None
    lock = _file_lock(folder, server_uuid)
    try:
        lock.acquire(blocking=False)
    except (TimeoutError, OSError):
        return False
    lock.release()
    return True


def notes_of(folder: Path, server_uuid: str) -> frozenset[int] | None:
    """The jobs that process was running when it last wrote."""
    return read_notes(folder / f"{server_uuid}.running")


def remove_files(folder: Path, server_uuid: str) -> None:
    """Remove what a dead process left."""
    for suffix in ("lock", "running", "code"):
        (folder / f"{server_uuid}.{suffix}").unlink(missing_ok=True)


def sweep(folder: Path, known: set[str]) -> None:
    """Remove the files of dead processes that the database no longer knows. New ones may be about to register."""
    for path in folder.glob("*.lock"):
        if path.stem not in known and _age(path) > NEWBORN_SECONDS and died(folder, path.stem):
            remove_files(folder, path.stem)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def host_identity(folder: Path) -> str:
    """The same for two processes only if they see the same lock files under the same kernel.

    Not the host name: containers on one machine differ in it and share a volume; clones share it and nothing else.
    """
    status = folder.stat()
    return hashlib.sha256(f"{_boot_id()}:{status.st_dev}:{status.st_ino}".encode()).hexdigest()[:16]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid.getnode())


def _file_lock(folder: Path, server_uuid: str, on_acquired: Callable[[int], None] | None = None) -> FileLock:
    # Imported here: it costs 50 ms, and an app that only enqueues needs no lock.
    from filelock import FileLock

    # thread_local: the thread that leaves is not the one that came. No soft lock: its file outlives a kill -9, so on a
    # disk without flock a dead process would look alive for ever.
    return FileLock(
        folder / f"{server_uuid}.lock",
        mode=0o600,
        thread_local=False,
        fallback_to_soft=False,
        on_acquired=on_acquired,
    )

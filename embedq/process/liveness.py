"""Whether a process on this host is alive: the kernel frees a file lock when the process that holds it dies.

Each process holds a lock on `servers/<uuid>.lock`. A process that can take that lock thus knows that the other is dead,
whatever ended it; no clock and no duration is involved. A process that hangs, or is stopped by a debugger, still holds
its lock and keeps its jobs.

Beside the lock is `<uuid>.running`, a small memory-mapped file in which each worker records the job that it runs, and
since when. It survives a kill -9, so a rescue can distinguish the jobs that were running from those that were only
claimed, and whether one had run alone. `<uuid>.code` identifies the app of the process (doctor/same_app.py).
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
from typing import TYPE_CHECKING, Any

from embedq.errors import StorageError, StorageFullError, StorageReadOnlyError, StorageUnavailableError
from embedq.process.own_folder import make_own_folder
from embedq.process.poison import jobs_that_ran_alone

if TYPE_CHECKING:
    from filelock import FileLock

# A lock file younger than this may belong to a process that has not registered yet.
UNREGISTERED_SECONDS = 60.0
# A job, and when it started; or 0, and when the last job here ended. Times are those of the monotonic clock.
_SLOT = struct.Struct("=qd")
# The file of an older version begins otherwise, and has the jobs only.
_HEAD = b"running2"
_AT = len(_HEAD)
_OLD_SLOT = struct.Struct("=q")


class RunningJobsFile:
    """The jobs that are running in this process, in a file that survives it. Each worker has a slot."""

    def __init__(self, path: Path, slots: int) -> None:
        self._free = list(range(slots))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # Written, not only truncated to its length: a page without room on the disk is a SIGBUS when it is touched.
            size = _AT + slots * _SLOT.size
            if os.write(descriptor, _HEAD.ljust(size, b"\0")) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def take_slot(self) -> int:
        """Return a free slot; -1 when there are no more, and then the job is not recorded."""
        try:
            return self._free.pop()
        except IndexError:
            return -1

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        if slot >= 0:
            if _SLOT.unpack_from(self._map, _AT + slot * _SLOT.size)[0]:
                self.note(slot, 0)
            self._free.append(slot)

    def note(self, slot: int, job_id: int) -> None:
        """Record that this slot's worker runs `job_id` now; 0 for none."""
        if slot >= 0:
            _SLOT.pack_into(self._map, _AT + slot * _SLOT.size, job_id, time.monotonic())

    def note_elsewhere(self, slot: int, job_id: int) -> None:
        """Record a job that runs in a child process, which cannot crash the others."""
        if slot >= 0:
            _SLOT.pack_into(self._map, _AT + slot * _SLOT.size, job_id, 0.0)


def read_running_jobs(path: Path) -> dict[int, bool] | None:
    """Return the jobs that a process was running, each with whether it ran alone; None when there is no file."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if not data.startswith(_HEAD):
        whole = len(data) // _OLD_SLOT.size * _OLD_SLOT.size
        return {job_id: False for (job_id,) in _OLD_SLOT.iter_unpack(data[:whole]) if job_id}
    data = data[_AT:]
    slots = list(_SLOT.iter_unpack(data[: len(data) // _SLOT.size * _SLOT.size]))
    here = {job_id: since for job_id, since in slots if job_id and since}
    alone = jobs_that_ran_alone(here, max((since for job_id, since in slots if not job_id), default=0.0))
    return {job_id: job_id in alone for job_id, _ in slots if job_id}


class Presence:
    """The lock file and the running-jobs file of this process, in `folder`.

    Raises:
        StorageError: the folder cannot be written, or there is no room; the message states which.
    """

    def __init__(self, folder: Path, slots: int) -> None:
        self.uuid = str(uuid.uuid4())
        self._folder = folder
        self._held: list[int] = []
        # Not a method of this object: a reference cycle would keep the file open until the garbage is collected.
        self._lock = _file_lock(folder, self.uuid, on_acquired=self._held.append)
        try:
            make_own_folder(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            # A process that removes the files of dead ones may be trying the lock now; none holds it for long.
            self._lock.acquire(timeout=10)
            self.running_jobs = RunningJobsFile(folder / f"{self.uuid}.running", slots)
        except OSError as error:
            with suppress(OSError):
                self.leave()
            raise _unusable(folder, error) from error

    @property
    def descriptor(self) -> int:
        """The lock's descriptor. As long as a child has it open too, this process does not count as dead."""
        return self._held[-1]

    def leave(self) -> None:
        """Release the lock and remove the files. Only once no job of this process can still be running."""
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
    """Whether the process of that UUID, which keeps its lock in `folder`, is dead; None when its lock is missing.

    A missing lock proves nothing: the folder may have been deleted while the process runs. Its lease decides then.
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


def running_jobs_of(folder: Path, server_uuid: str) -> dict[int, bool] | None:
    """Return the jobs that a process was running when it last wrote, each with whether it ran alone."""
    return read_running_jobs(folder / f"{server_uuid}.running")


def remove_files(folder: Path, server_uuid: str) -> None:
    """Remove the files of a dead process."""
    for suffix in ("lock", "running", "code"):
        (folder / f"{server_uuid}.{suffix}").unlink(missing_ok=True)


def sweep(folder: Path, known: set[str]) -> None:
    """Remove the files of dead processes that are not registered any more. New ones may be about to register."""
    for path in folder.glob("*.lock"):
        if path.stem not in known and _age(path) > UNREGISTERED_SECONDS and died(folder, path.stem):
            remove_files(folder, path.stem)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def host_identity(folder: Path) -> str:
    """Return a string that two processes share only if they see the same lock files under the same kernel.

    Not the host name: containers on one machine have different ones and may share a volume; cloned machines have the
    same one and share nothing.
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
    from filelock import FileLock, __version__

    # thread_local: the lock is released by another thread. No soft lock: its file survives a kill -9, so on a disk
    # without flock a dead process would always count as alive.
    path = folder / f"{server_uuid}.lock"
    if __version__.startswith("3."):
        older: FileLock = _lock_of_filelock_3(FileLock, on_acquired)(path, mode=0o600, thread_local=False)
        return older
    return FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False, on_acquired=on_acquired)


def _lock_of_filelock_3(base: Any, on_acquired: Callable[[int], None] | None) -> Any:
    """Return a class of locks for filelock before 4.0, which has neither option; many tools still pin it."""

    class HardLock(base):  # type: ignore[misc]  # A base that is known at run time only.
        def _acquire(self) -> None:
            try:
                super()._acquire()
            except NotImplementedError:
                self._fallback_to_soft_lock()
            if on_acquired is not None and self._context.lock_file_fd is not None:
                on_acquired(self._context.lock_file_fd)

        def _fallback_to_soft_lock(self) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    return HardLock

"""What SQLite says, in words that say what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from embedq.errors import (
    NetworkFilesystemError,
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageMissingError,
    StorageReadOnlyError,
    StorageRefusedError,
    StorageUnavailableError,
)

# File systems whose locks and shared memory do not reach other machines, as /proc/mounts names them.
# SQLite's own word on it: https://www.sqlite.org/wal.html, "WAL does not work over a network filesystem".
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "ocfs2"}
)


# The operator ->> came with it, and is in the statement that finishes jobs; STRICT tables came just before.
OLDEST_SQLITE = (3, 38, 0)


def refuse_old_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise StorageUnavailableError when Python was built with a SQLite that lacks what embedq uses."""
    if version < OLDEST_SQLITE:
        raise StorageUnavailableError(
            f"this Python has SQLite {'.'.join(map(str, version))}, and embedq needs "
            f"{'.'.join(map(str, OLDEST_SQLITE))} or newer. Take a Python that brings its own (uv, python.org, the "
            "official container images), a newer release of the system, or a database on a server."
        )


def is_busy(error: BaseException) -> bool:
    """Whether another connection held a lock; trying again will help."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def busy(path: Path, seconds: float) -> StorageBusyError:
    """The error for a lock that was not freed in time."""
    return StorageBusyError(
        f"{path} stayed locked for {seconds:g} s: another connection holds a write transaction open. "
        "Nothing was written. Commit or roll back that transaction (often a shell, a backup or a long import), "
        "or raise busy_timeout."
    )


def explain(error: sqlite3.Error, path: Path) -> StorageError:
    """The embedq error for an error of sqlite3."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    said = f"SQLite says: {error}"
    # What cannot be made longer is an I/O error where it is mapped into memory, as the -shm file is.
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
        return StorageFullError(
            f"no space left for {path}; nothing was written. Free space on that disk. "
            f"Running jobs keep their results and are recorded when there is room. {said}"
        )
    if code == sqlite3.SQLITE_READONLY:
        return StorageReadOnlyError(
            f"{path} cannot be written by user {_user()}. Make the file and its folder writable "
            f"(SQLite keeps -wal and -shm files beside it), or choose another path. {said}"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageCorruptError(
            f"{path} is not a usable SQLite database. Nothing in it was changed. Move it away (keep its -wal file with "
            f"it) and restore a backup, or save what can be read with: sqlite3 {path} .recover. {said}"
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return cannot_open(path, said)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return busy(path, 0)
    if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH):
        return StorageRefusedError(
            f"{path} does not take what was to be written, and would not the next time. Nothing was written. {said}"
        )
    return StorageUnavailableError(f"{path} failed. Look at the disk and the system log. {said}")


def _is_full(folder: Path) -> bool:
    """Whether its disk has no room for a few pages."""
    try:
        return shutil.disk_usage(folder).free < 65536
    except OSError:
        return False


def cannot_open(path: Path, said: str) -> StorageError:
    """Why a file cannot be opened, from what is seen around it."""
    folder = path.parent
    if not folder.exists():
        return StorageMissingError(f"the folder {folder} does not exist; create it, or choose another for {path.name}")
    if not folder.is_dir():
        return StorageMissingError(f"{folder} is not a folder; choose another path for {path.name}")
    if path.is_dir():
        return StorageMissingError(f"{path} is a folder; the URL must name a file in it")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        return StorageReadOnlyError(f"{path} cannot be opened for writing by user {_user()}; check its mode. {said}")
    return StorageMissingError(f"{path} cannot be opened. {said}")


def no_database(path: Path) -> StorageMissingError:
    """The error for a file that should be there by now."""
    return StorageMissingError(
        f"there is no database at {path}. Check the path; a database is created by embedq.start(), by a worker, or by: "
        "embedq migrate"
    )


def filesystem_of(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds `path`, from the text of /proc/mounts; None if it is not listed."""
    target = str(path)
    best, kind = "", None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The kernel writes spaces in mount points as \040.
        point = fields[1].encode("latin-1", "backslashreplace").decode("unicode_escape")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        # The last of several mounts on one point is the one that is seen.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def filesystem(path: Path, mounts_file: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds `path`. Knows Linux; None elsewhere."""
    try:
        mounts = mounts_file.read_text(errors="replace")
    except OSError:
        return None
    return filesystem_of(path.resolve(), mounts)


def refuse_network_filesystem(path: Path, mounts_file: Path = Path("/proc/mounts")) -> None:
    """Raise NetworkFilesystemError when `path` is on a network file system."""
    kind = filesystem(path, mounts_file)
    if kind in NETWORK_FILESYSTEMS:
        raise NetworkFilesystemError(
            f"{path} is on a network file system ({kind}), where SQLite's locks and shared memory are not to be "
            "trusted and the file can be destroyed. Put it on a local disk. If only this one machine ever opens it and "
            "you accept the risk: allow_network_filesystem=True."
        )


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "?")

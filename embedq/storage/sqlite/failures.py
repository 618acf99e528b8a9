"""What errors of SQLite mean, and the message for each; SQLite versions and file systems that cannot work."""

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
# See https://www.sqlite.org/wal.html, "WAL does not work over a network filesystem".
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "ocfs2"}
)

# The first version with the operator ->>, which the statement that finishes jobs uses; STRICT tables are one older.
OLDEST_SQLITE = (3, 38, 0)


def refuse_old_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise StorageUnavailableError if Python was built with a SQLite that lacks features that embedq uses."""
    if version < OLDEST_SQLITE:
        raise StorageUnavailableError(
            f"this Python has SQLite {'.'.join(map(str, version))}, and embedq needs "
            f"{'.'.join(map(str, OLDEST_SQLITE))} or newer. Use a Python that includes its own (uv, python.org, the "
            "official container images), a newer release of the system, or a database on a server."
        )


def is_busy(error: BaseException) -> bool:
    """Return whether another connection held a lock, so that another try may succeed."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damaged_text(error: BaseException) -> bool:
    """Return whether a stored text is not UTF-8: embedq did not write it. sqlite3 has no error code for that."""
    return "decode to UTF-8" in str(error)


def busy(path: Path, seconds: float) -> StorageBusyError:
    """Return the error for a lock that was not released in time."""
    return StorageBusyError(
        f"{path} stayed locked for {seconds:g} s: another connection holds a write transaction open. "
        "Nothing was written. Commit or roll back that transaction (often a shell, a backup or a long import), "
        "or raise busy_timeout."
    )


def explain(error: sqlite3.Error, path: Path) -> StorageError:
    """Return embedq's error for one of sqlite3."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    detail = f"SQLite reports: {error}"
    # A file that is mapped into memory, as the -shm file is, and cannot grow, is an I/O error.
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
        return StorageFullError(
            f"no space left for {path}; nothing was written. Free space on that disk. "
            f"Running jobs keep their results and are recorded when there is room. {detail}"
        )
    if code == sqlite3.SQLITE_READONLY:
        return StorageReadOnlyError(
            f"{path} cannot be written by user {_user()}. Make the file and its folder writable "
            f"(SQLite keeps -wal and -shm files beside it), or choose another path. {detail}"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageCorruptError(
            f"{path} is not a usable SQLite database. Nothing in it was changed. Move it away (keep its -wal file with "
            f"it) and restore a backup, or save what can be read with: sqlite3 {path} .recover. {detail}"
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return cannot_open(path, detail)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return busy(path, 0)
    if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH):
        return StorageRefusedError(
            f"{path} does not accept what was to be written, and would not accept it later either. Nothing was "
            f"written. {detail}"
        )
    if is_damaged_text(error) or "JSON" in detail:
        return StorageRefusedError(f"{path} has a text that cannot be read: it was damaged, or is too large. {detail}")
    return StorageUnavailableError(f"{path} failed. Look at the disk and the system log. {detail}")


def _is_full(folder: Path) -> bool:
    """Return whether its disk has no room for a few pages."""
    try:
        return shutil.disk_usage(folder).free < 65536
    except OSError:
        return False


def cannot_open(path: Path, detail: str) -> StorageError:
    """Return the error for a file that cannot be opened, with the reason as far as the file system shows it."""
    folder = path.parent
    if not folder.exists():
        return StorageMissingError(f"the folder {folder} does not exist; create it, or choose another for {path.name}")
    if not folder.is_dir():
        return StorageMissingError(f"{folder} is not a folder; choose another path for {path.name}")
    if path.is_dir():
        return StorageMissingError(f"{path} is a folder; the URL must name a file in it")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        return StorageReadOnlyError(f"{path} cannot be opened for writing by user {_user()}; check its mode. {detail}")
    return StorageMissingError(f"{path} cannot be opened. {detail}")


def no_database(path: Path) -> StorageMissingError:
    """Return the error for a database file that does not exist."""
    return StorageMissingError(
        f"there is no database at {path}. Check the path; a database is created by embedq.start(), by a worker, or by: "
        "embedq migrate"
    )


def filesystem_of(path: Path, mounts: str) -> str | None:
    """Return the type of the file system that holds `path`, from the text of /proc/mounts; None if it is not listed."""
    target = str(path)
    best, kind = "", None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The kernel writes spaces in mount points as \040.
        point = fields[1].encode("latin-1", "backslashreplace").decode("unicode_escape")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        # Of several mounts on one point the last is visible.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def filesystem(path: Path, mounts_file: Path = Path("/proc/mounts")) -> str | None:
    """Return the type of the file system that holds `path`; None on systems other than Linux."""
    try:
        mounts = mounts_file.read_text(errors="replace")
    except OSError:
        return None
    return filesystem_of(path.resolve(), mounts)


def refuse_network_filesystem(path: Path, mounts_file: Path = Path("/proc/mounts")) -> None:
    """Raise NetworkFilesystemError if `path` is on a network file system."""
    kind = filesystem(path, mounts_file)
    if kind in NETWORK_FILESYSTEMS:
        raise NetworkFilesystemError(
            f"{path} is on a network file system ({kind}), where SQLite's locks and shared memory are not "
            "reliable and the file can be destroyed. Put it on a local disk. If only this machine ever opens it and "
            "you accept the risk: allow_network_filesystem=True."
        )


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "?")

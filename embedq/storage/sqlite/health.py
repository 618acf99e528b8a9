"""The state of a SQLite file, for `embedq doctor`."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from embedq.storage.sqlite import failures

# Offsets of the locks in the -shm file: https://www.sqlite.org/walformat.html, "WAL Locks".
WRITE_LOCK = 120
READ_LOCKS = range(123, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHealth:
    """Sizes are bytes.

    Attributes:
        filesystem: its type as the kernel names it; None where that is not known.
        mode: the file's permissions.
    """

    version: str
    journal: str
    size: int
    log_size: int
    free: int
    filesystem: str | None
    mode: int


def examine(path: Path) -> FileHealth:
    """Look at the file, without opening it for more than a question."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=5)
    try:
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    except sqlite3.Error as error:
        raise failures.explain(error, path) from error
    finally:
        connection.close()
    log = path.with_name(path.name + "-wal")
    kind = failures.filesystem(path)
    status = path.stat()
    return FileHealth(
        version=sqlite3.sqlite_version,
        journal=journal,
        size=status.st_size,
        log_size=log.stat().st_size if log.exists() else 0,
        free=shutil.disk_usage(path.parent).free,
        filesystem=kind,
        mode=status.st_mode,
    )

"""The folder that embedq keeps beside a SQLite file, `<file>.embedq`: the signing key and the lock files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_IGNORE = "# Made by embedq. The signing key must not be committed, and the rest is of no use elsewhere.\n*\n"


def make_own_folder(folder: Path) -> None:
    """Create the folder, accessible to its owner only, with a `.gitignore` that keeps its files out of a repository.

    Raises:
        OSError: it cannot be created. A `.gitignore` that cannot be written is no error.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(OSError), (folder / ".gitignore").open("x", encoding="ascii", newline="\n") as file:
        file.write(_IGNORE)

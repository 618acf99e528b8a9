"""Which processes run the same app: by the code that they have loaded.

Each process leaves a note of its own code beside its lock, soon after its start. The same files, or mostly the same
ones in another folder, as a deployment makes them, are one app: web processes and workers load different parts of it,
and share some. What says nothing of itself is taken for kin.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from embedq.functions import main_name

# Enough to know an app by; the first by name, so that its processes mostly note the same.
MODULES = 300
_LIBRARIES = {"site-packages", "dist-packages"}


class Module(NamedTuple):
    """A module of an app's own, and what tells its text from others; 0 if it is empty."""

    name: str
    path: str
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The modules that a process has loaded and nobody installed."""

    modules: tuple[Module, ...] = ()

    @property
    def folder(self) -> str:
        """Where the first of them is, for people."""
        return os.path.dirname(self.modules[0].path) if self.modules else ""

    def is_kin_to(self, other: Code) -> bool:
        """Whether both may be of one app."""
        if not self.modules or not other.modules:
            return True
        if {module.path for module in self.modules} & {module.path for module in other.modules}:
            return True
        # Empty files are everywhere.
        own, others = ({(one.name, one.digest) for one in code.modules if one.digest} for code in (self, other))
        return 2 * len(own & others) >= min(len(own), len(others))


def own_code() -> Code:
    """The code of this process as far as it has been imported."""
    found = []
    for name, path in sorted(_loaded())[:MODULES]:
        try:
            found.append(Module(name, path, zlib.crc32(Path(path).read_bytes())))
        except OSError:
            continue
    return Code(modules=tuple(found))


def _loaded() -> Iterator[tuple[str, str]]:
    package = os.path.dirname(os.path.dirname(__file__))
    kinds = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    installed = {os.path.realpath(folder) for kind in kinds if (folder := sysconfig.get_path(kind))}
    prefixes = tuple(f"{folder}{os.sep}" for folder in (package, *installed))
    for name, module in list(sys.modules.items()):
        if not issubclass(type(module), ModuleType):
            continue
        # Not by its attributes: a lazy module is imported when it is asked for any.
        file = object.__getattribute__(module, "__dict__").get("__file__")
        if not isinstance(file, str):
            continue
        path = os.path.realpath(file)
        if not path.startswith(prefixes) and not _LIBRARIES.intersection(Path(path).parts):
            yield main_name() if name in ("__main__", "__mp_main__") else name, path


def write_note(folder: Path, server_uuid: str, code: Code) -> None:
    """Leave word of this process's code beside its lock. OSError if that cannot be written."""
    _note(folder, server_uuid).write_text(json.dumps(code.modules), encoding="ascii")


def read_note(folder: Path, server_uuid: str) -> Code:
    """What a process of this host has left word of; nothing if it has not, or not yet."""
    try:
        rows = json.loads(_note(folder, server_uuid).read_text(encoding="ascii"))
        return Code(modules=tuple(Module(str(name), str(path), int(digest)) for name, path, digest in rows))
    except (OSError, ValueError, TypeError):
        return Code()


def _note(folder: Path, server_uuid: str) -> Path:
    return folder / f"{server_uuid}.code"

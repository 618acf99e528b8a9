"""Which processes run the same app, by the code that they have loaded.

Soon after its start each process writes a list of its loaded modules next to its lock file. Processes with the same
files, or with mostly the same files in another folder (a deployment), run one app: web processes and workers load
different parts of it, and share some. A process without a list counts as the same app.
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

from embedq.tasks.functions import main_name

# Enough to identify an app; the first by name, so that its processes mostly list the same.
MODULES = 300
_LIBRARIES = {"site-packages", "dist-packages"}


class Module(NamedTuple):
    """A module of an application, and the checksum of its text; 0 if it is empty."""

    name: str
    path: str
    digest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCode:
    """The modules of a process that do not belong to an installed package."""

    modules: tuple[Module, ...] = ()

    @property
    def folder(self) -> str:
        """Return the folder of the first module."""
        return os.path.dirname(self.modules[0].path) if self.modules else ""

    def is_same_app(self, other: LoadedCode) -> bool:
        """Return whether both may belong to one app."""
        if not self.modules or not other.modules:
            return True
        if {module.path for module in self.modules} & {module.path for module in other.modules}:
            return True
        # Empty files are common to many apps.
        own, others = ({(one.name, one.digest) for one in code.modules if one.digest} for code in (self, other))
        return 2 * len(own & others) >= min(len(own), len(others))


def loaded_code() -> LoadedCode:
    """Return the code that this process has imported so far."""
    found = []
    for name, path in sorted(_loaded())[:MODULES]:
        try:
            found.append(Module(name, path, zlib.crc32(Path(path).read_bytes())))
        except OSError:
            continue
    return LoadedCode(modules=tuple(found))


def _loaded() -> Iterator[tuple[str, str]]:
    package = os.path.dirname(os.path.dirname(__file__))
    kinds = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    installed = {os.path.realpath(folder) for kind in kinds if (folder := sysconfig.get_path(kind))}
    prefixes = tuple(f"{folder}{os.sep}" for folder in (package, *installed))
    for name, module in list(sys.modules.items()):
        if not issubclass(type(module), ModuleType):
            continue
        # Not by attribute access, which would import a lazy module.
        file = object.__getattribute__(module, "__dict__").get("__file__")
        if not isinstance(file, str):
            continue
        path = os.path.realpath(file)
        if not path.startswith(prefixes) and not _LIBRARIES.intersection(Path(path).parts):
            yield main_name() if name in ("__main__", "__mp_main__") else name, path


def write_code_list(folder: Path, server_uuid: str, code: LoadedCode) -> None:
    """Write the code list of this process next to its lock file. OSError if that fails."""
    _code_list(folder, server_uuid).write_text(json.dumps(code.modules), encoding="ascii")


def read_code_list(folder: Path, server_uuid: str) -> LoadedCode:
    """Return the code list of a process of this host; an empty one if it has not written one (yet)."""
    try:
        rows = json.loads(_code_list(folder, server_uuid).read_text(encoding="ascii"))
        return LoadedCode(modules=tuple(Module(str(name), str(path), int(digest)) for name, path, digest in rows))
    except (OSError, ValueError, TypeError):
        return LoadedCode()


def _code_list(folder: Path, server_uuid: str) -> Path:
    return folder / f"{server_uuid}.code"

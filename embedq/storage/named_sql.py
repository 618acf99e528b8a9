"""SQL stands apart from Python: files of statements, each after a line `-- name: …`, with its reason beside it."""

from __future__ import annotations

import re
from pathlib import Path

FILES = ("jobs.sql", "servers.sql", "schedules.sql", "inspect.sql", "copying.sql", "health.sql", "actions.sql")
_STATEMENT = re.compile(r"^-- name: (\w+)\n(.*?;)\s*$(?=\s*(?:^--|\Z))", re.DOTALL | re.MULTILINE)


def read(folder: Path) -> dict[str, str]:
    """Every named statement of the files in a backend's folder."""
    found: dict[str, str] = {}
    for file in FILES:
        for name, body in _STATEMENT.findall((folder / file).read_text(encoding="utf-8")):
            assert name not in found, f"statement {name} is defined twice"
            # Comments are for readers; the parser need not see them each time a connection prepares the statement.
            found[name] = re.sub(r"^\s*--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";")
    return found

"""What README, docs, changelog and examples name of embedq can be imported by that name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [path for kind in ("md", "py") for path in sorted((ROOT / "examples").rglob(f"*.{kind}"))]
# Not imports: files that embedq writes, and Django's module of the command.
FILES = {"embedq.db", "embedq.key", "embedq.py"}
NAMED = re.compile(r"(?<![\w./@-])embedq(?:\.[A-Za-z_]\w*)+")
FROM = re.compile(r"\bfrom (embedq(?:\.\w+)*) import (\([^)]*\)|[^\n`#]+)")


def documented() -> set[str]:
    """Dotted names, such as `embedq.testing.app_under_test`."""
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found.update(NAMED.findall(text))
        for module, names in FROM.findall(text):
            tree = ast.parse(f"from {module} import {names.strip()}")
            found.update(f"{module}.{alias.name}" for alias in tree.body[0].names)  # type: ignore[attr-defined]
    return found - FILES


def find(name: str) -> object:
    """What a dotted name leads to. AttributeError if nothing."""
    found: object = import_module("embedq")
    path = "embedq"
    for part in name.split(".")[1:]:
        path += f".{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = import_module(path)
            except ModuleNotFoundError:
                raise AttributeError(f"{name}: no {part}") from None
    return found


@pytest.mark.parametrize("name", sorted(documented()))
def test_what_the_documents_name_is_there(name: str) -> None:
    find(name)


def test_the_documents_name_what_there_is_to_name() -> None:
    # Or the test above looks at nothing.
    assert {
        "embedq.contrib.django.tasks.EmbedQBackend",
        "embedq.contrib.fastapi.lifespan",
        "embedq.dashboard.Access",
        "embedq.testing.EmbedqTestMixin",
        "embedq.transaction",
    } <= documented()
    with pytest.raises(AttributeError, match="no absent"):
        find("embedq.testing.absent")


@pytest.mark.parametrize("module", ["embedq.app", "embedq.errors", "embedq.testing", "embedq.dashboard", "embedq.cli"])
def test_a_public_module_can_be_the_first_to_be_imported(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, timeout=60)


def test_the_class_of_an_app_is_where_it_was() -> None:
    from embedq import EmbedQ
    from embedq.app import EmbedQ as there

    assert there is EmbedQ

"""The package as an index has it: what the sdist holds, and the README without links that lead nowhere there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Callable

import pytest

from tests.support import ROOT

LINK = re.compile(r"\]\((?!#)([^)]+)\)")


@pytest.fixture(scope="module")
def readme() -> Callable[[str | None], str]:
    specification = importlib.util.spec_from_file_location("embedq_setup", ROOT / "setup.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    made: Callable[[str | None], str] = module.readme
    return made


def test_an_index_shows_the_readme_without_relative_links(readme: Callable[[str | None], str]) -> None:
    text = readme(None)
    assert LINK.findall(text) == []
    assert "how-to (`docs/howto.md`)" in text
    assert "\npip install embedq\n" in text


def test_with_a_repository_every_link_of_the_readme_is_absolute(readme: Callable[[str | None], str]) -> None:
    links = LINK.findall(readme("https://example.org/team/embedq"))
    assert "https://example.org/team/embedq/raw/main/docs/dashboard.png" in links
    assert "https://example.org/team/embedq/blob/main/docs/howto.md" in links
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_sdist_is_given_every_folder_of_the_repository() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "-C", str(ROOT), "ls-files"]
    tracked = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    folders = {name.partition("/")[0] for name in tracked if "/" in name}
    assert folders == set(re.findall(r"^graft (\S+)$", manifest, re.MULTILINE))


def test_every_python_that_ci_may_run_is_claimed() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    claimed = {line.rpartition(" :: ")[2] for line in classifiers if re.search(r":: Python :: 3\.\d+$", line)}
    assert {"3.11", "3.13"} <= claimed

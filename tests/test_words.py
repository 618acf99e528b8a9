"""The words of the project: none that are banned, one class for each name, and a glossary that is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import embedq
from tests import words
from tests.words import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"


def terms() -> list[list[str]]:
    """The rows of the glossary: a term, its meaning, and where it lives."""
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] != "term"]


def test_no_banned_word_is_used() -> None:
    found = [str(offence) for path in words.files() for offence in words.offences(path)]
    assert found == [], "\n".join(found)


def test_a_class_name_stands_for_one_class() -> None:
    twice = {name: files for name, files in words.classes().items() if len(files) > 1}
    assert twice == {}


def test_each_term_of_the_glossary_has_one_row_and_lives_in_a_file_or_folder() -> None:
    rows = terms()
    assert len(rows) > 80
    assert len({row[0] for row in rows}) == len(rows)
    for term, meaning, lives in rows:
        assert meaning, term
        places = re.findall(r"`([^`]+)`", lives)
        assert places, term
        missing = [place for place in places if not (ROOT / "embedq" / place).exists()]
        assert missing == [], f"{term} does not live in {missing}"


def test_the_public_names_of_the_glossary_exist() -> None:
    named = re.findall(r"`@?embedq\.(\w+)`", GLOSSARY.read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not hasattr(embedq, name)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A job is taken by whoever is first.", ["whoever"]),
        ("People who retry a job, and a thread who waits.", ["who"]),
        ("The option `who` is code.", []),
        ("A job whose process died.", []),
    ],
)
def test_prose_is_checked_and_code_is_not(
    text: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    (tmp_path / "code.py").write_text(f'whoever = 1\n"""{text}"""\n', encoding="utf-8")
    for name in ("page.md", "code.py"):
        assert [offence.words for offence in words.offences(tmp_path / name)] == found

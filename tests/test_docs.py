"""The documentation is true: its code runs, its tables are the code's, and its links lead somewhere.

The ```python blocks of a page run one after another as one script, in a folder of their own. The script has each line
where the page has it, so that a traceback names the page's line. A line that ends in `# -> value` must give a value
with that repr. A block marked `needs=…` is a script of its own, and is skipped where that framework is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from pathlib import Path

import click
import pytest

import embedq
from embedq.config import _FROM_ENVIRONMENT
from tests.support import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Its blocks are tests: those without a mark are one file, and each that is marked is another.
TESTING = ROOT / "docs" / "testing.md"
RUN = [
    README,
    ROOT / "docs" / "howto.md",
    ROOT / "docs" / "monitoring.md",
    ROOT / "docs" / "flow.md",
    ROOT / "docs" / "schedules.md",
    ROOT / "docs" / "from-others.md",
]
# Pages on what an application may use, which are run where that is installed.
GUIDES = {"flask": ROOT / "docs" / "flask.md", "fastapi": ROOT / "docs" / "fastapi.md",
          "starlette": ROOT / "docs" / "guest.md",
          "sqlalchemy": ROOT / "docs" / "transactions.md", "jinja2": ROOT / "docs" / "dashboard.md"}  # fmt: skip
# Its blocks are the files of a project, which tests/contrib/test_django.py runs.
PROJECT = ROOT / "docs" / "django.md"

SUPPORT = """
def gives(value, wanted):
    assert repr(value) == wanted, f"the page says {wanted}, and it gives {value!r}"
"""
# What a request does to each framework's app, and what must have come of it.
DRIVERS = {
    "flask": """
        app = create_app()
        response = app.test_client().post("/signup/7")
        assert (response.status_code, response.text) == (202, "job 1")
        assert queue.start().job(1).wait(timeout=10) == "succeeded"
        """,
    "fastapi": """
        from fastapi.testclient import TestClient
        with TestClient(app) as client:
            assert client.post("/signup/7").json() == {"job": 1}
            assert embedq.default_app().job(1).wait(timeout=10) == "succeeded"
        """,
    "django": """
        import django
        from django.conf import settings
        settings.configure(**{name: value for name, value in globals().items() if name.isupper()}, SECRET_KEY="x")
        django.setup()
        import embedq
        from django.core.wsgi import get_wsgi_application
        from django.db import transaction
        get_wsgi_application()
        with transaction.atomic():
            job = embedq.enqueue(print, 7)
        assert job.wait(timeout=10) == "succeeded"
        """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: `line` is the number of its first line of code, `marks` what stands after the language."""

    line: int
    language: str
    marks: str
    lines: list[str]


def blocks(page: Path) -> list[Block]:
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = re.fullmatch(r"```(\w*) ?(.*)", lines[number])
        number += 1
        if opening:
            end = lines.index("```", number)
            found.append(Block(line=number + 1, language=opening[1], marks=opening[2], lines=lines[number:end]))
            number = end + 1
    return found


def script(code: list[Block]) -> str:
    """The blocks as one script, each line where the page has it."""
    out: list[str] = ["from page_support import gives"]
    for block in code:
        out += [""] * (block.line - 1 - len(out))
        out += [
            re.sub(r"^(\s*)(.+?) +# -> (.+)$", lambda m: f"{m[1]}gives({m[2]}, {m[3]!r})", at) for at in block.lines
        ]
    return "\n".join(out) + "\n"


def run(name: str, source: str, folder: Path, *, by: Sequence[str] = ()) -> str:
    """Run a script in the folder, by Python or by a module of it; its output. It must end with 0."""
    (folder / "page_support.py").write_text(SUPPORT)
    (folder / name).write_text(source, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("EMBEDQ_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, *by, name],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs_and_gives_what_the_page_states(page: Path, tmp_path: Path) -> None:
    code = [block for block in blocks(page) if block.language == "python" and not block.marks]
    assert len(code) > 4
    assert sum(" # -> " in line for block in code for line in block.lines) > 8
    run(f"{page.stem.lower()}.py", script(code), tmp_path)


@pytest.mark.parametrize("framework", DRIVERS)
def test_the_start_up_code_for_a_framework_runs_a_job_from_a_request(framework: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    [block] = [block for block in blocks(README) if block.marks == f"needs={framework}"]
    run(f"{framework}_app.py", script([block]) + textwrap.dedent(DRIVERS[framework]), tmp_path)


@pytest.mark.parametrize("framework", GUIDES)
def test_the_code_of_a_guide_runs_and_gives_what_it_states(framework: str, tmp_path: Path) -> None:
    scripts: dict[str, list[Block]] = {}
    for block in blocks(GUIDES[framework]):
        if block.language == "python":
            scripts.setdefault(block.marks.removeprefix("needs=") or framework, []).append(block)
    assert sum(" # -> " in line for code in scripts.values() for block in code for line in block.lines) > 2
    for needed, code in scripts.items():
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
        (tmp_path / needed).mkdir()
        run(f"{needed}_guide.py", script(code), tmp_path / needed)


@pytest.mark.parametrize("framework", ["", *DRIVERS])
def test_the_tests_of_the_page_about_testing_pass(framework: str, tmp_path: Path) -> None:
    if framework and importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    marks = f"needs={framework}" if framework else ""
    code = [block for block in blocks(TESTING) if block.language == "python" and block.marks == marks]
    by_pytest = ["-m", "pytest", "-q", "-p", "pytest_embedq", "-p", "no:cacheprovider"]
    told = run("test_page.py", script(code), tmp_path, by=by_pytest)
    assert f"{script(code).count('def test_')} passed" in told
    assert not list(tmp_path.glob("*.db*"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_states_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in ("python", "sh", "text", "sql"), f"{page.name}:{block.line}"
        # Python that is not run somewhere is marked text.
        if block.language == "python" and page not in (*RUN, PROJECT, *GUIDES.values(), TESTING):
            pytest.fail(f"{page.name}:{block.line}: this page's code is not run; mark the block text")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made on the web: words in lower case, joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    targets = [((page.parent / path if path else page), anchor) for path, anchor in links]
    assert [f"{target.name}#{anchor}" for target, anchor in targets if anchor not in anchors(target)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_public_name_that_a_page_mentions_is_there(page: Path) -> None:
    mentioned = set(re.findall(r"\bembedq\.(\w+)", page.read_text(encoding="utf-8")))
    # The default database, and the name of a module.
    unknown = {name for name in mentioned - {"db"} if not hasattr(embedq, name)}
    assert {name for name in unknown if importlib.util.find_spec(f"embedq.{name}") is None} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_is_there_with_its_options(page: Path) -> None:
    from embedq.cli import main

    shown = [line for block in blocks(page) if block.language == "sh" for line in block.lines]
    shown += re.findall(r"`(embedq [^`]+)`", page.read_text(encoding="utf-8"))
    for line in shown:
        program, *words = shlex.split(line.partition(" && ")[0], comments=True) or [""]
        if program != "embedq":
            continue
        command: click.Command = main
        for word in words:
            if word.startswith("-"):
                known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
                assert word.partition("=")[0] in known | {"--help", "-h"}, f"{page.name}: {line}"
            elif isinstance(command, click.Group):
                assert word in command.commands, f"{page.name}: {line}"
                command = command.commands[word]


def rows(page: Path, heading: str) -> dict[str, list[str]]:
    """The rows of the table under a heading whose first cell is a name in backquotes."""
    section = page.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"
    ]
    return {cells[0].strip("`"): cells[1:] for cells in table}


def test_the_configuration_table_has_every_setting_with_its_default() -> None:
    table = rows(README, "## Configuration")
    defaults = {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(embedq.Settings)
    }
    known = {"Retention": embedq.Retention, "timedelta": timedelta}
    written = {name: eval(cells[0].strip("`"), known) for name, cells in table.items()}
    assert written == defaults
    assert list(written) == list(defaults), "in the order of the code"
    said = README.read_text(encoding="utf-8").partition("All but ")[2].partition("can be given so")[0]
    in_code_only = re.findall(r"`(\w+)`", said)
    assert set(in_code_only) == set(defaults) - set(_FROM_ENVIRONMENT)


def test_the_options_table_has_every_option() -> None:
    assert list(rows(README, "### Options")) == [item.name for item in fields(embedq.Options)]


def test_the_state_table_is_the_one_in_the_code() -> None:
    table = rows(ROOT / "docs" / "architecture.md", "## States")
    assert list(table) == [str(state) for state in embedq.JobState]
    for state in embedq.JobState:
        assert set(re.findall(r"`(\w+)`", table[state][0])) == {str(after) for after in embedq.TRANSITIONS[state]}, (
            state
        )


def test_every_promise_names_the_tests_that_show_it() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (G\d)", text, flags=re.MULTILINE)
    promises = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(promises) == [f"G{number}" for number in range(1, 10)]
    for promise, part in promises.items():
        assert re.search(r"\]\(\.\./tests/\S+\.py\)", part), f"{promise} names no test"


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (?!Unreleased)(\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first
    # What came since then stands above it.
    assert first[1] in ("Unreleased", embedq.__version__)

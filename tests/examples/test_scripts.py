"""The examples are run as a reader runs them, and what they print is checked against the facts."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import embedq
from embedq import JobState
from tests.support import ROOT

EXAMPLES = ROOT / "examples"


def run(example: str, *arguments: object, fails: bool = False) -> str:
    """What the example prints, or reports as its error. It must end by itself, with 0, or with 1 if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDQ_")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == fails, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr if fails else done.stdout


def number(pattern: str, output: str) -> int:
    """The number that follows, or stands in the group of, the pattern."""
    found = re.search(pattern, output)
    assert found, f"no {pattern!r} in:\n{output}"
    return int(found[1].replace(",", ""))


def count_without_embedq() -> tuple[int, int, int, int]:
    """The files, lines, functions and classes that the quickstart must find."""
    namespace: dict[str, object] = {"__name__": "quickstart"}
    exec(compile((EXAMPLES / "quickstart.py").read_text(), "quickstart.py", "exec"), namespace)
    stdlib, source_files = namespace["STDLIB"], namespace["source_files"]
    assert isinstance(stdlib, Path)
    assert callable(source_files)
    lines = functions = classes = 0
    files = source_files()
    for file in files:
        with tokenize.open(stdlib / file) as source:
            text = source.read()
        lines += len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            classes += isinstance(node, ast.ClassDef)
    return len(files), lines, functions, classes


def test_the_quickstart_counts_what_a_plain_loop_counts_each_time_it_runs(tmp_path: Path) -> None:
    files, lines, functions, classes = count_without_embedq()
    assert files > 300
    for _ in range(2):  # the second time on what the first has left
        output = run("quickstart.py", tmp_path / "kept")
        assert f"totals: {files:,} files, {lines:,} lines, {functions:,} functions, {classes:,} classes" in output
        assert "most used names: self" in output
        assert number(r"retries: (\d+) jobs failed at first", output) >= 5
        assert number(r"it took along that there are (\d+) files", output) == files
        assert "delayed job: due in 1.5 s" in output
        # How many depends on how fast the machine is: one a second.
        assert re.search(r"^pulse: \d", output, re.MULTILINE)

        app = embedq.EmbedQ(tmp_path / "kept" / "queue.db").connect()
        left = {state for state, count in app.stats().counts.items() if count}
        # A last pulse may have come too late to be run.
        assert left <= {JobState.SUCCEEDED, JobState.READY}
        assert app.jobs(queue="index", state=JobState.READY) == []
        assert app.schedules() == []
        assert app.servers() == []
        app.close()


@pytest.mark.skipif(os.name != "posix", reason="it is about kill -9")
def test_the_crash_example_loses_nothing_and_runs_nothing_twice_at_once() -> None:
    output = run("crash.py")
    assert "enqueued 400, succeeded 400, lost 0" in output
    assert "run twice at once 0" in output
    assert len(re.findall(r"^killed process \d+; ", output, re.MULTILINE)) == 2
    # The kills hit jobs in the middle: else nothing would have been shown.
    assert number(r"cut off by a kill (\d+)", output) >= 1


@pytest.mark.skipif(os.name != "posix", reason="it is about kill -9")
def test_the_tenants_example_passes_a_mail_keeps_a_rate_and_survives_a_kill(url: str) -> None:
    output = run("tenants.py", url)
    assert output.endswith("all of this holds\n")
    assert number(r"behind the ([\d,]+) rows that still waited", output) > 50_000
    assert number(r"at most (\d+) times in 2 s; it refused 0", output) <= 30
    assert number(r"while it ran (\d+) jobs; all had begun again", output) >= 1


def test_the_tenants_example_wants_an_empty_database(app: embedq.EmbedQ) -> None:
    app.enqueue(print)
    assert "pass the URL of an empty one" in run("tenants.py", app.settings.url, fails=True)

"""Type checkers know what a job returns and which arguments it takes; what they know is in `right` and `wrong`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT

FILES = {name: ROOT / "tests" / "typing" / f"{name}.py" for name in ("right", "wrong")}
FOUND = re.compile(r"(\w+)\.py:(\d+)(?::\d+)?(?:: error| - error)")


def mypy(files: list[str], cache: Path) -> list[str]:
    return [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), *files]


def pyright(files: list[str], cache: Path) -> list[str]:
    # The same checker as pyright, in a package that brings its own Node.js. Only errors that pyright has, too.
    return [sys.executable, "-m", "basedpyright", "--level", "error", "--pythonpath", sys.executable, *files]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_type_checker_infers_results_and_reports_wrong_arguments(
    checker: Callable[[list[str], Path], list[str]], tmp_path: Path
) -> None:
    command = checker([str(path) for path in FILES.values()], tmp_path / "cache")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    found = {(name, int(line)) for name, line in FOUND.findall(done.stdout)}
    expected = {
        (name, number)
        for name, path in FILES.items()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# error")
    }
    assert len(expected) > 25
    assert found == expected, done.stdout + done.stderr

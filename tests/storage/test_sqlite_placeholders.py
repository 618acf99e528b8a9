"""Python 3.12.0 to 3.12.3 warn of placeholders with a name or a number that are bound from a tuple."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import textwrap
from pathlib import Path

import pytest

from embedq.storage.sqlite.transaction import orders, statements
from tests.support import ROOT

SCRIPT = """
import sys

import embedq

@embedq.job
def double(number):
    return 2 * number

@embedq.job(retry=embedq.NO_RETRY)
def fail():
    raise ValueError("no")

if __name__ == "__main__":
    app = embedq.start("sqlite:///jobs.db")
    first = double.enqueue(1)
    assert first.then(double, embedq.PARENT_RESULT).result(timeout=60) == 4
    assert double.options(executor="process").enqueue(4).result(timeout=60) == 8
    assert fail.enqueue().wait(timeout=60) == "dead"
    assert app.retry_all() == 1
    embedq.enqueue_in(3600, double, 1).cancel()
    embedq.recurring("double", "0 2 * * *", double, 8)
    embedq.recurring("double", "0 3 * * *", double, 8)
    embedq.pause_recurring("double")
    embedq.resume_recurring("double")
    assert embedq.trigger_recurring("double").result(timeout=60) == 16
    app.monitor.overview()
    assert embedq.stop()
    print("done", *sys.version_info[:3])
"""


def test_sqlite_is_given_no_placeholder_with_a_name_or_a_number() -> None:
    quoted = re.compile(r"'[^']*'")
    for name, text in statements().items():
        assert not re.search(r"\?\d|[:@$]\w", quoted.sub("", text)), name


def test_a_parameter_that_is_used_twice_is_bound_twice() -> None:
    for name, order in orders().items():
        given = tuple(range(1, 30))
        assert len(order(given)) == statements()[name].count("?"), name


def test_no_warning_comes_of_a_run_on_a_python_that_warns(tmp_path: Path) -> None:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pythons = [python for patch in range(4) for python in root.glob(f"versions/3.12.{patch}/bin/python")]
    if not pythons:
        pytest.skip("needs Python 3.12.0, 3.12.1, 3.12.2 or 3.12.3 in pyenv")
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    # What embedq needs on SQLite is written in Python, so that one version's packages serve another.
    path = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [pythons[0], "-W", "error", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.stdout.startswith("done 3 12"), done.stderr
    assert "Warning" not in done.stderr

"""What an app loads that only imports embedq, enqueues, or starts: nothing that takes long and is not needed yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

# Each costs tens of milliseconds, or megabytes, and is loaded by what needs it.
HEAVY = {
    "asyncio", "click", "cloudpickle", "concurrent.futures", "croniter", "ctypes.util", "dateutil", "django", "email",
    "fastapi", "flask", "multiprocessing", "pluggy", "psycopg", "pymysql", "sqlalchemy", "sqlite_utils", "starlette",
    "tabulate", "unittest", "xml",
}  # fmt: skip
# The parts of embedq that a process which only enqueues does without.
THREADS = {"embedq.engine.runtime", "embedq.worker.dispatcher", "embedq.maintenance.leader"}
USE = """
import sys, embedq
{what}
print(*sys.modules, sep="\\n")
"""
ENQUEUE = """
@embedq.job(name="shop.noop")
def noop(): pass
embedq.{verb}({url!r})
noop.enqueue(){then}
"""


def loaded(what: str, folder: Path) -> set[str]:
    command = [sys.executable, "-c", USE.format(what=what)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env={"PYTHONPATH": str(ROOT)}
    )
    return set(told.stdout.split())


def test_importing_embedq_loads_nothing_heavy(tmp_path: Path) -> None:
    modules = loaded("", tmp_path)
    assert not modules & (HEAVY | THREADS | {"tenacity"})
    assert not {name for name in modules if name.startswith("embedq.contrib")}


@pytest.mark.parametrize(("verb", "then", "spared"), [("connect", "", THREADS), ("start", ".wait(30)", set())])
def test_what_uses_an_existing_database_loads_nothing_heavy_either(
    verb: str, then: str, spared: set[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    loaded(f"embedq.connect({url!r})", tmp_path)
    assert not loaded(ENQUEUE.format(verb=verb, url=url, then=then), tmp_path) & (HEAVY | spared)

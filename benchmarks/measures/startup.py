"""How long an app's own start is delayed: importing embedq, and starting it on a database that is there already.

Everything is compiled before, as it is after the first start of an installed app. Beside the import: the modules of the
standard library that any such thing stands on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import connected, run_script, take_turns

NAME = "startup"
NAME_IMPORT, NAME_START = "import", "start"

IMPORT = "import time; began = time.perf_counter(); import embedq; print(time.perf_counter() - began)"
STANDARD = """
import time
began = time.perf_counter()
import sqlite3, json, logging, threading, dataclasses, typing, datetime, inspect, contextlib
print(time.perf_counter() - began)
"""
START = """
import sys, time, embedq
app = embedq.EmbedQ(sys.argv[1])
began = time.perf_counter()
app.start() if sys.argv[2] == "start" else app.connect()
print(time.perf_counter() - began)
"""


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    with connected(site.fresh().app("full")) as app:
        url = app.settings.url
    with tempfile.TemporaryDirectory() as name:
        runs = [
            partial(milliseconds, script, *arguments, compiled=Path(name))
            for script, *arguments in ((STANDARD,), (IMPORT,), (START, url, "connect"), (START, url, "start"))
        ]
        for run in runs:
            run()
        standard, imported, connecting, starting = take_turns(scale.starts, *runs)
    yield Figure(
        measure=NAME, title="import embedq", unit="ms", values=imported, limits=standard,
        limit_title="the standard library's modules", mark=site.marks.get(NAME_IMPORT),
    )  # fmt: skip
    yield Figure(measure=NAME, title="connect() to an existing database", unit="ms", values=connecting)
    yield Figure(
        measure=NAME, title="start() on an existing database", unit="ms", values=starting,
        mark=site.marks.get(NAME_START),
    )  # fmt: skip


def milliseconds(script: str, *arguments: str, compiled: Path) -> float:
    """What the script says it took."""
    return float(run_script(script, *arguments, compiled=compiled)) * 1000

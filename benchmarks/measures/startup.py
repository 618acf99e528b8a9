"""How long an app's own start is delayed: importing embedq, and starting it on a database that is there already.

Told without a mark. Beside the import: the modules of the standard library that any such thing stands on.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import connected, run_script, take_turns

NAME = "startup"

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
    standard, imported, connecting, starting = take_turns(
        scale.starts,
        lambda: milliseconds(STANDARD),
        lambda: milliseconds(IMPORT),
        lambda: milliseconds(START, url, "connect"),
        lambda: milliseconds(START, url, "start"),
    )
    yield Figure(
        measure=NAME, title="import embedq", unit="ms", values=imported, limits=standard,
        limit_title="the standard library's modules",
    )  # fmt: skip
    yield Figure(measure=NAME, title="connect() to an existing database", unit="ms", values=connecting)
    yield Figure(measure=NAME, title="start() on an existing database", unit="ms", values=starting)


def milliseconds(script: str, *arguments: str) -> float:
    """What the script says it took."""
    return float(run_script(script, *arguments)) * 1000

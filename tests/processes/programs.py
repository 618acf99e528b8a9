"""The programs that the tests start: `python -m tests.processes work '{"url": …}'`.

A program prints what the test waits for, and ends when its standard input is closed.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import embedq
from embedq.maintenance import leader
from embedq.process import poison
from embedq.worker import quarantine
from tests.processes import journal
from tests.processes.jobs import apps, breed, fail, note, run, run_async, run_unique, work_on


def wait_for_end_of_input() -> None:
    """Wait until standard input is closed."""
    while os.read(0, 4096):
        pass


def end_of_input() -> threading.Event:
    """Return an event that is set once standard input is closed."""
    closed = threading.Event()

    def wait() -> None:
        wait_for_end_of_input()
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    return closed


def report(what: Any) -> None:
    print(what, flush=True)


def settle(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that JSON cannot hold."""
    if "retention" in settings:
        kept = {name: timedelta(seconds=seconds) for name, seconds in settings["retention"].items()}
        settings["retention"] = embedq.Retention(**kept)
    return settings


def work(
    url: str,
    tick: bool = False,
    knows: Mapping[str, Sequence[str]] | None = None,
    learns_when_told: bool = False,
    trial: float | None = None,
    **settings: Any,
) -> None:
    """Run jobs.

    Args:
        tick: and a recurring one each second.
        knows: names of tasks that only this process has, with their former names.
        learns_when_told: it has them only after a line on standard input.
        trial: how long a suspect's first trial takes, in seconds; what comes before it is as much shorter.
    """
    if trial is not None:
        shorter = trial / poison.FIRST_TRIAL_SECONDS
        poison.FIRST_TRIAL_SECONDS = trial
        quarantine.CALM_SECONDS *= shorter
        quarantine.WAIT_FOR_IDLE_SECONDS *= shorter
    app = apps[url] = embedq.EmbedQ(url, **settle(settings))
    if tick:
        app.recurring("tick", embedq.every(seconds=1), run, misfire="all", overlap="allow")
    if not learns_when_told:
        learn(app, knows or {})
    app.start()
    report("ready")
    if learns_when_told:
        os.read(0, 4096)
        learn(app, knows or {})
    wait_for_end_of_input()


def learn(app: embedq.EmbedQ, names: Mapping[str, Sequence[str]]) -> None:
    """Register a function under names that the others do not have."""

    def report(year: int) -> int:
        note("reported", year=year)
        return year

    for name, aliases in names.items():
        app.job(name=name, aliases=aliases)(report)


def produce(url: str, pause: float = 0.0, seconds: float = 0.0, **settings: Any) -> None:
    """Enqueue until told to stop, and note what was acknowledged."""
    app = embedq.EmbedQ(url, **settle(settings)).connect()
    told = end_of_input()
    report("ready")
    number = 0
    while not told.wait(pause):
        number += 1
        job = app.enqueue(run_async if number % 3 == 0 else run, seconds * (number % 5))
        note("acknowledged", job=job.id, durable=True)


def work_and_produce(url: str, pause: float = 0.0, generations: int = 3, **settings: Any) -> None:
    """Enqueue into one's own idle workers, from the main thread and from inside jobs."""
    app = apps[url] = embedq.EmbedQ(url, **settle(settings))
    app.start()
    told = end_of_input()
    report("ready")
    while not told.wait(pause):
        began_at = time.monotonic()
        job = app.enqueue(breed, url, generations)
        note("acknowledged", job=job.id, took=time.monotonic() - began_at, durable=True)


def work_and_call(url: str, keys: Sequence[str], **settings: Any) -> None:
    """Run jobs, and enqueue unique ones all the time, some of them in one transaction."""
    app = apps[url] = embedq.EmbedQ(url, **settle(settings)).start()
    told = end_of_input()
    report("ready")
    while not told.wait(0.01):
        for job in app.enqueue_many([app.call(run_unique, key, 0.2) for key in keys]):
            note("acknowledged", job=job.id)
        note("acknowledged", job=app.enqueue(run_unique, keys[-1], 0.2).id)


def load(url: str, prune_seconds: float, **settings: Any) -> None:
    """Enqueue and run steadily, jobs that fail among them; prune often, so that this need not be long."""
    leader.PRUNE_SECONDS = prune_seconds
    app = embedq.EmbedQ(url, **settle(settings)).start()
    told = end_of_input()
    report("ready")
    while not told.wait(0.02):
        app.enqueue_many([app.call(run) for _ in range(10)])
        app.options(retry=embedq.NO_RETRY).enqueue(fail)


def share(url: str, jobs: int, **settings: Any) -> None:
    """Run jobs and enqueue some; print their ids."""
    app = embedq.EmbedQ(url, **settle(settings)).start()
    report("ready")
    sys.stdin.readline()
    report(json.dumps([app.enqueue(run).id for _ in range(jobs)]))
    wait_for_end_of_input()


def start_together(url: str, urls: list[str]) -> None:
    """For each line on standard input start on a new database, and run a job there."""
    # What the start imports, so that all processes come to the migration at the same time.
    import filelock  # noqa: F401
    import sqlite_utils  # noqa: F401

    import embedq.engine.runtime

    report("ready")
    for one in urls:
        sys.stdin.readline()
        with embedq.EmbedQ(one) as app:
            report(app.enqueue(run).result(timeout=60))


def enqueue_one(url: str) -> None:
    """Enqueue one job, report its id in the moment it is acknowledged, and wait to be killed."""
    app = embedq.EmbedQ(url).connect()
    report("ready")
    sys.stdin.readline()
    os.write(1, b"%d\n" % app.enqueue(run).id)
    wait_for_end_of_input()


def work_with_own_handler(url: str, when: str) -> None:
    """Run jobs in a host that handles SIGTERM itself."""
    told = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        report("the host's own handler")
        told.set()

    def set_handler() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if when == "ignored" else handle)

    if when != "after":
        set_handler()
    embedq.start(url)
    if when == "after":
        set_handler()
    report("ready")
    if when == "ignored":
        wait_for_end_of_input()
    else:
        assert told.wait(60)


def end_with_running_jobs(url: str, how: str) -> None:
    """Leave by `sys.exit`, by an error or by doing nothing, with four jobs running."""
    embedq.start(url, workers=4)
    jobs = [embedq.enqueue(work_on, 1.0) for _ in range(4)]
    report(json.dumps([job.id for job in jobs]))
    sys.stdin.readline()
    if how == "sys.exit":
        sys.exit(7)
    if how == "an error":
        raise RuntimeError("the host failed")


def enqueue_from_everywhere(url: str) -> None:
    """Enqueue from the main thread and four others, while jobs run."""
    app = embedq.EmbedQ(url, workers=2).start()

    def enqueue() -> None:
        while True:
            note("acknowledged", job=app.enqueue(run).id)

    for _ in range(4):
        threading.Thread(target=enqueue, daemon=True).start()
    report("ready")
    enqueue()


def start_and_stop(url: str, times: int) -> None:
    """Print which threads and how many descriptors there are after one start and stop, and after many."""

    def once() -> None:
        app = embedq.EmbedQ(url, workers=3)
        with app:
            app.enqueue(run).result(timeout=30)
            assert os.listdir(app.database.folder / "servers")

    def census() -> dict[str, Any]:
        gc.collect()
        return {
            "threads": [thread.name for thread in threading.enumerate()],
            "descriptors": len(os.listdir("/proc/self/fd")),
        }

    once()
    before = census()
    for _ in range(times):
        once()
    report(json.dumps([before, census()]))
    wait_for_end_of_input()


def work_in_a_child_of_multiprocessing(url: str, method: str) -> None:
    """Start in such a child, which ends with a job running, and say its id."""
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=_start_and_enqueue, args=[url])
    child.start()
    child.join()


def _start_and_enqueue(url: str) -> None:
    embedq.start(url)
    job = embedq.enqueue(work_on, 0.5)
    # A job that no worker has begun is given back at the end, and not drained.
    while job.id not in journal.runs(Path(os.environ[journal.FOLDER_VARIABLE])):
        time.sleep(0.01)
    report(job.id)

"""The jobs of these tests."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedq
from tests.processes.journal import FOLDER_VARIABLE, Writer

note = Writer(Path(os.environ.get(FOLDER_VARIABLE, "."))).note
# The apps of this process, for jobs that enqueue.
apps: dict[str, embedq.EmbedQ] = {}


@contextmanager
def noted() -> Iterator[None]:
    """Note the run of the job that is running here."""
    job = embedq.current_job()
    note("start", job=job.id, claim=job.claim, attempt=job.attempt)
    try:
        yield
    except BaseException:
        note("broken off", job=job.id, claim=job.claim)
        raise
    note("end", job=job.id, claim=job.claim)


@embedq.job
def run(seconds: float = 0.0) -> int:
    """Take some time; return the process that did."""
    with noted():
        time.sleep(seconds)
    return os.getpid()


@embedq.job
async def run_async(seconds: float = 0.0) -> int:
    """`run`, on the event loop."""
    with noted():
        await asyncio.sleep(seconds)
    return os.getpid()


@embedq.job
def fail() -> None:
    """Raise, and leave a traceback."""
    raise ValueError("as it must")


@embedq.job
def hang_once(seconds: float = 600.0) -> int:
    """Take long the first time, so that its process can be killed in the middle, and no time after that."""
    with noted():
        if embedq.current_job().claim == 1:
            time.sleep(seconds)
    return os.getpid()


@embedq.job
def work_on(seconds: float) -> int:
    """`run`, in Python instead of in one C call: it yields when it is interrupted."""
    with noted():
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.01)
    return os.getpid()


@embedq.job
def work_once(seconds: float) -> int:
    """`work_on` the first time, and no time after that."""
    with noted():
        deadline = time.monotonic() + seconds
        while embedq.current_job().claim == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
    return os.getpid()


@embedq.job
def kill_own_process(after: float = 0.0) -> None:
    """What a bug in a C extension, or the kernel's memory killer, does to a process."""
    with noted():
        time.sleep(after)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


# So many at once, for each key and in all; and so many starts.
EACH, TOTAL = 2, 5
RATE = embedq.Rate(40, per=1, burst=3)
TOLD = Path(os.environ.get(FOLDER_VARIABLE, ".")) / "told"


@embedq.job(name="tests:limited", concurrency=embedq.Limit(EACH, per="key", total=TOTAL))
def run_limited(key: str, seconds: float | None) -> int:
    """Take some time, or, without any, until the test makes the file `told`; return the process that did."""
    with noted():
        if seconds is not None:
            time.sleep(seconds)
        while seconds is None and not TOLD.exists():
            time.sleep(0.01)
    return os.getpid()


@embedq.job(name="tests:rated", rate=RATE)
def run_rated(url: str) -> None:
    """Note when it was claimed. Only while it runs is that moment in its row; an end replaces it."""
    with noted():
        claimed_at = apps[url].job(embedq.current_job().id).snapshot().started_at
        assert claimed_at is not None
        note("claimed", moment=claimed_at.timestamp())


@embedq.job(name="tests:unique", unique=embedq.Unique("unfinished", by=("key",)))
def run_unique(key: str, seconds: float) -> int:
    """`run`, one at a time for each key."""
    with noted():
        time.sleep(seconds)
    return os.getpid()


@embedq.job(name="tests:index", unique=embedq.Unique("waiting", by=("key",), on_conflict="replace"))
def run_index(key: str, version: int) -> None:
    """Note that a version was seen."""
    with noted():
        time.sleep(0.1)
        note("seen", key=key, version=version)


@embedq.job
def breed(url: str, generations: int) -> None:
    """Enqueue the next generation from inside a job."""
    with noted():
        if generations:
            began_at = time.monotonic()
            child = apps[url].enqueue(breed, url, generations - 1)
            note("acknowledged", job=child.id, took=time.monotonic() - began_at, durable=True)

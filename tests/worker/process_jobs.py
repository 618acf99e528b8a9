"""What tests/worker/test_process_executor.py runs in processes. Imported there too, so it imports little."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import tenacity

import embedq

if TYPE_CHECKING:
    from tests.worker.process_types import Order

ONCE = embedq.NO_RETRY


class Unpicklable(Exception):
    """Has an attribute that tells whether it is worth another try, and one that cannot be sent anywhere."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.lock = threading.Lock()


def has_code_7(error: BaseException) -> bool:
    return isinstance(error, Unpicklable) and error.code == 7


@embedq.job(executor="process", queue="heavy", tags=["report"])
def report(a: int, *, b: int) -> dict[str, object]:
    job = embedq.current_job()
    job.log(f"adding {a} and {b}")
    job.progress(0.5, "half")
    logging.getLogger("tests.report").warning("from %s", "afar")
    return {"sum": a + b, "pid": os.getpid(), "job": [job.id, job.attempt, job.queue, job.tags]}


@embedq.job(executor="process")
def pid() -> int:
    return os.getpid()


@embedq.job(executor="process")
async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@embedq.job(executor="process", retry=embedq.Retry(retry=tenacity.retry_if_exception(has_code_7)))
def refuse(code: int) -> None:
    raise Unpicklable(code)


@embedq.job(executor="process", retry=ONCE)
def sleep_and_clean_up() -> None:
    try:
        time.sleep(60)
    finally:
        embedq.current_job().log("cleaned up")


@embedq.job(executor="process", retry=ONCE)
def hold_the_gil(path: str | None = None) -> None:
    """One call into C that keeps the interpreter's lock, as a bad extension does; a signal does not end it."""
    if path is not None:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    spin = ctypes.PyDLL(None).pause
    while True:
        spin()


@embedq.job(executor="process")
def segfault() -> None:
    ctypes.string_at(0)


@embedq.job(executor="process")
def leave_at_once() -> None:
    os._exit(3)


@embedq.job(executor="process", retry=ONCE)
def take_memory(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


@embedq.job(executor="process", retry=ONCE)
def wait_for_the_word() -> int:
    job = embedq.current_job()
    job.progress(0.1)
    while not job.cancelled:
        time.sleep(0.005)
    job.log("heard it")
    return 1


@embedq.job(executor="process")
def enqueue_another(n: int) -> int:
    return embedq.enqueue(abs, n).id


@embedq.job(executor="process")
def ship(order: Order) -> str:
    return f"{order.item} shipped"


@embedq.job(executor="process")
def after(greeting: str) -> str:
    return f"{greeting} {embedq.current_job().parent_result}"


@contextlib.contextmanager
def marked(job: embedq.JobContext) -> Iterator[None]:
    os.environ["MARKED"] = f"{job.name} in {os.getpid()}"
    yield


@embedq.job(executor="process")
def mark() -> tuple[str | None, int]:
    return os.environ.get("MARKED"), os.getpid()


def set_up() -> None:
    os.environ["SET_UP"] = "yes"


@embedq.job(executor="process")
def was_set_up() -> str | None:
    return os.environ.get("SET_UP")


def fail_to_set_up() -> None:
    raise LookupError("no settings here")


def fail_with(message: str) -> None:
    raise ValueError(message)


class _Large:
    """Something that would not be noticed if it stayed, but for its finalizer."""


def fail_with_something_large(told: str) -> None:
    """Fail; the file `told` is there once what this held is freed, without the garbage collector."""
    gc.disable()
    held = _Large()
    weakref.finalize(held, Path(told).touch)
    try:
        raise ValueError("no")
    except ValueError as error:
        kept = error
    raise kept

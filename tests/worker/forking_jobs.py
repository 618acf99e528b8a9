"""Jobs that fork."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import embedq

forking = multiprocessing.get_context("fork")


def fork() -> int:
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forks in processes with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def status_of(pid: int) -> int:
    """A child's exit status; that of a kill, -9, if it does not end."""
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])


def leave(code: int | str | None) -> int:
    """Both come out of this function, the child by sys.exit; the child's status."""
    if not (pid := fork()):
        sys.exit(code)
    return status_of(pid)


def return_twice() -> int:
    if not (pid := fork()):
        return -1
    return status_of(pid)


def fail_in_the_child() -> int:
    if not (pid := fork()):
        raise ValueError("of the child")
    return status_of(pid)


async def return_twice_on_the_loop() -> int:
    return return_twice()


async def leave_on_the_loop() -> int:
    return leave(5)


def have_a_helper(folder: str) -> int:
    """A child that stays until it is told; its status."""
    if not (pid := fork()):
        open(f"{folder}/helper", "w").close()
        while not os.path.exists(f"{folder}/end"):
            time.sleep(0.01)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def enqueue_in_a_child() -> tuple[int, str]:
    """A job that a child enqueued: its id, and how it ended for the child."""
    up, down = os.pipe()
    if not (pid := fork()):
        handle = embedq.enqueue(os.getpid)
        os.write(down, f"{handle.id} {handle.wait(20).value}".encode())
        os._exit(0)
    status_of(pid)
    number, state = os.read(up, 100).decode().split()
    return int(number), state


def say_and_log(n: int) -> int:
    job = embedq.current_job()
    job.log("from a child")
    job.progress(0.5)
    logging.getLogger("shop").warning("child %s", n)
    return n


def compute_in_a_pool() -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(2, mp_context=forking) as pool:
            return list(pool.map(say_and_log, [1, 2]))


def terminate_a_child() -> int | None:
    """The exit status of a child that was asked to end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = forking.Process(target=time.sleep, args=(60,))
        child.start()
    time.sleep(0.1)
    child.terminate()
    child.join(20)
    status = child.exitcode
    child.kill()
    return status


def write_in_a_childs_child() -> list[bool]:
    """Whether files that a child has opened are still open in a child of its own."""
    up, down = os.pipe()
    if not (pid := fork()):
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(12)]
        if not (inner := fork()):
            os.write(down, bytes(map(_is_open, files)))
            os._exit(0)
        os._exit(status_of(inner))
    status_of(pid)
    return [bool(one) for one in os.read(up, 100)]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True

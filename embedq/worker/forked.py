"""The child of a fork that a job makes: it belongs to the job, and must not act as a worker.

When it leaves the job's function it has to end, like a child that reaches the end of its program. It has a copy of the
thread that ran the job, which would otherwise continue: take the next job, report an outcome that only its parent may
report, and never end, while the job waits for it.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from embedq.process import faults

# How many forks lead from the program's first process to this one. It is compared before and after each job; reading
# the process id instead would be two system calls.
forks = 0


def _after_fork() -> None:
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def end_child(error: BaseException | None) -> NoReturn:
    """End this process as Python ends one, but without the exit handlers, which belong to its parent.

    Args:
        error: what the function raised; None if it returned. The exit status is 0 then, that of a SystemExit, or 1.
    """
    status = 1
    try:
        status = _status(error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(status)


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not faults.is_a(error, SystemExit):
        traceback.print_exception(error)
        return 1
    code = getattr(error, "code", 1)
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1

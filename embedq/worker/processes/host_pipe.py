"""The child's ends of the pipes to its host, and what goes up through them: log lines, progress, log records."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from typing import Any

from embedq.process.interrupts import Shielded
from embedq.tasks.context import JobContext
from embedq.worker.processes.protocol import write_frame


class HostPipe:
    """The pipes to the host. Threads that a job has started may use it too.

    Attributes:
        closed: this process was forked by a job, and the descriptors do not belong to the pipes any more.
    """

    def __init__(self, down: int, up: int) -> None:
        self.down = down
        self.closed = False
        self._up = up
        self._lock = threading.RLock()
        self._unsent: deque[bytes] = deque()

    def send(self, *message: Any) -> None:
        """Send one message, which no interrupt can cut in two. Does nothing if this is closed."""
        if self.closed:
            return
        self._unsent.append(json.dumps(message).encode())
        if self._lock._is_owned():  # type: ignore[attr-defined]
            # A finalizer or signal handler inside the lines below: they send this message too.
            return
        while self._unsent:
            with Shielded(), self._lock:
                try:
                    while self._unsent:
                        write_frame(self._up, self._unsent.popleft())
                except OSError:
                    os._exit(0)


class HostNotes:
    """Sends what running jobs write with their context to the host."""

    def __init__(self, pipe: HostPipe) -> None:
        self._pipe = pipe

    def log(self, context: JobContext, message: str) -> None:
        self._pipe.send("log", context.id, context.claim, message)

    def progress(self, context: JobContext, fraction: float, note: str | None) -> None:
        self._pipe.send("progress", context.id, context.claim, fraction, None if note is None else str(note))

    def options(self, context: JobContext, text: str) -> None:
        self._pipe.send("options", context.id, context.claim, text)


class HostClock:
    """The host's time, which may be the database's."""

    def __init__(self) -> None:
        self._ahead = 0

    def set(self, now: int) -> None:
        """Set the time."""
        self._ahead = now - time.monotonic_ns() // 1000

    def now(self) -> int:
        return time.monotonic_ns() // 1000 + self._ahead

    def monotonic(self) -> float:
        return time.monotonic()


class HostLogHandler(logging.Handler):
    """Sends log records to the host's loggers, unless the app sets up logging in this process."""

    def __init__(self, pipe: HostPipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        if self._pipe.closed:
            # As Python does where logging is not set up.
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
            return
        try:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
            fields = {name: getattr(record, name) for name in _RECORD_FIELDS}
            self._pipe.send("record", {**fields, "msg": record.getMessage(), "exc_text": trace})
        except Exception:
            self.handleError(record)


_RECORD_FIELDS = (
    "name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created", "msecs",
    "process", "processName", "thread", "threadName", "stack_info",
)  # fmt: skip

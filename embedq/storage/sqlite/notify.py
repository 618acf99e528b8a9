"""Notifications when another connection writes to the database, instead of polling.

Every commit appends to the write-ahead log, and Linux's inotify reports it, whichever program wrote: another process of
the app, the command line, a plain sqlite3 connection. A wake-up through inotify costs nothing while nothing happens;
polling fifty times a second costs about one percent of a core. Where there is no inotify, the dispatcher polls.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from embedq.observability.log import get_logger
from embedq.process import supervision

logger = get_logger()

# linux/inotify.h
_EVENT = struct.Struct("iIII")
_IN_MODIFY = 0x00000002
# Its number of links changed, it was deleted, it is watched no more.
_GONE = 0x00000004 | 0x00000400 | 0x00008000
LOOK_FOR_FILE_SECONDS = 0.1


class FileListener:
    """Calls `changed` soon after the file was written, at most every `rest` seconds.

    SQLite deletes the log when the last connection to the database is closed, as a fork does, and makes another.

    Args:
        follow: makes `inotify` watch the file of that name; returns False when there is none.
    Attributes:
        works: an event has come, so that polling is not needed.
    """

    def __init__(self, inotify: int, follow: Callable[[], bool], changed: Callable[[], None], rest: float) -> None:
        self.works = False
        self._inotify = inotify
        self._follow = follow
        self._changed = changed
        self._rest = rest
        self._stopping = False
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = supervision.start("embedq-listener", self._listen)

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._inotify, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        following = True
        while True:
            poll.poll(None if following else LOOK_FOR_FILE_SECONDS * 1000)
            if self._stopping:
                return
            seen = _drain(self._inotify)
            if seen & _GONE or not following:
                following = self._follow()
            self.works = following and (self.works or bool(seen & _IN_MODIFY))
            self._changed()
            # Under load every commit is an event; one look for many of them is enough.
            time.sleep(self._rest)

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        os.write(self._stop_writer, b"x")
        self._thread.join()
        for descriptor in (self._inotify, self._stop_reader, self._stop_writer):
            os.close(descriptor)


def listen(file: Path, changed: Callable[[], None], *, rest: float) -> FileListener | None:
    """Start listening for writes to `file`; None where that cannot be done."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        logger.info("no inotify here (%s); the database is polled", os.strerror(ctypes.get_errno()))
        return None

    def follow() -> bool:
        return bool(libc.inotify_add_watch(descriptor, os.fsencode(file), _IN_MODIFY | _GONE) >= 0)

    if not follow():
        logger.info("inotify cannot watch %s (%s); it is polled", file, os.strerror(ctypes.get_errno()))
        os.close(descriptor)
        return None
    return FileListener(descriptor, follow, changed, rest)


def _drain(descriptor: int) -> int:
    """Read every event that is waiting, and return their masks as one."""
    seen = 0
    try:
        while events := os.read(descriptor, 65536):
            at = 0
            while at < len(events):
                _, mask, _, length = _EVENT.unpack_from(events, at)
                seen |= mask
                at += _EVENT.size + length
    except BlockingIOError:
        pass
    return seen

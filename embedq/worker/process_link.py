"""What a job's process and the one that made it say to each other: frames of bytes on two pipes.

Down go pickles, since the job's process trusts who made it. Up goes JSON: what a job may have made is never unpickled
in the app's own process.

down    ("run", Work)                       one job at a time
        ("tell", id, claim, flag)           "cancelled" or "stopping", for `current_job().cancelled`
        ("interrupt", id, claim, name)      raise this JobInterrupt in it
        ("parent", text, error)             the answer to "parent"
        ("stack", id, claim)                where is it?
        ("end",)                            leave in good order; the pipe's end says: at once
up      ["ready"]                           can take jobs
        ["unfit", headline, traceback]      cannot, and leaves
        ["taken"], ["begun"]                has the job; calls its function now
        ["log", id, claim, text]
        ["progress", id, claim, fraction, note]
        ["parent"]                          wants the stored result of the job's parent
        ["stack", id, claim, text]
        ["record", {…}]                     a record of the standard library's logging
        ["outcome", {…}, worn]              how it ended; worn: take another process for the next
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

from embedq.config import Settings
from embedq.storage.rows import ClaimedJob

_LENGTH = struct.Struct("!I")
# Far beyond any stored result; a length above it is noise.
LONGEST_FRAME = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The first frame that a job's process gets.

    Attributes:
        path, argv: of `sys`.
        main: the name of the host's script and where it is: (name, name of its module or None, file or None).
        settings: of the app whose jobs it runs.
        default_app: the keywords of the default app; None if there is none.
        enqueue_middleware: the default app's.
        middleware: around each job.
        log_levels: of the host's loggers by name; the root's is "".
    """

    path: list[str]
    argv: list[str]
    main: tuple[str, str | None, str | None]
    settings: Settings
    default_app: dict[str, Any] | None
    enqueue_middleware: list[Packed]
    middleware: list[Packed]
    log_levels: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A callable on its way: by its name, or as a cloudpickle."""

    name: str | None = None
    pickle: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job to run. Its row has been verified.

    Attributes:
        home: the module that registers it; None for one that is found by the row alone.
        modules: to import first, because its arguments are of their types.
        now: the host's time, in microseconds, when this was sent.
        server_id: the host's number.
    """

    job: ClaimedJob
    home: str | None
    modules: tuple[str, ...]
    now: int
    server_id: int


def write_frame(descriptor: int, data: bytes) -> None:
    """Write one frame. OSError when nobody reads any more."""
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_frame(descriptor: int) -> bytes | None:
    """The next frame; None when the other side is gone, also in the middle of one, or writes nonsense."""
    head = _read(descriptor, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    return _read(descriptor, length) if length <= LONGEST_FRAME else None


def _read(descriptor: int, length: int) -> bytes | None:
    parts = []
    while length:
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)

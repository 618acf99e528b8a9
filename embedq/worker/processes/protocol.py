"""The messages between a child process that runs jobs and its host, the process that started it: frames on two pipes.

Down go pickles, since the child trusts its host. Up goes JSON: bytes that a job may have made are never unpickled in
the app's own process.

down    ("run", Assignment)                 run a job; one at a time
        ("flag", id, claim, name)           set "cancelled" or "stopping", for `current_job().cancelled`
        ("interrupt", id, claim, name)      raise this JobInterrupt in the job
        ("parent", text, error)             the response to "parent"
        ("stack", id, claim)                request the job's stack
        ("end",)                            exit in good order; when the pipe closes, the child exits at once
up      ["ready"]                           the child can run jobs
        ["unfit", headline, traceback]      it cannot, and exits
        ["accepted"], ["started"]           it has the job; it calls the job's function now
        ["log", id, claim, text]
        ["progress", id, claim, fraction, note]
        ["options", id, claim, text]        the job's stored options, with its meta
        ["parent"]                          request the stored result of the job's parent
        ["stack", id, claim, text]
        ["record", {…}]                     a record of the standard library's logging
        ["outcome", {…}, exhausted]         how the job ended; exhausted: the child must run no other job
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

from embedq.config import Settings
from embedq.storage.rows import ClaimedJob

_LENGTH = struct.Struct("!I")
# Far beyond any stored result; a frame that claims to be longer is invalid.
LONGEST_FRAME = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSetup:
    """The first frame that a child process receives.

    Attributes:
        path, argv: those of `sys` in the host.
        main: the host's script: (name, name of its module or None, file or None).
        settings: of the app whose jobs the child runs.
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
    enqueue_middleware: list[PackedCallable]
    middleware: list[PackedCallable]
    log_levels: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedCallable:
    """A callable as it is sent: by its name, or as a cloudpickle."""

    name: str | None = None
    pickle: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A job to run. Its row has been verified.

    Attributes:
        home: the module that registers its task; None if the row alone identifies the function.
        modules: modules to import first, because the arguments are of their types.
        now: the host's time, in microseconds, when this was sent.
        server_id: the host's number.
    """

    job: ClaimedJob
    home: str | None
    modules: tuple[str, ...]
    now: int
    server_id: int


def write_frame(descriptor: int, data: bytes) -> None:
    """Write one frame. OSError when the other side is gone."""
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_frame(descriptor: int) -> bytes | None:
    """Return the next frame; None when the other side is gone, also within a frame, or sends an invalid frame."""
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

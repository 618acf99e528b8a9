"""What the processes of a test did and when, written where a kill -9 cannot take it back.

Each process appends JSON lines to a file of its own; one short write to a file opened with O_APPEND is either there or
not, whenever its writer dies. Times are CLOCK_MONOTONIC, which on Linux is one clock for all processes.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "EMBEDQ_TEST_JOURNAL"


class Writer:
    """Appends this process's lines; in the child of a fork, to another file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Set as one: threads may come here together.
        self._open = (0, -1)

    def note(self, event: str, *, durable: bool = False, **fields: Any) -> None:
        """Append one line. Durable: flushed to the disk before this returns."""
        pid, file = self._open
        if pid != os.getpid():
            pid = os.getpid()
            path = self._folder / f"{pid}-{uuid.uuid4().hex[:8]}.jsonl"
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._open = (pid, file)
        line = json.dumps({"event": event, "pid": pid, "at": time.monotonic(), **fields})
        os.write(file, line.encode() + b"\n")
        if durable:
            os.fsync(file)


def read(folder: Path) -> list[dict[str, Any]]:
    """Every process's lines, in the order in which they happened."""
    lines = [
        json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(lines, key=lambda line: float(line["at"]))


@dataclass(frozen=True, slots=True)
class Span:
    """One run of a job, from its first line to its last, or to the death of its process.

    Attributes:
        complete: its function came to its end.
        ended_at: infinity while it is still running.
    """

    job: int
    pid: int
    claim: int
    started_at: float
    ended_at: float
    complete: bool


def runs(folder: Path, killed: Mapping[int, float] | None = None) -> dict[int, list[Span]]:
    """The runs of each job, in the order in which they began.

    Args:
        killed: when each process was killed: what it was running ended then.
    """
    killed = killed or {}
    ends = {}
    lines = read(folder)
    for line in lines:
        if line["event"] in ("end", "broken off"):
            ends[line["job"], line["claim"], line["pid"]] = line
    found: defaultdict[int, list[Span]] = defaultdict(list)
    for line in lines:
        if line["event"] != "start":
            continue
        end = ends.get((line["job"], line["claim"], line["pid"]))
        ended_at = end["at"] if end else killed.get(line["pid"], float("inf"))
        complete = end is not None and end["event"] == "end"
        found[line["job"]].append(Span(line["job"], line["pid"], line["claim"], line["at"], ended_at, complete))
    return dict(found)


def overlaps(spans: list[Span]) -> list[tuple[Span, Span]]:
    """The pairs of runs of one job, one after the other, of which the second began before the first had ended."""
    return [(one, two) for one, two in pairwise(spans) if two.started_at < one.ended_at]


def most_at_once(spans: Iterable[Span]) -> int:
    """Return how many of these runs there were at one moment, at most."""
    moments = [moment for span in spans for moment in ((span.started_at, 1), (span.ended_at, -1))]
    running = most = 0
    # At equal times an end comes first.
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most

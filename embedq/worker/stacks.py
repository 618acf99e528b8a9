"""Where a running job is, as a traceback would show it: of a thread, and of a task on an event loop.

Reading another thread's frames stops nobody. What is seen may be over a microsecond later.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio

# Frames up to the last of these are embedq's own, around the job.
_OWN = {str(Path(__file__).with_name(name)) for name in ("execution.py", "event_loop.py")}


class Stack(NamedTuple):
    """`where` names the thread, process or event loop; `text` has the innermost call last."""

    where: str
    text: str


def of_thread(ident: int | None) -> str | None:
    """The stack of a thread of this process; None when it has ended."""
    frame = sys._current_frames().get(ident or 0)
    return None if frame is None else _written(_outwards(frame)[::-1])


def of_task(task: asyncio.Task[Any], thread: int | None) -> str | None:
    """The stack of a task: what it awaits; what its thread executes, where it is the one that has the loop."""
    frames: list[FrameType] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        if getattr(awaited, "cr_running", False):
            return of_thread(thread)
        frame = _first(awaited, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            break
        frames.append(frame)
        awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")
    return _written(frames) if frames else None


def _first(thing: object, *names: str) -> Any:
    return next((getattr(thing, name) for name in names if hasattr(thing, name)), None)


def _outwards(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _written(frames: Sequence[FrameType]) -> str:
    """Frames from the outermost in."""
    own = [number for number, frame in enumerate(frames) if frame.f_code.co_filename in _OWN]
    # A job that has not begun shows embedq's own.
    shown = frames[own[-1] + 1 :] if own and own[-1] + 1 < len(frames) else frames
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in shown)
    return "".join(summary.format())

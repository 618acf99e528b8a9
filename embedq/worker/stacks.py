"""The stack of a running job, as a traceback shows it: of a thread, and of a task on an event loop.

Reading another thread's frames does not stop it. The stack may have changed a microsecond later.
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

# The files of embedq's own frames around the job.
_OWN = {str(Path(__file__).with_name(name)) for name in ("execution.py", "event_loop.py", "async_execution.py")}


class Stack(NamedTuple):
    """`where` names the thread, process or event loop; `text` has the innermost call last."""

    where: str
    text: str


def of_thread(ident: int | None) -> str | None:
    """Return the stack of a thread of this process; None when it has ended."""
    frame = sys._current_frames().get(ident or 0)
    return None if frame is None else _formatted(_callers(frame)[::-1])


def of_task(task: asyncio.Task[Any], thread: int | None) -> str | None:
    """Return the stack of a task: what it awaits, or what its thread executes if the task is running."""
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
    return _formatted(frames) if frames else None


def _first(thing: object, *names: str) -> Any:
    return next((getattr(thing, name) for name in names if hasattr(thing, name)), None)


def _callers(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _formatted(frames: Sequence[FrameType]) -> str:
    """Format frames, the outermost first."""
    own = [number for number, frame in enumerate(frames) if frame.f_code.co_filename in _OWN]
    # Of a job that has not begun, only embedq's own frames exist.
    shown = frames[own[-1] + 1 :] if own and own[-1] + 1 < len(frames) else frames
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in shown)
    return "".join(summary.format())

"""An error as the text that is stored: its headline and its traceback."""

from __future__ import annotations

import traceback as tracebacks

from embedq.storage.rows import storable

MAX_TRACEBACK = 20_000
# The module that calls jobs' functions.
_CALLER = "embedq.worker.execution"


def headline(error: BaseException) -> str:
    """Type and message, also of an error whose `__str__` fails; at most 2,000 characters."""
    name = type(error).__qualname__
    try:
        text = str(error)
    except BaseException as fault:
        text = f"(it cannot say what: its __str__ raised {type(fault).__qualname__})"
    return f"{name}: {text}"[:2000] if text else name


def traceback_text(error: BaseException) -> str:
    """The traceback from the job's own function on, at most some 20,000 characters."""
    # From the job's own function on: embedq's frames above it tell the reader nothing.
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") == _CALLER:
        frames = frames.tb_next
    text = storable("".join(tracebacks.format_exception(type(error), error, frames or error.__traceback__)))
    if len(text) <= MAX_TRACEBACK:
        return text
    half = MAX_TRACEBACK // 2
    return f"{text[:half]}\n… {len(text) - MAX_TRACEBACK:,} characters left out …\n{text[-half:]}"

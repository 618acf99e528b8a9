"""Stored text and times as a terminal may show them.

Names, arguments, errors and log lines come from a database that anybody may have written to. `safe` and `safe_lines`
escape whatever a terminal acts upon (ANSI sequences, carriage returns, marks that turn the direction of writing), so
everything stored that is printed for people goes through one of them, exactly once.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime

from embedq.readable import safe as safe
from embedq.wording import duration as duration
from embedq.wording import relative as relative
from embedq.wording import span as span

# A letter may carry combining marks without end, and none of them takes a column.
MARKS_PER_COLUMN = 4


def safe_lines(text: str) -> list[str]:
    """The lines of the text, each `safe`; tabs become spaces."""
    return [safe(line) for line in text.replace("\r\n", "\n").expandtabs(4).split("\n")]


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def clip(text: str, width: int) -> str:
    """The text cut to a width in columns; it ends in `…` where something is missing."""
    longest = width * MARKS_PER_COLUMN
    if len(text) <= longest and columns(text) <= width:
        return text
    kept, taken = "", columns("…")
    for char in text[:longest]:
        taken += _columns(char)
        if taken > width:
            break
        kept += char
    return kept + "…"


def _columns(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def absolute(moment: datetime) -> str:
    """A moment on this machine's clock, with its zone: `2026-06-01 12:00:03 CEST`."""
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except OverflowError:
        # The last hours of the year 9999 are in no later year.
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def both(moment: datetime, now: datetime) -> str:
    """A moment both ways: `2026-06-01 12:00:03 CEST (3 min ago)`."""
    return f"{absolute(moment)} ({relative(moment, now)})"

"""Stored text and times for a terminal.

Names, arguments, errors and log lines come from a database and may contain any character. `safe` and `safe_lines`
escape terminal control characters (ANSI sequences, carriage returns, direction marks); all stored text that is printed
passes through one of them, exactly once.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime

from embedq.display.calls import safe as safe
from embedq.display.units import duration as duration
from embedq.display.units import relative as relative
from embedq.display.units import span as span

# A letter may have any number of combining marks, which take no column.
MARKS_PER_COLUMN = 4


def safe_lines(text: str) -> list[str]:
    """Return the lines of the text, each `safe`; tabs become spaces."""
    return [safe(line) for line in text.replace("\r\n", "\n").expandtabs(4).split("\n")]


def columns(text: str) -> int:
    """Return the width of the text in columns of a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def clip(text: str, width: int) -> str:
    """Shorten the text to a width in columns; a shortened text ends with `…`."""
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
    """Format a moment in local time, with its zone: `2026-06-01 12:00:03 CEST`."""
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except OverflowError:
        # In some zones, the last hours of the year 9999 would be in the year 10000.
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def both(moment: datetime, now: datetime) -> str:
    """Format a moment in local time and relative to now: `2026-06-01 12:00:03 CEST (3 min ago)`."""
    return f"{absolute(moment)} ({relative(moment, now)})"

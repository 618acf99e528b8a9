"""Formatting of numbers, sizes, times and durations."""

from __future__ import annotations

from datetime import datetime

from embedq.clock import DAMAGED, DamagedMoment

MINUTE, HOUR, DAY = 60, 3600, 86_400


LONGEST_BRIEF = 100


def brief(value: object) -> str:
    """Return the repr of a value, shortened; a placeholder if it has none, such as a number that is too long."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST_BRIEF else f"{text[:LONGEST_BRIEF]}…"


def span(seconds: float) -> str:
    """Format a duration in one unit: `42 s`, `3 min`, `5 h`, `12 d`."""
    seconds = round(abs(seconds))
    if seconds < MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min"
    if seconds < DAY:
        return f"{seconds // HOUR} h"
    return f"{seconds // DAY} d"


def exactly(seconds: float) -> str:
    """Format a duration exactly, in all its units: `1 d 1 h`, `1 h 30 min`, `0.5 s`."""
    parts = []
    for unit, length in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count:.0f} {unit}")
    if seconds or not parts:
        parts.append(f"{round(seconds, 6):g} s")
    return " ".join(parts)


def counted(number: int, noun: str, *, cap: int | None = None) -> str:
    """Format as `1 job`, `2,000 jobs`, `3 processes`; as `10,000+ jobs` if counting stopped at `cap`."""
    more = "+" if cap is not None and number >= cap else ""
    plural = f"{noun}es" if noun.endswith(("s", "sh", "ch")) else f"{noun}s"
    return f"{number:,}{more} {noun if number == 1 and not more else plural}"


def size(count: int) -> str:
    """Format a number of bytes: `12 MB`."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.{0 if count >= 10 * length else 1}f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """Format a duration with a precision that fits: `12 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`."""
    if seconds < 0.0005:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min {seconds % MINUTE} s"
    if seconds < DAY:
        return f"{seconds // HOUR} h {seconds % HOUR // MINUTE} min"
    return f"{seconds // DAY} d {seconds % DAY // HOUR} h"


def relative(moment: datetime, now: datetime) -> str:
    """Format a moment relative to now: `3 min ago`, `in 42 s`, `now`."""
    if isinstance(moment, DamagedMoment):
        return DAMAGED
    seconds = (moment - now).total_seconds()
    if round(seconds) == 0:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"

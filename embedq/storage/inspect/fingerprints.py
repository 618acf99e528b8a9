"""Fingerprints, which are equal for errors that differ only in numbers or names."""

from __future__ import annotations

import re

# In this order: what is quoted may hold anything.
_VARYING = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"), "'…'"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "#"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE), "#"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "#"),
)
LONGEST = 200
NO_ERROR = "(no error text)"


def fingerprint(error: str | None) -> str:
    """Return the first line of an error without its numbers, quoted texts and hexadecimal ids, up to 200 characters.

    Errors are stored as "Type: message", so two errors of different types never get the same.
    """
    line = (error or "").strip().partition("\n")[0][: 2 * LONGEST]
    kind, colon, message = line.partition(":")
    for varying, plain in _VARYING:
        message = varying.sub(plain, message)
    return f"{kind}{colon}{message}"[:LONGEST] or NO_ERROR

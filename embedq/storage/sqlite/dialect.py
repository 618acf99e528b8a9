"""The shared SQL as SQLite writes it: one process writes at a time, so nothing is locked; no value needs a type."""

from __future__ import annotations

import re

_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"IN \$(\d+)\[\w*\]", r"IN (SELECT value FROM json_each($\1))"),
        (r"FOR UPDATE(?: OF \w+)?(?: SKIP LOCKED)?", ""),
        (r"RETURNING id\b", ""),
        (r"::(?:double precision|\w+)", ""),
        (r"greatest\(", "max("),
        (r"least\(", "min("),
        (r"octet_length\(", "length("),
    )
]


def dialect(text: str) -> str:
    """A statement as SQLite takes it, with `$1` for its parameters."""
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text

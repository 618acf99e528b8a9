"""The shared SQL as MySQL and MariaDB write it. `$2[]` stays: the list is written out, (1, 2, 3); see `compiled`."""

from __future__ import annotations

import re

_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\[text\]", "[]"),
        # MariaDB locks the rows of every table that is read.
        (r"FOR UPDATE OF \w+", "FOR UPDATE"),
        (r"RETURNING id\b", ""),
        (r"::(?:double precision|\w+)", ""),
        # A reserved word.
        (r"(?<!`)\btrigger\b(?!`)", "`trigger`"),
    )
]


def dialect(text: str) -> str:
    """A statement as the servers take it, with `$1` for its parameters."""
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text

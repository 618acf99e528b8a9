"""The shared SQL as PostgreSQL writes it; it is in that dialect except for lists."""

from __future__ import annotations

import re

# An array, so that the list is a condition of the index whatever the planner thinks of its length.
_LIST = re.compile(r"IN \$(\d+)\[(\w*)\]")


def dialect(text: str) -> str:
    """A statement as PostgreSQL takes it."""
    return _LIST.sub(_any_of, text)


def _any_of(found: re.Match[str]) -> str:
    cast = "" if found[2] == "text" else "::bigint"
    return f"= ANY (ARRAY(SELECT jsonb_array_elements_text(${found[1]}::jsonb){cast}))"

"""The key of a tag, and the value that stands for a parent job's result: shared by writing and reading."""

from __future__ import annotations

from typing import Any

KEY = "$"


class ParentResult:
    """The type of PARENT_RESULT."""

    __slots__ = ()
    # Where a pickle finds the one instance, whichever file defines it.
    __module__ = "embedq"

    def __repr__(self) -> str:
        return "embedq.PARENT_RESULT"

    def __reduce__(self) -> str:
        return "PARENT_RESULT"


PARENT_RESULT: Any = ParentResult()
"""As an argument of a continuation: replaced by the parent job's result when the continuation starts."""

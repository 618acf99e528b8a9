"""Damaged values: something other than embedq has changed the tables, or the disk has.

Such a row is shown like any other, with "damaged" where the value cannot be shown. Nothing that reads it raises.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, TypeVar

from embedq.clock import DAMAGED, DamagedMoment

E = TypeVar("E", bound=StrEnum)

LONGEST_SHOWN = 60


def member(kind: type[E], stored: Any) -> E:
    """Return the member of an enumeration; for a text of no member, a value of its type that is none."""
    try:
        return kind(stored)
    except ValueError:
        text = str(stored)
        # It may contain control sequences for a terminal.
        text = text if text.isprintable() else ascii(text)[1:-1]
        text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
        made = str.__new__(kind, text)
        made._name_ = DAMAGED
        made._value_ = text
        return made


def is_damaged(value: object) -> bool:
    """Return whether a value stands for one that cannot be shown."""
    # Not `.name`, which is a property: this is asked about each row of a list.
    return type(value) is DamagedMoment or (isinstance(value, StrEnum) and value._name_ == DAMAGED)


def json_or(stored: str | None, kind: type[Any], otherwise: Any) -> Any:
    """Return the list or object that a stored JSON text holds; `otherwise` where it holds none."""
    try:
        value = json.loads(stored) if stored is not None else None
    except (ValueError, RecursionError):
        return otherwise
    return value if isinstance(value, kind) else otherwise

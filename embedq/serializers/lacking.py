"""The types that a stored call needs and this process lacks, found without creating a value of any type."""

from __future__ import annotations

import dataclasses
import json
from enum import EnumType, Flag
from typing import Any

from embedq.serializers.decoding import can_read_tag, can_read_zone
from embedq.serializers.tags import KEY
from embedq.tasks.functions import find_imported


def lacking_types(text: str) -> list[str]:
    """Return why a call that `dumps_call` wrote cannot be read here, in words; empty if it can.

    No class is called, so refusals by a class's own code (a dataclass's `__post_init__`) are not found.

    Raises:
        ValueError: the text is not JSON.
    """
    if f'"{KEY}"' not in text:
        return []
    found: dict[str, None] = {}

    def look(value: dict[str, Any]) -> Any:
        match value:
            case {"$": [str() as tag, body]} if len(value) == 1:
                if reason := _lacking(tag, body):
                    found[reason] = None
                return None
        return value

    try:
        json.loads(text, object_hook=look)
    except RecursionError:
        raise ValueError("the stored text is nested too deep") from None
    return list(found)


def _lacking(tag: str, body: Any) -> str | None:
    if not can_read_tag(tag) and tag != "parent_result":
        return f"a stored type {tag[:100]!r}, which a newer embedq wrote"
    match tag, body:
        case "zone", str() as key if not can_read_zone(key):
            return f"the time zone {key[:100]!r} is not on this system"
        case (("enum" | "namedtuple" | "dataclass"), [str() as name, inner]):
            kind = find_imported(name)
            if kind is None:
                return f"the type {name[:200]!r} is not imported"
            check = {"enum": _enum, "namedtuple": _named_tuple, "dataclass": _dataclass}[tag]
            reason = check(kind, inner)
            return None if reason is None else f"the type {name[:200]!r}: {reason}"
    return None


def _enum(kind: Any, member: Any) -> str | None:
    if not isinstance(kind, EnumType):
        return "it is not an enum"
    if isinstance(member, int) and issubclass(kind, Flag):
        return None
    return None if member in kind.__members__ else f"it has no member {str(member)[:100]!r}"


def _named_tuple(kind: Any, values: Any) -> str | None:
    fields = getattr(kind, "_fields", None) if isinstance(kind, type) and issubclass(kind, tuple) else None
    if not isinstance(fields, tuple):
        return "it is not a named tuple"
    if isinstance(values, list) and len(values) != len(fields):
        return f"{len(values)} values were stored and it has {len(fields)} fields"
    return None


def _dataclass(kind: Any, values: Any) -> str | None:
    if not isinstance(kind, type) or "__dataclass_fields__" not in vars(kind):
        return "it is not a dataclass"
    if not isinstance(values, dict):
        return None
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    unknown = values.keys() - fields
    if unknown:
        return f"it has no field {min(unknown)!r}"
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            return f"its field {name!r} was not stored, and has no default"
    return None

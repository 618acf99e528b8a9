"""Values as JSON: dataclasses become objects, moments ISO 8601."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from enum import Enum
from typing import Any

from embedq.job import Job


def as_json(value: Any) -> Any:
    """Convert a value to what JSON can represent."""
    match value:
        case datetime():
            return value.isoformat()
        case Enum():
            return value.value
        case dict():
            return {str(as_json(key)): as_json(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [as_json(item) for item in value]
        case str() | int() | float() | None:
            return value
        case Job():
            return {name: as_json(item) for name, item in value.as_dict().items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {item.name: as_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return str(value)

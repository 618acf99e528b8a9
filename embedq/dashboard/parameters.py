"""The names of a function's parameters, which label and redact the arguments of its jobs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from embedq.app import EmbedQ


def parameters(queue: EmbedQ, name: str) -> Sequence[str]:
    """Return the names of a function's positional parameters, if it is registered here; nothing is imported."""
    task = queue.engine.registry.get(name)
    return () if task is None else _parameters(task.function)


@lru_cache(maxsize=1000)
def _parameters(function: Any) -> Sequence[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(parameter.name for parameter in signature.parameters.values() if parameter.kind in kinds)

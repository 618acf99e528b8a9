"""What equal calls of a task have in common, as text: the key of a unique job."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from embedq.errors import ConfigurationError, EnqueueError
from embedq.flow.unique import By
from embedq.serializers import dumps_call
from embedq.tasks.task import Task

# A key is at most so long; of a longer one a hash takes the place of what its arguments are.
MOST_CHARACTERS = 200
MOST_BYTES = 1 << 30


def unique_key(by: By, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return the key of a call: the task's name, and what `by` takes of the arguments, defaults included.

    Raises:
        ConfigurationError: a parameter that `by` names is not one of the function's.
        EnqueueError: what `by` returns, or an argument that it names, has no stored form.
    """
    bound = _bound(task, args, kwargs)
    taken: Any
    if callable(by):
        taken = by(bound)
    elif by is None:
        taken = bound
    else:
        missing = [name for name in by if name not in bound]
        if missing:
            raise ConfigurationError(
                f"by={by!r}: {task.name} has no parameter {missing[0]!r}; it has {', '.join(bound) or 'none'}"
            )
        taken = {name: bound[name] for name in by}
    text = dumps_call((taken,), {}, limit=MOST_BYTES, name=f"the unique key of {task.name}")
    # Equal whatever the order in which a dict was filled.
    text = json.dumps(json.loads(text)[0][0], sort_keys=True, separators=(",", ":"))
    key = f"{task.name} {text}"
    if len(key) > MOST_CHARACTERS or not key.isascii() or "\\u0000" in key:
        digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
        key = f"{task.name[:100].encode('ascii', 'replace').decode()} sha256:{digest}"
    return key


def _bound(task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        signature = inspect.signature(task.function)
    except (TypeError, ValueError):
        raise EnqueueError(
            f"{task.name} cannot be unique: its parameters are unknown, so its calls cannot be compared"
        ) from None
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)

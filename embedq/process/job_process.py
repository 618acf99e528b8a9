"""Whether this process is a child that runs jobs, and what such a child has of its host.

In a child nothing is started, whatever its code calls at import; and an app connects when it is first used, so that a
job may enqueue. worker/processes/pool.py describes how children work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Returns the keywords of the default app: read in the host, and set in the child.
default_app: Callable[[], dict[str, Any]] | None = None
# The host's script is being run again, for the functions in it.
reading_script = False
_entered = False


def enter(default: dict[str, Any] | None) -> None:
    """Mark this process as a child, with the keywords of its default app."""
    global _entered, default_app
    _entered = True
    default_app = None if default is None else lambda: default


def here() -> bool:
    """Whether this process is a child."""
    return _entered


@contextmanager
def only_reading() -> Iterator[None]:
    """Let no app start or connect inside, whatever the modules call that are imported for their functions."""
    global _entered, reading_script
    before = _entered, reading_script
    _entered = reading_script = True
    try:
        yield
    finally:
        _entered, reading_script = before

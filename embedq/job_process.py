"""Whether this process is one that embedq made to run jobs in, and what such a process knows of the one that made it.

In a job's process nothing is started, whatever its code calls at import; and an app connects when it is first used, so
that a job may enqueue. How these processes work is told in worker/process_pool.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# The keywords of the default app: asked for in the process that makes others, and given in those.
default_app: Callable[[], dict[str, Any]] | None = None
# The host's script is being run once more, for the functions in it.
reading_script = False
_entered = False


def enter(default: dict[str, Any] | None) -> None:
    """This process is a job's, and these are the keywords of its default app."""
    global _entered, default_app
    _entered = True
    default_app = None if default is None else lambda: default


def here() -> bool:
    """Whether this process is a job's."""
    return _entered


@contextmanager
def only_reading() -> Iterator[None]:
    """Inside, modules are imported for the functions in them: whatever they call, no app starts or connects."""
    global _entered, reading_script
    before = _entered, reading_script
    _entered = reading_script = True
    try:
        yield
    finally:
        _entered, reading_script = before

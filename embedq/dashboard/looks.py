"""What was read a moment ago serves all who look: ten open dashboards cost the database little more than one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from embedq.app import EmbedQ

T = TypeVar("T")


class Looks:
    """What was found, for a second or so."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[EmbedQ, dict[str, tuple[float, Any]]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, queue: EmbedQ, name: str, look: Callable[[], T], *, seconds: float) -> T:
        """What `look` gives, or gave not `seconds` ago."""
        now = queue.clock.monotonic()
        with self._lock:
            there = self._found.setdefault(queue, {}).get(name)
        if there is not None and 0 <= now - there[0] < seconds:
            found: T = there[1]
            return found
        # Outside the lock: a slow look must not hold up the others.
        found = look()
        with self._lock:
            self._found.setdefault(queue, {})[name] = (now, found)
        return found

    def forget(self) -> None:
        """After a change everybody sees it at once."""
        with self._lock:
            self._found.clear()

"""What was read a moment ago serves all who look: ten open dashboards cost the host little more than one.

And what took long is read the more rarely: of a thread's time no more than half a percent goes on one kind of look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from embedq.app import EmbedQ

T = TypeVar("T")

# What took a millisecond is good for 0.2 s; everything for a second, and nothing for more than half a minute.
REST = 200.0
LEAST, MOST = 1.0, 30.0


class Looks:
    """What was found, and until when it is good."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[EmbedQ, dict[str, tuple[float, float, Any]]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, queue: EmbedQ, name: str, look: Callable[[], T]) -> T:
        """What `look` gives, or gave a while ago."""
        began = queue.clock.monotonic()
        with self._lock:
            there = self._found.setdefault(queue, {}).get(name)
        if there is not None and there[0] <= began < there[1]:
            found: T = there[2]
            return found
        # Outside the lock: a slow look must not hold up the others.
        found = look()
        now = queue.clock.monotonic()
        good_until = now + min(MOST, max(LEAST, (now - began) * REST))
        with self._lock:
            self._found.setdefault(queue, {})[name] = (now, good_until, found)
        return found

    def forget(self) -> None:
        """After a change everybody sees it at once."""
        with self._lock:
            self._found.clear()

"""A cache of query results: ten open dashboards cost the host little more than one.

Slow queries are cached longer, so that each query uses at most half a percent of a thread's time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from embedq.app import EmbedQ

T = TypeVar("T")

# A result is kept this many times the duration of its query, but at least a second and at most half a minute.
TTL_FACTOR = 200.0
MIN_TTL_SECONDS, MAX_TTL_SECONDS = 1.0, 30.0


class QueryCache:
    """Query results by app and name, each with its expiry time."""

    def __init__(self) -> None:
        self._results: WeakKeyDictionary[EmbedQ, dict[str, tuple[float, float, Any]]] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def get(self, queue: EmbedQ, name: str, read: Callable[[], T]) -> T:
        """Return the cached result of `read`, or call it."""
        began = queue.clock.monotonic()
        with self._lock:
            cached = self._results.setdefault(queue, {}).get(name)
        if cached is not None and cached[0] <= began < cached[1]:
            result: T = cached[2]
            return result
        # Outside the lock: a slow query must not block the others.
        result = read()
        now = queue.clock.monotonic()
        expires = now + min(MAX_TTL_SECONDS, max(MIN_TTL_SECONDS, (now - began) * TTL_FACTOR))
        with self._lock:
            self._results.setdefault(queue, {})[name] = (now, expires, result)
        return result

    def clear(self) -> None:
        """Drop all results, so that every page shows a change at once."""
        with self._lock:
            self._results.clear()

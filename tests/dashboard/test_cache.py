"""One look serves all who have a page open, and an expensive one is not repeated soon."""

from __future__ import annotations

from pathlib import Path

from embedq import EmbedQ
from embedq.dashboard.cache import QueryCache
from tests.support import FakeClock


def test_a_look_is_good_for_a_second_or_for_two_hundred_times_what_it_took(tmp_path: Path) -> None:
    clock = FakeClock()
    queue = EmbedQ(f"sqlite:///{tmp_path}/jobs.db", clock=clock)
    cache, taken = QueryCache(), 0

    def look(seconds: float) -> int:
        nonlocal taken
        taken += 1
        clock.advance(seconds=seconds)
        return taken

    for took, good_for in ((0.0, 1.0), (0.002, 1.0), (0.05, 10.0), (2.0, 30.0)):
        cache.clear()
        first = cache.get(queue, "it", lambda took=took: look(took))  # type: ignore[misc]
        clock.advance(seconds=good_for - 0.01)
        assert cache.get(queue, "it", lambda: look(0)) == first
        clock.advance(seconds=0.02)
        assert cache.get(queue, "it", lambda: look(0)) == first + 1


def test_a_change_invalidates_the_cache_for_every_visitor(tmp_path: Path) -> None:
    queue, cache = EmbedQ(f"sqlite:///{tmp_path}/jobs.db"), QueryCache()
    found = iter("ab")
    assert cache.get(queue, "it", lambda: next(found)) == "a"
    assert cache.get(queue, "it", lambda: next(found)) == "a"
    cache.clear()
    assert cache.get(queue, "it", lambda: next(found)) == "b"

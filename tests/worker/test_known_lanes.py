"""What a dispatcher remembers of lanes between its claims."""

from __future__ import annotations

from embedq.storage.lanes import LaneNews
from embedq.worker.known_lanes import KnownLanes

THREAD, PROCESS = "thread lane", "process lane"


def test_a_claim_that_did_not_look_at_lanes_leaves_what_is_known_of_them() -> None:
    lanes = KnownLanes()
    lanes.learned({"thread", THREAD, PROCESS}, LaneNews(saturated={THREAD}, more={PROCESS}))
    lanes.learned({"thread"}, LaneNews())
    assert (lanes.saturated, lanes.waiting) == (frozenset({THREAD}), True)
    lanes.learned({PROCESS}, LaneNews())
    assert (lanes.saturated, lanes.waiting) == (frozenset({THREAD}), False)


def test_a_claim_that_looked_at_lanes_replaces_what_was_known() -> None:
    lanes = KnownLanes()
    lanes.learned({THREAD}, LaneNews(saturated={THREAD}))
    lanes.learned({THREAD}, LaneNews(more={THREAD}))
    assert (lanes.saturated, lanes.waiting) == (frozenset(), True)

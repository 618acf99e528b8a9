"""Whose turn it is among lanes, as decisions without effects."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from embedq.flow.lanes import Lane, LaneTurn, after_start, by_turns, limits_of

LIMITED = [Lane(key, 1, (("api", ""),)) for key in "abcdef"]
FREE = [Lane(key, 1, ()) for key in "uvwxyz"]


@given(
    lanes=st.lists(st.sampled_from(LIMITED + FREE), unique=True),
    key=st.sampled_from("abcdefg"),
    left=st.integers(0, 3),
)
def test_only_lanes_under_limits_change_places_and_only_among_themselves(
    lanes: list[Lane], key: str, left: int
) -> None:
    ordered = by_turns(lanes, {("api",): LaneTurn(key, left)})
    assert sorted(ordered) == sorted(lanes)
    assert [bool(lane.pairs) for lane in ordered] == [bool(lane.pairs) for lane in lanes]
    assert [lane for lane in ordered if not lane.pairs] == [lane for lane in lanes if not lane.pairs]
    # The first under the limit is the one behind the last that started, or that one while its turn lasts.
    limited = [lane.key for lane in ordered if lane.pairs]
    behind = [one for one in limited if one > key or (one == key and left)]
    assert limited == sorted(behind) + sorted(one for one in limited if one not in behind)


@given(weights=st.lists(st.integers(1, 4), min_size=2, max_size=5), rounds=st.integers(1, 4))
def test_with_one_permit_each_lane_starts_as_often_as_its_weight(weights: list[int], rounds: int) -> None:
    lanes = [Lane(key, weight, (("api", ""),)) for key, weight in zip("abcde", weights, strict=False)]
    turns: dict[tuple[str, ...], LaneTurn] = {}
    started: Counter[str] = Counter()
    for _ in range(rounds * sum(weights)):
        first = by_turns(lanes, turns)[0]
        turns[limits_of(first)] = after_start(turns.get(limits_of(first)), first, 1)
        started[first.key] += 1
    assert [started[lane.key] for lane in lanes] == [rounds * weight for weight in weights]

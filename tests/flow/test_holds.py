"""What holds keep, whatever is paused and whenever one looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedq.flow.holds import HoldKind, HoldRow, Holds, is_hold, of_need

NAMES = st.text(max_size=6)
# Few, so that holds meet jobs often.
WORDS = st.sampled_from(["", "mail", "default", "a b", "task x"])
MOMENTS = st.integers(0, 20)
ROWS = st.lists(
    st.builds(
        HoldRow,
        kind=st.sampled_from([*map(str, HoldKind), "lane"]),
        name=WORDS,
        until=st.one_of(st.none(), MOMENTS),
    ),
    unique_by=lambda row: row[:2],
    max_size=8,
)


@given(st.sampled_from(list(HoldKind)), NAMES)
def test_a_need_names_its_hold(kind: HoldKind, name: str) -> None:
    need = HoldRow(kind, name, None).need
    assert is_hold(need)
    assert of_need(need) == (kind, name)


@given(ROWS, MOMENTS)
def test_a_hold_is_over_or_holds(rows: list[HoldRow], now: int) -> None:
    over = Holds(rows).over(now)
    assert {row for row in rows if row.active(now)} | set(over) == set(rows)
    assert all(not row.active(now) for row in over)


@given(ROWS, MOMENTS)
def test_nothing_ends_before_the_next_end_and_something_does_then(rows: list[HoldRow], now: int) -> None:
    holds = Holds(rows)
    end = holds.next_end(now)
    before = len(holds.over(now))
    assert len(holds.over(20 if end is None else end - 1)) == before
    assert end is None or len(holds.over(end)) > before


@given(ROWS, WORDS, WORDS, MOMENTS)
def test_a_job_is_barred_by_what_names_it_and_by_nothing_else(
    rows: list[HoldRow], queue: str, task: str, now: int
) -> None:
    named = {("everything", ""), ("queue", queue), ("task", task)}
    active = [row for row in rows if row.active(now) and row[:2] in named]
    holds = Holds(rows)
    assert holds.bars(queue, task, now) == bool(active)
    assert holds.of_queue(queue, now) == any(row.kind != "task" for row in active)
    found = holds.of_job(queue, task, now)
    assert found is None or found in active


@given(ROWS)
def test_the_order_of_the_rows_does_not_matter(rows: list[HoldRow]) -> None:
    assert Holds(rows) == Holds(reversed(rows))

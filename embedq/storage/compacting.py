"""Compacting counters: they become coarser with age, so that the graph of a week is a bounded number of rows.

    younger than two hours     a row for each minute, and on servers for each connection that counted
    up to two days             for each quarter of an hour
    older                      for each three hours; deleted after 30 days (`upkeep`)

A row's `minute` is the first of its span. The sums of any whole span stay the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from embedq.storage.base import Transaction
from embedq.storage.finishing import MINUTE, countable

# Above this age in minutes, rows are for so many minutes each.
STEPS = ((2 * 24 * 60, 180), (2 * 60, 15))
# The `backend` of a row that no connection adds to any more.
NO_BACKEND = 0


class Compacted(NamedTuple):
    """How many rows became how many; and whether there may be more to do."""

    before: int
    after: int
    more: bool


def compact_counters(tx: Transaction, *, now: int) -> Compacted:
    """Make one span of counters coarser, the oldest first."""
    for age, minutes in STEPS:
        # Only spans that are over, so that no process adds to a row that is deleted.
        until = (now // MINUTE - age) // minutes * minutes
        row = tx.one("finest_counter", (minutes, until))
        if row is None or row[0] is None:
            continue
        start = int(row[0]) // minutes * minutes
        rows = tx.all("counters_between", (start, start + minutes))
        sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for name, queue, ending, *numbers in rows:
            total = sums[name, queue, ending]
            for place, number in enumerate(numbers):
                total[place] += number
        tx.run("delete_counters_between", (start, start + minutes))
        tx.insert_rows(
            "copy_counters", [(start, *key, NO_BACKEND, *map(countable, total)) for key, total in sums.items()]
        )
        return Compacted(len(rows), len(sums), True)
    return Compacted(0, 0, False)

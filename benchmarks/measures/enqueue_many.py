"""`enqueue_many`: one call, one transaction. Making the calls is part of what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.jobs import noop
from benchmarks.limits import PlainTable
from benchmarks.report import Figure, ratio_at_least
from benchmarks.scale import Scale
from benchmarks.tools import connected, fresh, new_app, per_second, take_turns

NAME = "enqueue-many"


def measure(scale: Scale, folder: Path) -> Iterator[Figure]:
    count = scale.many_jobs
    for durability in scale.durabilities:

        def plain(durability: str = durability) -> float:
            with PlainTable(fresh(folder) / "plain.db", durability) as table:
                return per_second(count, lambda: table.insert_batched(count))

        def many(durability: str = durability) -> float:
            with connected(new_app(fresh(folder), durability)) as app:
                app.enqueue(noop)
                return per_second(count, lambda: app.enqueue_many([app.call(noop) for _ in range(count)]))

        limit, own = take_turns(scale.rounds, plain, many)
        yield Figure(
            measure=NAME, title=f"enqueue_many of {count:,}, {durability}", unit="jobs/s", values=own,
            limits=limit, limit_title="batched insert", mark=ratio_at_least(0.25),
        )  # fmt: skip

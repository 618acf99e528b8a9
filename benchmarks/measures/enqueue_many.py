"""`enqueue_many`: one call, one transaction. Making the calls is part of what is measured."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.jobs import noop
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import connected, per_second, take_turns

NAME = "enqueue-many"


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    count = scale.many_jobs
    for durability in scale.durabilities:

        def plain(durability: str = durability) -> float:
            with site.fresh().plain(durability) as table:
                return per_second(count, lambda: table.insert_batched(count))

        def many(durability: str = durability) -> float:
            with connected(site.fresh().app(durability)) as app:
                app.enqueue(noop)
                return per_second(count, lambda: app.enqueue_many([app.call(noop) for _ in range(count)]))

        limit, own = take_turns(scale.rounds, plain, many)
        yield Figure(
            measure=NAME, title=f"enqueue_many of {count:,}, {durability}", unit="jobs/s", values=own,
            limits=limit, limit_title="batched insert", mark=site.marks.get(NAME),
        )  # fmt: skip

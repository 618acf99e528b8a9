"""What a limit costs: no-op jobs of many keys, five at once of each, beside plain ones claimed in batches as small.

Jobs under a limit are claimed for idle workers only, never ahead. So the plain jobs that they stand beside are claimed
like that too, which shows what counting and fair turns cost; and besides, as they are claimed otherwise, hundreds at a
time. On databases with ever more jobs waiting behind, in turns: start ten workers and take the time in which the next
jobs are done. Durability is normal, where no disk flush hides what a job costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.jobs import TALLY, noop, noop_of_key
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Recorded, connected, take_turns
from embedq.tasks.task import Call
from embedq.worker import rate_estimate

NAME = "limited"
DURABILITY = "normal"
WORKERS = 10
KEYS = 100


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    count = scale.limited_drained
    for waiting in scale.backlogs:
        limited_place, plain_place = built(site.fresh(), limited, waiting), built(site.fresh(), plain, waiting)

        def under_limit(place: Place = limited_place) -> float:
            return drain(place, limited(count))

        def not_ahead(place: Place = plain_place) -> float:
            with nothing_ahead():
                return drain(place, plain(count))

        def ahead(place: Place = plain_place) -> float:
            return drain(place, plain(count))

        # One round more than is counted: the first warms the machine's cache of the data.
        rounds = take_turns(scale.rounds + 1, under_limit, not_ahead, ahead)
        own, same, usual = (values[1:] for values in rounds)
        yield Figure(
            measure=NAME, title=f"drain under 5 for each of {KEYS} keys, {waiting:,} waiting", unit="jobs/s",
            values=own, limits=same, limit_title="plain jobs of embedq, claimed for idle workers only",
        )  # fmt: skip
        yield Figure(
            measure=NAME, title="  beside plain jobs that are claimed ahead", unit="jobs/s", values=own, limits=usual,
            limit_title="plain jobs of embedq",
        )  # fmt: skip


def limited(count: int) -> list[Call[None]]:
    """Calls under the limit, of all keys in turn."""
    return [noop_of_key.call(at % KEYS) for at in range(count)]


def plain(count: int) -> list[Call[None]]:
    """Calls under none."""
    return [noop.call() for _ in range(count)]


@contextmanager
def nothing_ahead() -> Iterator[None]:
    """Let dispatchers claim for idle workers only."""
    before = rate_estimate.BUFFER_LIMIT
    rate_estimate.BUFFER_LIMIT = 0
    try:
        yield
    finally:
        rate_estimate.BUFFER_LIMIT = before


def drain(place: Place, calls: Sequence[Call[None]]) -> float:
    """Jobs a second; so many are added first, and so many run."""
    app = place.app(DURABILITY, workers=WORKERS).connect()
    app.enqueue_many(calls)
    recorded = Recorded(place)
    before = recorded.count()
    TALLY.expect(len(calls))
    began = time.perf_counter()
    with app:
        recorded.wait_for(before + len(calls))
        seconds = time.perf_counter() - began
        done = recorded.count() - before
    return done / seconds


def built(place: Place, calls: Callable[[int], list[Call[None]]], waiting: int) -> Place:
    """The place, with so many jobs waiting."""
    with connected(place.app(DURABILITY)) as app:
        templates = app.enqueue_many(calls(min(KEYS, waiting)))
    for template in templates:
        place.copy(template.id, waiting // len(templates) - 1)
    return place

"""Whether a job costs more beside a large backlog, or a large history.

Several databases: with a thousand jobs waiting, with more, with a million; and with a thousand waiting beside a million
finished. In turns, on each: enqueue some one by one; then start ten workers and take the time in which the next jobs
are done (the oldest: the backlog lies behind them). Durability is normal, where no disk flush hides what a job costs.
The million is made of one real row, copied by SQL in batches.

All that twice: on fresh tables, of which the database's planner knows nothing yet; and when it has looked at them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.jobs import TALLY, noop
from benchmarks.places import Place, Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from benchmarks.tools import Recorded, connected, take_turns, timed

NAME = "backlog"
DURABILITY = "normal"
WORKERS = 10


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    few, *more = scale.backlogs
    places = [built(site.fresh(), waiting=waiting) for waiting in scale.backlogs]
    places.append(built(site.fresh(), waiting=few, finished=more[-1]))
    beside = [f"{waiting:,} waiting" for waiting in more] + [f"{more[-1]:,} finished"]
    for tables in ("fresh tables", "tables known to the planner"):
        if tables != "fresh tables":
            for place in places:
                place.gather_statistics()
        # One round more than is counted: the first warms the machine's cache of the data.
        rounds = scale.rounds + 1
        enqueues = take_turns(4 * rounds, *(lambda at=at: enqueue(at, scale.backlog_enqueued) for at in places))
        drains = take_turns(rounds, *(lambda at=at: drain(at, scale.backlog_drained) for at in places))
        for verb, warm, (least, *others) in (("enqueue", 4, enqueues), ("drain", 1, drains)):
            for costs, what in zip(others, beside, strict=True):
                yield Figure(
                    measure=NAME, title=f"{verb} beside {what}, {tables}", unit="µs", values=costs[warm:],
                    limits=least[warm:], limit_title=f"a job of embedq beside {few:,} waiting",
                    mark=site.marks.get(NAME),
                )  # fmt: skip


def enqueue(place: Place, count: int) -> float:
    """The cost of an enqueue, in microseconds."""
    with connected(place.app(DURABILITY)) as app:
        app.enqueue(noop)
        return 1e6 * timed(lambda: [app.enqueue(noop) for _ in range(count)]) / count


def drain(place: Place, count: int) -> float:
    """The cost of claiming, running and recording a job, in microseconds; so many are added first."""
    app = place.app(DURABILITY, workers=WORKERS).connect()
    app.enqueue_many(app.call(noop) for _ in range(count))
    recorded = Recorded(place)
    before = recorded.count()
    TALLY.expect(count)
    began = time.perf_counter()
    with app:
        recorded.wait_for(before + count)
        seconds = time.perf_counter() - began
        done = recorded.count() - before
    return 1e6 * seconds / done


def built(place: Place, *, waiting: int, finished: int = 0) -> Place:
    """The place, with so many jobs waiting, and so many finished."""
    app = place.app(DURABILITY).connect()
    place.withhold_statistics()
    if finished:
        with app:
            done = app.enqueue(noop)
            done.wait(60)
        place.copy(done.id, finished - 1)
        app = place.app(DURABILITY).connect()
    template = app.enqueue(noop)
    app.database.close()
    place.copy(template.id, waiting - 1)
    return place

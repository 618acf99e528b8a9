"""Whether a job costs more beside a large backlog, or a large history.

Three files: a thousand jobs waiting; a million waiting; a thousand waiting beside a million finished. In turns, on
each: enqueue some one by one; then start ten workers and take the time in which the next jobs are done (the oldest: the
backlog lies behind them). Durability is normal, where no disk flush hides what a job costs. The million is made of one
real row, copied by SQL in batches.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.jobs import TALLY, noop
from benchmarks.report import Figure, ratio_at_most
from benchmarks.scale import Scale
from benchmarks.tools import Recorded, connected, fresh, new_app, take_turns, timed

NAME = "backlog"
DURABILITY = "normal"
WORKERS = 10
COPY_BATCH = 50_000


def measure(scale: Scale, folder: Path) -> Iterator[Figure]:
    small, waiting, finished = fresh(folder), fresh(folder), fresh(folder)
    build(small, waiting=scale.backlog_small)
    build(waiting, waiting=scale.backlog)
    build(finished, waiting=scale.backlog_small, finished=scale.backlog)
    files = (small, waiting, finished)
    # One round more than is counted: the first warms the machine's cache of the file.
    rounds = scale.rounds + 1
    enqueues = take_turns(4 * rounds, *(lambda file=file: enqueue(file, scale.backlog_enqueued) for file in files))
    drains = take_turns(rounds, *(lambda file=file: drain(file, scale.backlog_drained) for file in files))
    for verb, (beside_few, beside_waiting, beside_finished) in (("enqueue", enqueues), ("drain", drains)):
        for costs, state in ((beside_waiting, "waiting"), (beside_finished, "finished")):
            yield Figure(
                measure=NAME, title=f"{verb} beside {scale.backlog:,} {state}, cost of a job", unit="µs",
                values=costs[1:], limits=beside_few[1:], limit_title=f"embedq beside {scale.backlog_small:,} waiting",
                mark=ratio_at_most(1.25),
            )  # fmt: skip


def enqueue(folder: Path, count: int) -> float:
    """The cost of an enqueue, in microseconds."""
    with connected(new_app(folder, DURABILITY)) as app:
        app.enqueue(noop)
        return 1e6 * timed(lambda: [app.enqueue(noop) for _ in range(count)]) / count


def drain(folder: Path, count: int) -> float:
    """The cost of claiming, running and recording a job, in microseconds; so many are added first."""
    app = new_app(folder, DURABILITY, workers=WORKERS).connect()
    app.enqueue_many(app.call(noop) for _ in range(count))
    recorded = Recorded(folder)
    before = recorded.count()
    TALLY.expect(count)
    began = time.perf_counter()
    app.start()
    recorded.wait_for(before + count)
    seconds = time.perf_counter() - began
    done = recorded.count() - before
    recorded.close()
    app.stop()
    return 1e6 * seconds / done


def build(folder: Path, *, waiting: int, finished: int = 0) -> None:
    """A file with so many jobs waiting, and so many finished."""
    app = new_app(folder, DURABILITY)
    if finished:
        with app:
            done = app.enqueue(noop)
            done.wait(60)
        copy(folder, done.id, finished - 1)
    with connected(app):
        template = app.enqueue(noop)
    copy(folder, template.id, waiting - 1)


def copy(folder: Path, job_id: int, times: int) -> None:
    """Copy a job's row, whatever its columns are, in transactions of `COPY_BATCH`."""
    connection = sqlite3.connect(folder / "jobs.db", isolation_level=None, timeout=5)
    names = [name for _, name, *_ in connection.execute("PRAGMA table_info(embedq_jobs)") if name != "id"]
    columns = ", ".join(names)
    sql = f"""INSERT INTO embedq_jobs ({columns})
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        SELECT {columns} FROM n, (SELECT * FROM embedq_jobs WHERE id = ?2)"""
    for at in range(0, times, COPY_BATCH):
        connection.execute(sql, (min(COPY_BATCH, times - at), job_id))
    connection.close()

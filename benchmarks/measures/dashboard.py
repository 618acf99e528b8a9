"""What each page of a dashboard costs its database, beside many stored jobs, and beside few.

The jobs are a week of a busy application: sixty functions, ten queues, most of them succeeded, some dead with errors of
their own, some waiting, failures and totals to match. A page is what the dashboard reads for it; the median of some
calls. No page may cost more than `page` says, however many jobs there are.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import embedq
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from embedq.clock import SECOND
from embedq.storage.base import Row
from embedq.storage.claims import MINUTE
from embedq.storage.compacting import compact_counters

NAME = "dashboard"
NAMES = [f"shop.tasks{number % 7}:work_{number}" for number in range(60)]
QUEUES = ["default", "mail", "media", "reports", "sync", "search", "billing", "webhooks", "low", "urgent"]
WEEK = 7 * 86_400 * SECOND
BATCH = 5_000
# Of every thousand jobs, so many are in each state.
SHARES = {"succeeded": 930, "dead": 20, "cancelled": 10, "ready": 20, "scheduled": 12, "retrying": 5, "parked": 3}


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    taken: list[dict[str, list[float]]] = []
    for stored in scale.dashboards:
        # Not started: nothing runs while it is looked at.
        place = site.fresh()
        with closing(place.app("normal").connect()) as app:
            fill(app, stored)
            # As a server finds it once its own upkeep has come by.
            place.gather_statistics()
            taken.append({name: [timed(page) for _ in range(scale.dashboard_calls)] for name, page in pages(app)})
    few, many = taken[0], taken[-1]
    for name, values in many.items():
        yield Figure(
            measure=NAME,
            title=f"{name}, beside {scale.dashboards[-1]:,} jobs",
            unit="ms",
            values=values,
            limits=few[name],
            limit_title=f"the same beside {scale.dashboards[0]:,}",
            mark=site.marks.get(NAME),
        )


def timed(page: Callable[[], object]) -> float:
    """How long a page takes, in milliseconds."""
    began = time.perf_counter()
    page()
    return 1000 * (time.perf_counter() - began)


def pages(app: embedq.EmbedQ) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a dashboard reads, page by page; each is read once before it counts."""
    monitor = app.monitor
    now = datetime.now(UTC)
    dead = monitor.search(state="dead").jobs[0]
    group = monitor.dead_letters().groups[0].fingerprint
    second = monitor.search(state="succeeded").next
    found: dict[str, Callable[[], Any]] = {
        "overview": monitor.overview,
        "history of a week": lambda: monitor.history("week"),
        "queues": monitor.queues,
        "functions": lambda: monitor.task_types("day"),
        "one function": lambda: monitor.task_type(NAMES[5]),
        "servers": monitor.servers,
        "job": lambda: monitor.job(dead.id),
        "dead letters": monitor.dead_letters,
        "jobs": monitor.search,
        "jobs, second page": lambda: monitor.search(state="succeeded", cursor=second),
        **{f"{state} jobs": partial(monitor.search, state=state) for state in (*SHARES, "awaiting", "running")},
        "dead jobs of a group": lambda: monitor.search(state="dead", error_group=group),
        "text that is nowhere": lambda: monitor.search(argument="nowhere to be found"),
        "dead with a text that is nowhere": lambda: monitor.search(state="dead", error="nowhere to be found"),
        "jobs of a function": lambda: monitor.search(name=NAMES[3]),
        "succeeded last Tuesday": lambda: monitor.search(
            state="succeeded", finished_from=now - timedelta(days=4), finished_to=now - timedelta(days=3)
        ),
        "count of a search": lambda: monitor.count(state="dead", error="Timeout"),
        "audit log": app.actions.log,
    }
    for name, page in found.items():
        page()
        yield name, page


# -- what is stored ------------------------------------------------------------------------------------------------


def fill(app: embedq.EmbedQ, stored: int) -> None:
    """A week of so many jobs, the oldest first, with what belongs to them."""
    chance = random.Random(1)
    states = [state for state, share in SHARES.items() for _ in range(share)]
    now = app.engine.clock.now()
    jobs: list[Row] = []
    attempts: list[Row] = []
    totals: dict[tuple[int, str, str, str], list[int]] = {}
    for number in range(1, stored + 1):
        created = now - WEEK + WEEK * number // (stored + 1)
        state = chance.choice(states)
        kind = chance.randrange(len(NAMES))
        name, queue = NAMES[kind], QUEUES[kind % len(QUEUES)]
        job, failed = _job(number, state, name, queue, created, now, chance)
        jobs.append(job)
        attempts += failed
        if state in ("succeeded", "dead"):
            key = (created // MINUTE, name, queue, "succeeded" if state == "succeeded" else "failed")
            total = totals.setdefault(key, [0, 0, 0, 0])
            for place, more in enumerate((1, 200_000, 50_000, 40_000)):
                total[place] += more
        if len(jobs) == BATCH or number == stored:
            _write(app, "copy_jobs", jobs)
            _write(app, "copy_attempts", attempts)
            jobs, attempts = [], []
    counted: list[Row] = [(*key, 0, *total) for key, total in totals.items()]
    for at in range(0, len(counted), BATCH):
        _write(app, "copy_counters", counted[at : at + BATCH])
    while app.database.write(compact_counters, now=now).more:
        pass
    for number in range(50):
        app.recurring(f"schedule {number}", timedelta(hours=number + 1), statistics.mean, [1])


def _write(app: embedq.EmbedQ, statement: str, rows: list[Row]) -> None:
    if rows:
        app.database.write(lambda tx: tx.insert_rows(statement, rows))


def _job(
    number: int, state: str, name: str, queue: str, created: int, now: int, chance: random.Random
) -> tuple[Row, list[Row]]:
    ended = state in ("succeeded", "dead", "cancelled")
    error = None
    if state in ("dead", "retrying"):
        error = (
            f"{chance.choice(('Timeout', 'OSError', 'KeyError'))}: no answer from host {number} after {number % 60} s"
        )
    run_at = now + SECOND * (1 + number % 86_400) if state in ("scheduled", "retrying") else created
    values = {
        "id": number, "state": state, "executor": "thread", "queue": queue, "priority": number % 3, "name": name,
        "payload": f'[[{number}, "user-{number % 5000}@example.com"],{{"reason":"a word or two about it"}}]',
        "tags": '["vip"]' if number % 50 == 0 else None, "created_at": created, "run_at": run_at,
        "started_at": created + 50_000 if ended else None, "finished_at": created + 250_000 if ended else None,
        "first_started_at": created + 50_000 if ended else None, "delete_at": now + WEEK if ended else None,
        "attempt": int(ended), "claim": int(ended), "crashes": 0, "error": error,
        "needs": f"task shop:gone_{number % 4}" if state == "parked" else None,
    }  # fmt: skip
    failed = [(number, 1, 1, "failed", created + 50_000, created + 250_000, 1, error, f"Traceback …\n{error}")]
    return tuple(values.get(column) for column in COLUMNS), failed if state in ("dead", "retrying") else []


COLUMNS = (
    "id", "state", "executor", "queue", "priority", "name", "payload", "code", "options", "tags", "idempotency_key",
    "parent_id", "trigger", "schedule", "created_at", "run_at", "expires_at", "first_started_at", "started_at",
    "finished_at", "delete_at", "attempt", "claim", "crashes", "server_id", "cancel_requested_at", "overdue_at",
    "needs", "error", "result", "progress", "progress_note",
)  # fmt: skip

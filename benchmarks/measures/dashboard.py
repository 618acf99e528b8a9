"""What each page of a dashboard takes, whole, beside many stored jobs, and beside fewer.

The jobs are a week of a busy application: sixty functions, ten queues, most of them succeeded, some dead with errors of
their own, some waiting, failures and totals to match. A page is asked of the WSGI application as a server asks it, with
nothing remembered of the look before; the median of some calls. No page may cost more than `dashboard` says, however
many jobs there are. Each has bounds, and grows until they are met: of all jobs by a hundred thousand, of rare ones (two
in a hundred are dead) only by a million or so, which is why growth is told and has no mark. What an open page costs is
the processor time of a look by the time until the next one.
"""

from __future__ import annotations

import io
import random
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, urlencode
from wsgiref.util import setup_testing_defaults

import embedq
from benchmarks.places import Site
from benchmarks.report import Figure
from benchmarks.scale import Scale
from embedq import dashboard
from embedq.clock import SECOND
from embedq.dashboard.site import REFRESH_SECONDS
from embedq.job import JobState
from embedq.storage.base import Row
from embedq.storage.columns import JOBS
from embedq.storage.compacting import compact_counters
from embedq.storage.finishing import MINUTE

NAME = "dashboard"
NAMES = [f"shop.tasks{number % 7}:work_{number}" for number in range(60)]
QUEUES = ["default", "mail", "media", "reports", "sync", "search", "billing", "webhooks", "low", "urgent"]
WEEK = 7 * 86_400 * SECOND
BATCH = 5_000
# What one job has logged.
LINES = 2_000
# Of every thousand jobs, so many are in each state.
SHARES = {"succeeded": 930, "dead": 20, "cancelled": 10, "ready": 20, "scheduled": 12, "retrying": 5, "parked": 3}


def measure(scale: Scale, site: Site) -> Iterator[Figure]:
    taken: list[dict[str, list[float]]] = []
    open_: dict[str, list[float]] = {}
    for stored in scale.dashboards:
        # Not started: nothing runs while it is looked at.
        place = site.fresh()
        with closing(place.app("normal").connect()) as app:
            fill(app, stored)
            # As a server finds it once its own upkeep has come by.
            place.keep_up()
            browser = Browser(app)
            taken.append({name: browser.times(page, scale.dashboard_calls) for name, page in pages(app).items()})
            open_ = {name: browser.shares(page, scale.dashboard_calls) for name, page in open_pages().items()}
    *_, fewer, many = taken
    for name, values in many.items():
        yield Figure(
            measure=NAME,
            title=f"{name}, beside {scale.dashboards[-1]:,} jobs",
            unit="ms",
            values=values,
            limits=fewer[name],
            limit_title=f"the same beside {scale.dashboards[-2]:,}",
            mark=site.marks.get(NAME),
            series=[
                (stored, statistics.median(those[name])) for stored, those in zip(scale.dashboards, taken, strict=True)
            ],
        )
    worst = max(many, key=lambda name: statistics.median(many[name]) / statistics.median(fewer[name]))
    yield Figure(
        measure=NAME,
        title=f"the page that grew most: {worst}",
        unit="ms",
        values=many[worst],
        limits=fewer[worst],
        limit_title=f"the same beside {scale.dashboards[-2]:,}",
    )
    for name, values in open_.items():
        yield Figure(
            measure=NAME,
            title=f"{name} left open, beside {scale.dashboards[-1]:,}",
            unit="% of a core",
            values=values,
            mark=site.marks.get("dashboard open"),
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A page, and the form that is sent to it, if one is."""

    path: str
    form: dict[str, str] | None = None


class Browser:
    """Asks a dashboard for its pages."""

    def __init__(self, app: embedq.EmbedQ) -> None:
        self._dashboard = dashboard.wsgi(app, authorize=lambda request: True)
        page, headers = self.ask(Asked("/jobs"))
        self._cookie = headers["Set-Cookie"].partition(";")[0]
        token = re.search(r'name="csrf" value="(\w+)"', page)
        assert token, "the page has a form"
        self._token = token[1]

    def ask(self, asked: Asked, **more: str) -> tuple[str, dict[str, str]]:
        """A page, and the headers of the answer."""
        path, _, query = asked.path.partition("?")
        body = b"" if asked.form is None else urlencode({"csrf": self._token, **asked.form}).encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET" if asked.form is None else "POST", "PATH_INFO": unquote(path),
            "QUERY_STRING": query, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
            "CONTENT_TYPE": "application/x-www-form-urlencoded", "HTTP_COOKIE": getattr(self, "_cookie", ""), **more,
        }  # fmt: skip
        setup_testing_defaults(environ)
        answered: list[Any] = []
        self._dashboard.site.cache.clear()
        page = b"".join(self._dashboard(environ, lambda status, headers: answered.extend((status, dict(headers)))))
        assert answered[0].startswith("200"), (asked, answered[0], page[:500])
        return page.decode(), answered[1]

    def times(self, asked: Asked, calls: int) -> list[float]:
        """How long a page takes, in milliseconds; once it was asked for before it counts."""
        self.ask(asked)
        found = []
        for _ in range(calls):
            began = time.perf_counter()
            self.ask(asked)
            found.append(1000 * (time.perf_counter() - began))
        return found

    def shares(self, asked: Asked, calls: int) -> list[float]:
        """How much of a core an open page takes, in percent, if all others' looks were of no use to it."""
        found = []
        for _ in range(calls):
            began = time.thread_time()
            _, headers = self.ask(asked, HTTP_X_EMBEDQ_LIVE="1")
            took = time.thread_time() - began
            found.append(100 * took / max(REFRESH_SECONDS, float(headers["X-Embedq-Rest"])))
        return found


def pages(app: embedq.EmbedQ) -> dict[str, Asked]:
    """Every kind of page, by name."""
    monitor = app.monitor
    now = datetime.now(UTC)
    dead = monitor.search(state="dead").jobs[0]
    [talker] = app.jobs(state=JobState.DEAD, limit=1)
    group = quote(monitor.dead_letters().groups[0].fingerprint)
    second = monitor.search(state="succeeded").next
    ended = urlencode({"finished_from": now - timedelta(days=4), "finished_to": now - timedelta(days=3)})
    return {
        "overview": Asked("/"),
        "overview of a week": Asked("/?span=week"),
        "queues": Asked("/queues"),
        "limits": Asked("/limits"),
        "functions": Asked("/tasks?span=day"),
        "one function": Asked(f"/tasks/of/{NAMES[5]}"),
        "servers": Asked("/servers"),
        "recurring": Asked("/recurring"),
        "calendar of a month": Asked("/recurring/calendar?days=31"),
        "one recurring": Asked("/recurring/of/schedule%203"),
        "job": Asked(f"/jobs/{dead.id}"),
        "a job's log": Asked(f"/jobs/{talker.id}/logs"),
        "dead letters": Asked("/dead"),
        "jobs": Asked("/jobs"),
        "jobs, second page": Asked(f"/jobs?state=succeeded&cursor={second}"),
        **{f"{state} jobs": Asked(f"/jobs?state={state}") for state in (*SHARES, "awaiting", "running")},
        "dead jobs of a group": Asked(f"/jobs?state=dead&error_group={group}"),
        "text that is nowhere": Asked("/jobs?argument=nowhere+to+be+found"),
        "dead with a text that is nowhere": Asked("/jobs?state=dead&error=nowhere+to+be+found"),
        "jobs of a function": Asked(f"/jobs?name={NAMES[3]}"),
        "succeeded last Tuesday": Asked(f"/jobs?state=succeeded&{ended}"),
        "question about a search": Asked(
            "/act", {"verb": "retry", "scope": "all", "state": "dead", "error": "Timeout"}
        ),
        "audit log": Asked("/audit"),
    }


def open_pages() -> dict[str, Asked]:
    """Those of which it is told what they cost while they are left open."""
    return {
        "overview": Asked("/"),
        "calendar of a month": Asked("/recurring/calendar?days=31"),
        "dead with a text that is nowhere": Asked("/jobs?state=dead&error=nowhere+to+be+found"),
        "text that is nowhere": Asked("/jobs?argument=nowhere+to+be+found"),
    }


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
    [talker] = app.jobs(state=JobState.DEAD, limit=1)
    _write(app, "copy_logs", [(line, talker.id, now, 1, f"line {line} of what it did") for line in range(1, LINES + 1)])
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
        "attempt": int(ended), "claim": int(ended), "crashes": 0, "crashes_alone": 0, "trials": 0,
        "error": error,
        "needs": f"task shop:gone_{number % 4}" if state == "parked" else None,
    }  # fmt: skip
    failed = [(number, 1, 1, "failed", created + 50_000, created + 250_000, 1, error, f"Traceback …\n{error}")]
    return tuple(values.get(column) for column in JOBS), failed if state in ("dead", "retrying") else []

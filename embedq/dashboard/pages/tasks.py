"""Tasks: runs, failure rates, durations and waits of each function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from embedq.dashboard.charts import chart
from embedq.dashboard.pages.overview import span_of
from embedq.dashboard.visit import Visit
from embedq.flow.holds import HoldKind
from embedq.storage.inspect.durations import TaskType

# Functions on one page.
PAGE_SIZE = 200
_ORDERS: dict[str, Callable[[TaskType], Any]] = {
    "name": lambda task: task.name,
    "runs": lambda task: -task.totals.runs,
    "failures": lambda task: (-(task.failure_rate or 0.0), -task.totals.failures),
    "p95": lambda task: -(task.duration.p95 if task.duration else 0.0),
    "waiting": lambda task: -(task.waiting.p95 if task.waiting else 0.0),
    "time": lambda task: -task.totals.ran_seconds,
}


def show(visit: Visit) -> Response:
    """Show the functions that ran recently."""
    span = span_of(visit)
    order = visit.query.get("sort", "time")
    order = order if order in _ORDERS else "time"
    found = visit.cached(f"tasks {span}", lambda: visit.queue.monitor.task_types(span))
    tasks = sorted(found, key=_ORDERS[order])
    return visit.page(
        "tasks.html",
        tasks=tasks[:PAGE_SIZE],
        more=max(0, len(tasks) - PAGE_SIZE),
        span=span,
        order=order,
        holds=visit.holds(),
    )


def one(visit: Visit) -> Response:
    """Show one function."""
    name, span = visit.name, span_of(visit)
    monitor = visit.queue.monitor
    return visit.page(
        "task.html",
        task=monitor.task_type(name, span),
        chart=chart(monitor.history(span, name=name)),
        span=span,
        known=visit.queue.engine.registry.get(name) is not None,
        hold=next((hold for hold in visit.holds() if (hold.kind, hold.name) == (HoldKind.TASK, name)), None),
    )

"""Each function: how often it runs, how often it fails, how long it takes and waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from embedq.dashboard.charts import chart
from embedq.dashboard.pages.overview import span_of
from embedq.dashboard.visit import Visit
from embedq.storage.inspect.durations import TaskType

_ORDERS: dict[str, Callable[[TaskType], Any]] = {
    "name": lambda task: task.name,
    "runs": lambda task: -task.totals.runs,
    "failures": lambda task: (-(task.failure_rate or 0.0), -task.totals.failures),
    "p95": lambda task: -(task.duration.p95 if task.duration else 0.0),
    "waiting": lambda task: -(task.waiting.p95 if task.waiting else 0.0),
    "time": lambda task: -task.totals.ran_seconds,
}


def show(visit: Visit) -> Response:
    """All functions that ran lately."""
    span = span_of(visit)
    order = visit.query.get("sort", "time")
    order = order if order in _ORDERS else "time"
    found = visit.shared(f"tasks {span}", lambda: visit.queue.monitor.task_types(span))
    return visit.page("tasks.html", tasks=sorted(found, key=_ORDERS[order]), span=span, order=order)


def one(visit: Visit) -> Response:
    """One function."""
    name, span = str(visit.params["name"]), span_of(visit)
    monitor = visit.queue.monitor
    return visit.page(
        "task.html",
        task=monitor.task_type(name, span),
        chart=chart(monitor.history(span, name=name)),
        span=span,
        known=visit.queue.engine.registry.get(name) is not None,
    )

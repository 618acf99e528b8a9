"""Limits and rates, with what runs and waits under them."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit

# Limits on one page, and full keys of each.
PAGE_SIZE, SHOWN_KEYS = 200, 5


def show(visit: Visit) -> Response:
    """Show the limits by name; where there are many, those with most waiting and running jobs."""
    found = visit.limits()
    shown = sorted(found, key=lambda use: (-use.waiting.number, -use.running, use.name))[:PAGE_SIZE]
    registry = visit.queue.engine.registry
    return visit.page(
        "limits.html",
        limits=sorted(shown, key=lambda use: use.name),
        more=len(found) - len(shown),
        shown_keys=SHOWN_KEYS,
        tasks={use.name for use in shown if registry.get(use.name) is not None},
    )

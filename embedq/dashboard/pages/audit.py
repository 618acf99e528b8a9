"""Who did what, when, and to how many."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.filters import FIELDS, LARGEST_ID
from embedq.dashboard.visit import Visit
from embedq.storage.actions import Action


def show(visit: Visit) -> Response:
    """The audit log."""
    before = visit.query.get("before", "")
    page = visit.queue.actions.log(
        before=min(int(before), LARGEST_ID) if before.isascii() and before.isdigit() else None, limit=50
    )
    return visit.page("audit.html", page=page)


def one(visit: Visit) -> Response:
    """One action, and how far it is."""
    action = visit.queue.actions.get(min(int(visit.params["action_id"]), LARGEST_ID))
    return visit.page("action.html", action=action, found=_link(visit, action))


def _link(visit: Visit, action: Action) -> str | None:
    """To the jobs that match now what was asked for then."""
    if not action.search:
        return None
    # The same names, but for the states.
    search = {("state" if name == "states" else name): value for name, value in action.search.items()}
    return visit.url("jobs", **{name: value for name, value in search.items() if name in FIELDS and value})

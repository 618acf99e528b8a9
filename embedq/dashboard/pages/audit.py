"""The audit log: the user, the time, the action and the number of jobs."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.filters import FIELDS, LARGEST_ID, number
from embedq.dashboard.visit import Visit
from embedq.storage.actions import Action


def show(visit: Visit) -> Response:
    """Show the audit log."""
    before = visit.query.get("before", "")
    page = visit.queue.actions.log(before=number("the id of an action", before) if before else None, limit=50)
    return visit.page("audit.html", page=page)


def one(visit: Visit) -> Response:
    """Show one action and its progress."""
    action = visit.queue.actions.get(min(int(visit.params["action_id"]), LARGEST_ID))
    return visit.page("action.html", action=action, matching=_link(visit, action))


def _link(visit: Visit, action: Action) -> str | None:
    """Return a link to the jobs that match the action's search now."""
    if not action.search:
        return None
    # The names are the same except for the states.
    search = {("state" if name == "states" else name): value for name, value in action.search.items()}
    return visit.url("jobs", **{name: value for name, value in search.items() if name in FIELDS and value})

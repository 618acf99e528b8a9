"""Pausing and resuming: a queue, a task, everything, or one process. Each is in the audit log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from starlette.responses import Response

from embedq.dashboard.access import Permission
from embedq.dashboard.visit import BadRequest, Visit
from embedq.flow.holds import HoldKind
from embedq.storage.holds import Hold

VERBS = ("pause", "resume")
# How long the page offers to pause: the words, and seconds.
LENGTHS = {"until resumed": "", "15 minutes": "900", "1 hour": "3600", "8 hours": "28800", "1 day": "86400"}


def change(visit: Visit) -> Response:
    """Pause, after a page for the reason and the end, or resume."""
    verb, form = str(visit.params["verb"]), visit.form
    visit.require(Permission.PAUSE)
    if verb not in VERBS:
        raise BadRequest(f"unknown action {verb[:20]!r}; known: {', '.join(VERBS)}")
    kind, name = form.get("kind", ""), form.get("name", "")
    if kind not in list(HoldKind):
        raise BadRequest(f"unknown kind {kind[:20]!r}; known: {', '.join(HoldKind)}")
    next_ = visit.came_from("queues")
    if verb == "resume":
        resumed = end(visit, HoldKind(kind), name)
        return visit.back_to(next_, "Resumed" if resumed else "It was not paused any more", failed=not resumed)
    if form.get("confirmed") != "1":
        return visit.page("confirm_pause.html", kind=kind, name=name, next=next_, lengths=LENGTHS)
    length = form.get("length", "")
    if length not in LENGTHS.values():
        raise BadRequest(f"length {length[:20]!r} is not offered; known: {', '.join(LENGTHS.values())}")
    until = timedelta(seconds=int(length)) if length else None
    hold = begin(visit, HoldKind(kind), name, until=until, reason=form.get("reason", ""))
    return visit.back_to(next_, f"Paused: {hold.kind}" if kind in ("everything", "process") else f"Paused: {hold}")


def begin(visit: Visit, kind: HoldKind, name: str, *, until: datetime | timedelta | None, reason: str) -> Hold:
    """Pause as the user of this visit. ConfigurationError for what cannot be paused."""
    target: dict[str, Any] = {} if kind is HoldKind.EVERYTHING else {kind.value: name}
    hold = visit.queue.pause(**target, until=until, reason=reason.strip(), actor=visit.access.user or "unknown")
    visit.site.cache.clear()
    return hold


def end(visit: Visit, kind: HoldKind, name: str) -> bool:
    """Resume as the user of this visit; False if it was not paused. Also a process that is gone."""
    resumed = visit.queue.actions.end_hold(kind, name, actor=visit.access.user or "unknown")
    visit.site.cache.clear()
    return resumed


def apply(visit: Visit, verb: str, content: dict[str, Any]) -> dict[str, Any]:
    """Pause or resume what a JSON object names, and return the answer.

    Args:
        content: `{"queue": "mail", "seconds": 3600, "reason": "migration"}`, with `task` or `process` (its UUID) in
            place of `queue`, or none of them for everything; to resume, no more than that.
    """
    named = [kind for kind in HoldKind if kind.value in content]
    takes: dict[str, type] = {
        **dict.fromkeys(named, str),
        **({"seconds": int, "reason": str} if verb == "pause" else {}),
    }
    for given, value in content.items():
        if type(value) is not takes.get(given):
            raise BadRequest(
                f"{given[:20]!r} is invalid here; {verb} takes queue, task or process"
                + (", seconds (a whole number) and reason" if verb == "pause" else "")
            )
    if len(named) > 1 or HoldKind.EVERYTHING in named:
        raise BadRequest("name one of queue, task and process; none of them for everything")
    kind = named[0] if named else HoldKind.EVERYTHING
    name = content.get(kind.value, "")
    if verb == "resume":
        return {"resumed": end(visit, kind, name)}
    until = timedelta(seconds=min(content["seconds"], 10**12)) if "seconds" in content else None
    return {"hold": begin(visit, kind, name, until=until, reason=content.get("reason", ""))}

"""Changing limits, after a page that shows what the code gives. Each change is in the audit log."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from embedq.dashboard.access import Permission
from embedq.dashboard.visit import BadRequest, NotFound, Visit
from embedq.errors import ConfigurationError
from embedq.operations.limiting import Bound, Limiting
from embedq.storage.limit_use import LimitUse

VERBS = ("set", "reset")


def change(visit: Visit) -> Response:
    """Set a limit's values, after a page to enter them."""
    visit.require(Permission.LIMITS)
    form = visit.form
    name, next_ = form.get("name", ""), visit.came_from("limits")
    use = _find(visit, name)
    if form.get("confirmed") != "1":
        return _question(visit, use, next_)
    try:
        reset = form.get("reset") == "1"
        total, each = (None, None) if reset else (_number(form.get("total", "")), _number(form.get("each", "")))
        store(visit, name, total=total, each=each)
    except (BadRequest, ConfigurationError) as error:
        return _question(visit, use, next_, total=form.get("total", ""), each=form.get("each", ""), message=str(error))
    if total is None and each is None:
        return visit.back_to(next_, f"The code's values apply again: {name}")
    return visit.back_to(next_, f"Changed: {name}")


def store(visit: Visit, name: str, **bounds: Bound) -> None:
    """Change a limit as the user of this visit. ConfigurationError if there is no such limit."""
    Limiting(visit.queue.engine).change(name, **bounds, actor=visit.access.user or "unknown")
    visit.site.cache.clear()


def apply(visit: Visit, verb: str, content: dict[str, Any]) -> dict[str, Any]:
    """Change or reset the limit that a JSON object names, and return the answer.

    Args:
        content: `{"name": "openai", "total": 10, "each": null}`; null lets the code's value apply, and what is not
            given stays as it was set. To reset, only the name.
    """
    takes = ("name", "total", "each") if verb == "set" else ("name",)
    unknown = [name for name in content if name not in takes]
    if unknown:
        raise BadRequest(f"{unknown[0][:20]!r} is invalid here; {verb} takes {', '.join(takes)}")
    name = content.get("name")
    bounds = {which: value for which, value in content.items() if which != "name"}
    if not isinstance(name, str):
        raise BadRequest("name must be the name of a limit; GET /api/limits lists them")
    if verb == "set" and not bounds:
        raise BadRequest("give total, each, or both: whole numbers, or null for the code's value")
    _find(visit, name)
    store(visit, name, **({"total": None, "each": None} if verb == "reset" else bounds))
    return {"limit": _find(visit, name)}


def _find(visit: Visit, name: str) -> LimitUse:
    found = next((use for use in visit.queue.monitor.limits() if use.name == name), None)
    if found is None:
        raise NotFound(f"there is no limit {name[:200]!r}; the page of limits lists them")
    return found


def _question(
    visit: Visit, use: LimitUse, next_: str, *, total: str | None = None, each: str | None = None, message: str = ""
) -> Response:
    """Return the page to enter values on.

    Args:
        total, each: what was entered; None for what is set.
    """
    return visit.page(
        "confirm_limit.html",
        use=use,
        next=next_,
        total=_text(use.set_total) if total is None else total,
        each=_text(use.set_each) if each is None else each,
        message=message,
        status=400 if message else 200,
    )


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def _number(text: str) -> int | None:
    """Return a number of a form; None for an empty field. BadRequest for anything else."""
    if not text.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()):
        raise BadRequest(f"{text[:20]!r} must be a whole number, 0 or more; leave it empty for the code's value")
    return int(text)

"""What people do: to one job, to a selection, to all that match, and to recurring jobs. Everything goes on the record.

What touches many jobs, or cannot be undone, is asked about first, with the count. Then it runs in the background, and
the page of the action shows how far it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from embedq.dashboard import filters
from embedq.dashboard.access import Permission
from embedq.dashboard.filters import LARGEST_ID, Filters
from embedq.dashboard.pages.jobs import VERBS
from embedq.dashboard.visit import BadRequest, Visit
from embedq.errors import ConfigurationError, EmbedqError
from embedq.job import JobState
from embedq.storage.actions import Action, ActionState
from embedq.wording import counted

NEEDED = {
    "retry": Permission.RETRY,
    "run": Permission.RETRY,
    "cancel": Permission.CANCEL,
    "delete": Permission.DELETE,
    "move": Permission.EDIT,
}
DONE = {"retry": "Retried", "run": "Started", "cancel": "Cancelled", "delete": "Deleted", "move": "Moved"}
ASKED_ABOUT = ("delete", "move")
SCHEDULE_DONE = {"run": "Started", "pause": "Paused", "resume": "Resumed", "remove": "Removed"}


# -- jobs --------------------------------------------------------------------------------------------------------------


def act(visit: Visit) -> Response:
    """Do a verb to the jobs that a form names, or ask first."""
    form = visit.form
    verb = form.get("verb", "")
    if verb not in NEEDED:
        raise BadRequest(f"there is no action {verb[:20]!r}; there are: {', '.join(NEEDED)}")
    visit.require(NEEDED[verb])
    wanted = _wanted(visit, verb)
    next_ = visit.came_from("jobs")
    if not wanted:
        return visit.back_to(next_, "Nothing was selected", failed=True)
    ids = wanted.keywords.get("ids")
    one = ids is not None and len(list(ids)) == 1
    if form.get("confirmed") != "1" and (verb in ASKED_ABOUT or not one):
        return _ask(visit, verb, wanted, next_)
    try:
        action = perform(visit, verb, wanted, **_options(form))
    except (BadRequest, ConfigurationError) as error:
        if verb != "move":
            raise
        return _ask(visit, verb, wanted, next_, message=str(error))
    if form.get("scope") == "all" or action.state is ActionState.RUNNING:
        return visit.back_to(
            visit.url("audit", action.id),
            told(action) if action.state is not ActionState.RUNNING else "It goes on in the background",
        )
    # The page of a job that is no more leads nowhere.
    if verb == "delete" and one and next_.rpartition("/")[2].isdigit():
        next_ = visit.url("jobs")
    # Running ones go on until they notice.
    asked = visit.queue.monitor.count(ids=ids, state=JobState.RUNNING).number if verb == "cancel" and ids else 0
    return visit.back_to(next_, told(action, asked=min(asked, action.changed)), failed=not action.changed)


def _wanted(visit: Visit, verb: str) -> Filters:
    """The jobs that are meant: those that were ticked, or all that match the filter and can be acted upon."""
    found = filters.read(visit.form, visit)
    if visit.form.get("scope") != "all":
        return filters.read(_only(visit, "ids"), visit)
    pairs = filters.without(found.pairs, "ids")
    if not found.states:
        pairs += [("state", str(state)) for state in sorted(VERBS[verb])]
    return filters.read(type(visit.form)(pairs), visit)


def _only(visit: Visit, name: str) -> Any:
    return type(visit.form)([(name, value) for value in visit.form.getlist(name)])


def _ask(visit: Visit, verb: str, wanted: Filters, next_: str, *, message: str = "") -> Response:
    count = visit.queue.monitor.count(**wanted.keywords)
    page = visit.queue.monitor.search(limit=5, **wanted.keywords)
    return visit.page(
        "confirm.html",
        status=400 if message else 200,
        verb=verb,
        wanted=wanted,
        count=count,
        looks=visit.queue.monitor.looks(**wanted.keywords),
        form=visit.form,
        message=message,
        examples=page,
        next=next_,
        scope=visit.form.get("scope", ""),
    )


def perform(
    visit: Visit,
    verb: str,
    wanted: Filters,
    *,
    cancel_children: bool = False,
    to_queue: str | None = None,
    priority: int | None = None,
) -> Action:
    """Do it, on the record.

    Args:
        cancel_children: for "delete"; see `Actions.delete`.
        to_queue, priority: for "move"; see `Actions.move`.
    Raises:
        ConfigurationError: something is missing, or cannot be.
    """
    actions, keywords = visit.queue.actions, wanted.keywords
    actor = visit.access.user or "unknown"
    match verb:
        case "retry":
            action = actions.retry(actor=actor, **keywords)
        case "run":
            action = actions.run_now(actor=actor, **keywords)
        case "cancel":
            action = actions.cancel(actor=actor, **keywords)
        case "delete":
            action = actions.delete(actor=actor, cancel_children=cancel_children, **keywords)
        case _:
            action = actions.move(actor=actor, to_queue=to_queue, priority=priority, **keywords)
    visit.site.looks.forget()
    return action


def _options(form: Mapping[str, str]) -> dict[str, Any]:
    """What a form says besides. BadRequest if it makes no sense."""
    priority = form.get("priority", "").strip()
    if priority and not re.fullmatch(r"-?[0-9]{1,9}", priority):
        raise BadRequest(f"priority {priority[:20]!r} must be a whole number")
    return {
        "cancel_children": form.get("cancel_children") == "1",
        "to_queue": form.get("to_queue", "").strip() or None,
        "priority": int(priority) if priority else None,
    }


def told(action: Action, *, asked: int = 0) -> str:
    """What an action has done, in a sentence.

    Args:
        asked: how many of the jobs still run, and were asked to stop.
    """
    text = f"{DONE.get(action.verb, action.verb.capitalize())} {counted(action.changed - asked, 'job')}"
    if asked:
        stop = f"sked {counted(asked, 'job')} to stop"
        text = f"{text}, a{stop}" if action.changed > asked else f"A{stop}"
    if action.skipped:
        text += f"; {action.skipped:,} left as they were" + (f": {action.reason}" if action.reason else "")
    return text if action.error is None else f"{text}; then it failed: {action.error}"


def steer(visit: Visit) -> Response:
    """Stop a running action, or take up one that has stopped."""
    action_id = min(int(visit.params["action_id"]), LARGEST_ID)
    verb = visit.params["verb"]
    action = visit.queue.actions.get(action_id)
    if verb not in ("stop", "resume"):
        raise BadRequest(f"there is no action {verb[:20]!r}; there are: stop, resume")
    visit.require(NEEDED.get(action.verb, Permission.RETRY))
    if verb == "stop":
        visit.queue.actions.stop(action_id)
    else:
        visit.queue.actions.resume(action_id)
    return visit.back_to(visit.url("audit", action_id), "It will stop" if verb == "stop" else "It goes on")


# -- recurring jobs ----------------------------------------------------------------------------------------------------


def schedule(visit: Visit) -> Response:
    """Run, pause, resume or remove a recurring job."""
    verb, name = str(visit.params["verb"]), visit.form.get("name", "")
    visit.require(Permission.SCHEDULES)
    if verb not in SCHEDULE_DONE:
        raise BadRequest(f"there is no action {verb[:20]!r}; there are: {', '.join(SCHEDULE_DONE)}")
    next_ = visit.came_from("recurring")
    if verb == "remove" and visit.form.get("confirmed") != "1":
        return visit.page("confirm_remove.html", name=name, next=next_)
    job_id = on_schedule(visit, verb, name)
    if verb == "remove":
        next_ = visit.url("recurring")
    return visit.back_to(next_, f"{SCHEDULE_DONE[verb]} {name}" + (f": job {job_id}" if job_id is not None else ""))


def on_schedule(visit: Visit, verb: str, name: str) -> int | None:
    """Do it, on the record; the id of the job that was made. ScheduleNotFoundError if there is none of that name."""
    queue, job_id = visit.queue, None
    try:
        match verb:
            case "run":
                job_id = queue.trigger_recurring(name).id
            case "pause":
                queue.pause_recurring(name)
            case "resume":
                queue.resume_recurring(name)
            case "remove":
                queue.remove_recurring(name)
    except EmbedqError as error:
        _record(visit, verb, name, error=str(error))
        raise
    _record(visit, verb, name, job=job_id)
    visit.site.looks.forget()
    return job_id


def _record(visit: Visit, verb: str, name: str, *, job: int | None = None, error: str | None = None) -> None:
    details = {} if job is None else {"job": job}
    visit.queue.actions.record(
        actor=visit.access.user or "unknown", verb=f"{verb} schedule", subject=name, error=error, **details
    )

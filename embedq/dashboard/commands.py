"""Commands: changes to one job, a selection, all matching jobs, and recurring jobs. Each is in the audit log.

A command on many jobs, or one that cannot be undone, requires confirmation, which shows the count. It then runs in the
background, and the page of the action shows its progress.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from embedq.dashboard import filters
from embedq.dashboard.access import Permission
from embedq.dashboard.filters import LARGEST_ID, QueryFilters
from embedq.dashboard.verbs import JOB_VERBS, SCHEDULE_VERBS
from embedq.dashboard.visit import BadRequest, Visit
from embedq.display.units import counted
from embedq.errors import ConfigurationError, EmbedqError
from embedq.job import JobState
from embedq.storage.actions import Action, ActionState

# -- jobs --------------------------------------------------------------------------------------------------------------


def act(visit: Visit) -> Response:
    """Apply a verb to the jobs that a form selects, or return a confirmation page."""
    form = visit.form
    verb = form.get("verb", "")
    if verb not in JOB_VERBS:
        raise BadRequest(f"unknown action {verb[:20]!r}; known: {', '.join(JOB_VERBS)}")
    visit.require(JOB_VERBS[verb].permission)
    selection = _selection(visit, verb)
    next_ = visit.came_from("jobs")
    if not selection:
        return visit.back_to(next_, "No jobs selected", failed=True)
    ids = selection.keywords.get("ids")
    one = ids is not None and len(list(ids)) == 1
    if form.get("confirmed") != "1" and (JOB_VERBS[verb].always_confirmed or not one):
        return _confirmation(visit, verb, selection, next_)
    try:
        action = perform(visit, verb, selection, **_options(form))
    except (BadRequest, ConfigurationError) as error:
        if verb != "move":
            raise
        return _confirmation(visit, verb, selection, next_, message=str(error))
    if form.get("scope") == "all" or action.state is ActionState.RUNNING:
        return visit.back_to(
            visit.url("audit", action.id),
            summary(action) if action.state is not ActionState.RUNNING else "The action runs in the background",
        )
    # The page of a deleted job no longer exists.
    if verb == "delete" and one and next_.rpartition("/")[2].isdigit():
        next_ = visit.url("jobs")
    # Running jobs continue until they notice the request.
    stopping = visit.queue.monitor.count(ids=ids, state=JobState.RUNNING).number if verb == "cancel" and ids else 0
    return visit.back_to(next_, summary(action, stopping=min(stopping, action.changed)), failed=not action.changed)


def _selection(visit: Visit, verb: str) -> QueryFilters:
    """Return the ticked jobs, or all jobs that match the filter and allow the verb."""
    found = filters.read(visit.form, visit)
    if visit.form.get("scope") != "all":
        return filters.read(_only(visit, "ids"), visit)
    pairs = filters.without(found.pairs, "ids")
    if not found.states:
        pairs += [("state", str(state)) for state in sorted(JOB_VERBS[verb].states)]
    return filters.read(type(visit.form)(pairs), visit)


def _only(visit: Visit, name: str) -> Any:
    return type(visit.form)([(name, value) for value in visit.form.getlist(name)])


def _confirmation(visit: Visit, verb: str, selection: QueryFilters, next_: str, *, message: str = "") -> Response:
    count = visit.queue.monitor.count(**selection.keywords)
    page = visit.queue.monitor.search(limit=5, **selection.keywords)
    return visit.page(
        "confirm.html",
        status=400 if message else 200,
        verb=verb,
        selection=selection,
        count=count,
        scan_limit=visit.queue.monitor.scan_limit(**selection.keywords),
        form=visit.form,
        message=message,
        examples=page,
        next=next_,
        scope=visit.form.get("scope", ""),
    )


def perform(
    visit: Visit,
    verb: str,
    selection: QueryFilters,
    *,
    cancel_children: bool = False,
    to_queue: str | None = None,
    priority: int | None = None,
) -> Action:
    """Apply a verb and record it.

    Args:
        cancel_children: for "delete"; see `Actions.delete`.
        to_queue, priority: for "move"; see `Actions.move`.
    Raises:
        ConfigurationError: an option is missing or invalid.
        Denied: deleting also cancels children, and the user may not cancel.
    """
    if verb == "delete" and cancel_children:
        visit.require(Permission.CANCEL)
    actions, keywords = visit.queue.actions, selection.keywords
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
    visit.site.cache.clear()
    return action


def _options(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the options in a form. BadRequest if one is invalid."""
    priority = form.get("priority", "").strip()
    if priority and not re.fullmatch(r"-?[0-9]{1,9}", priority):
        raise BadRequest(f"priority {priority[:20]!r} must be a whole number")
    return {
        "cancel_children": form.get("cancel_children") == "1",
        "to_queue": form.get("to_queue", "").strip() or None,
        "priority": int(priority) if priority else None,
    }


def summary(action: Action, *, stopping: int = 0) -> str:
    """Describe the result of an action in a sentence.

    Args:
        stopping: how many of the jobs are still running and were requested to stop.
    """
    done = JOB_VERBS[action.verb].done if action.verb in JOB_VERBS else action.verb.capitalize()
    text = f"{done} {counted(action.changed - stopping, 'job')}"
    if stopping:
        stop = f"equested {counted(stopping, 'job')} to stop"
        text = f"{text}, r{stop}" if action.changed > stopping else f"R{stop}"
    if action.skipped:
        text += f"; {action.skipped:,} skipped" + (f": {action.reason}" if action.reason else "")
    return text if action.error is None else f"{text}; then it failed: {action.error}"


def steer(visit: Visit) -> Response:
    """Stop a running action, or resume a stopped one."""
    action_id = min(int(visit.params["action_id"]), LARGEST_ID)
    verb = visit.params["verb"]
    action = visit.queue.actions.get(action_id)
    if verb not in ("stop", "resume"):
        raise BadRequest(f"unknown action {verb[:20]!r}; known: stop, resume")
    visit.require(JOB_VERBS[action.verb].permission if action.verb in JOB_VERBS else Permission.RETRY)
    if verb == "resume" and action.details.get("cancel_children"):
        visit.require(Permission.CANCEL)
    apply = visit.queue.actions.stop if verb == "stop" else visit.queue.actions.resume
    subject = f"action {action_id}: {action.verb}"
    actor = visit.access.user or "unknown"
    try:
        apply(action_id)
    except EmbedqError as error:
        visit.queue.actions.record(actor=actor, verb=f"{verb} action", subject=subject, error=str(error))
        raise
    visit.queue.actions.record(actor=actor, verb=f"{verb} action", subject=subject, action=action_id)
    return visit.back_to(
        visit.url("audit", action_id), "The action will stop" if verb == "stop" else "The action was resumed"
    )


# -- recurring jobs ----------------------------------------------------------------------------------------------------


def schedule(visit: Visit) -> Response:
    """Run, pause, resume or remove a recurring job."""
    verb, name = str(visit.params["verb"]), visit.form.get("name", "")
    visit.require(Permission.SCHEDULES)
    if verb not in SCHEDULE_VERBS:
        raise BadRequest(f"unknown action {verb[:20]!r}; known: {', '.join(SCHEDULE_VERBS)}")
    next_ = visit.came_from("recurring")
    if verb == "remove" and visit.form.get("confirmed") != "1":
        return visit.page("confirm_remove.html", name=name, next=next_)
    job_id = on_schedule(visit, verb, name)
    if verb == "remove":
        next_ = visit.url("recurring")
    return visit.back_to(next_, f"{SCHEDULE_VERBS[verb]} {name}" + (f": job {job_id}" if job_id is not None else ""))


def on_schedule(visit: Visit, verb: str, name: str) -> int | None:
    """Apply a verb and record it; return the id of the created job. ScheduleNotFoundError if the name is unknown."""
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
    visit.site.cache.clear()
    return job_id


def _record(visit: Visit, verb: str, name: str, *, job: int | None = None, error: str | None = None) -> None:
    details = {} if job is None else {"job": job}
    visit.queue.actions.record(
        actor=visit.access.user or "unknown", verb=f"{verb} schedule", subject=name, error=error, **details
    )

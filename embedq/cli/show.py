"""`embedq show`: all details of one job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from embedq.app import EmbedQ
from embedq.cli.invocation import (
    Invocation,
    bold,
    counted,
    dim,
    hint,
    now_of,
    pass_invocation,
    say,
    shared_options,
    width,
)
from embedq.cli.states import bar, coloured, document
from embedq.cli.text import absolute, both, clip, duration, safe, safe_lines
from embedq.clock import to_datetime
from embedq.config import FOR_EVER
from embedq.display.calls import readable_call, readable_value
from embedq.display.json_values import as_json
from embedq.job import Attempt, Ending, Job, JobState, LogLine
from embedq.storage.holds import Hold

# The limit of the text output; --json contains everything.
LONGEST_TEXT = 4000
SHOWN_CHILDREN = 20
LABEL = 12
MIN_DELAY = timedelta(seconds=1)


@click.command()
@click.argument("job_id", metavar="ID", type=click.IntRange(min=1))
@shared_options
@pass_invocation
def show(invocation: Invocation, job_id: int) -> None:
    """Show all details of one job."""
    app = invocation.open()
    handle = app.job(job_id)
    job, meta, attempts, logs = handle.snapshot(), handle.meta, handle.attempts(), handle.logs()
    children = app.jobs(parent=job_id, limit=SHOWN_CHILDREN + 1)
    if invocation.json:
        invocation.emit(
            {
                **document(job),
                "why_waiting": app.why_waiting(job_id),
                "meta": meta,
                "attempts": as_json(attempts),
                "logs": as_json(logs),
                "children": [
                    {"id": child.id, "state": child.state, "name": child.name, "trigger": child.trigger}
                    for child in reversed(app.jobs(parent=job_id, limit=10_000))
                ],
            }
        )
        return
    _head(job)
    _facts(job, app)
    _meta(meta)
    _source(job)
    _attempts(attempts)
    _logs(logs)
    _children(children)
    if job.state in (JobState.DEAD, JobState.CANCELLED):
        hint(f"\nrun it again: embedq retry {job.id}")


def _head(job: Job) -> None:
    say(f"{bold(f'Job {job.id}')}  {coloured(job.state)}")
    say(readable_call(job.name, job.arguments, limit=LONGEST_TEXT))
    say()


def _facts(job: Job, app: EmbedQ) -> None:
    for label, text in _known(job, now_of(app), app.monitor.hold_on(job), app.monitor.why_waiting(job.id)):
        first, *rest = text.split("\n")
        say(f"  {dim(label.ljust(LABEL))}{first}")
        for line in rest:
            say(" " * (LABEL + 2) + line)


def _known(job: Job, now: datetime, hold: Hold | None, reasons: list[str]) -> Iterator[tuple[str, str]]:
    """Yield labels and texts, in chronological order."""
    if job.damaged:
        yield "damaged", f"{', '.join(job.damaged)}: the stored values cannot be shown"
    yield "queue", safe(job.queue) + (f", priority {job.priority}" if job.priority else "")
    if job.executor == "async":
        yield "runs", "on the event loop (async def)"
    if job.executor == "process":
        yield "runs", "in a process"
    if job.tags:
        yield "tags", safe(", ".join(job.tags))
    if job.idempotency_key is not None:
        yield "key", safe(job.idempotency_key)
    if job.schedule is not None:
        yield "recurring", safe(job.schedule)
    if job.parent_id is not None:
        yield "parent", f"job {job.parent_id}, on {job.trigger}"
    yield "enqueued", both(job.created_at, now)
    if abs(job.run_at - job.created_at) >= MIN_DELAY:
        yield "due", both(job.run_at, now)
    if job.expires_at is not None:
        yield "expires", both(job.expires_at, now)
    if job.started_at is not None:
        yield "started", both(job.started_at, now)
    if job.finished_at is not None:
        took = ""
        if job.started_at is not None and job.state is not JobState.CANCELLED:
            took = f", took {duration((job.finished_at - job.started_at).total_seconds())}"
        yield "ended", both(job.finished_at, now) + took
    if job.delete_at is not None:
        yield "kept until", "forever" if job.delete_at >= to_datetime(FOR_EVER) else both(job.delete_at, now)
    if job.attempt or job.crashes:
        crashes = f", and {counted(job.crashes, 'crash')}" if job.crashes else ""
        yield "attempts", f"{job.attempt}{crashes}"
    if job.server is not None:
        yield "runs in", f"server {job.server}"
    if job.cancel_requested and job.state is not JobState.CANCELLED:
        yield "stopping", "it was requested to stop"
    if job.overdue:
        yield "overdue", "it has passed its timeout and does not stop"
    if job.progress is not None:
        note = f"  {safe(job.progress_note)}" if job.progress_note else ""
        yield "progress", f"{bar(job.progress, 20)} {job.progress:.0%}{note}"
    if hold is not None and not reasons:
        end = "" if hold.until is None else f" until {both(hold.until, now)}"
        reason = f": {safe(hold.reason)}" if hold.reason else ""
        yield "paused", f"{safe(str(hold))}, by {safe(hold.actor)}{end}{reason}"
    if reasons:
        yield "waits", "\n".join(map(safe, reasons))
    if job.result is not None:
        yield "result", readable_value(job.result, limit=LONGEST_TEXT)
    if job.error is not None:
        # A succeeded job has an error if its result could not be stored.
        label = {JobState.PARKED: "needs", JobState.CANCELLED: "reason", JobState.SUCCEEDED: "note"}.get(
            job.state, "error"
        )
        yield label, "\n".join(safe_lines(clip(job.error, LONGEST_TEXT)))


def _title(text: str) -> None:
    say()
    say(bold(text))


def _meta(meta: Mapping[str, Any]) -> None:
    if meta:
        _title("Meta")
        for name, value in meta.items():
            say(f"  {safe(name)} = {readable_value(json.dumps(value), limit=LONGEST_TEXT)}")


def _source(job: Job) -> None:
    if job.source is not None:
        _title("Source")
        for line in safe_lines(job.source[:LONGEST_TEXT]):
            say(f"  {line}")


def _attempts(attempts: Sequence[Attempt]) -> None:
    if not attempts:
        return
    _title("Attempts")
    seen: dict[str, int] = {}
    for attempt in attempts:
        took = duration((attempt.finished_at - attempt.started_at).total_seconds())
        where = "" if attempt.server is None else f"  server {attempt.server}"
        style = "green" if attempt.ending is Ending.SUCCEEDED else "red"
        ending = click.style(attempt.ending.value, fg=style)
        say(f"  {attempt.number}  {ending}  {absolute(attempt.started_at)}, after {took}{where}")
        if attempt.traceback is None:
            if attempt.error is not None:
                say(f"     {clip(safe(attempt.error), LONGEST_TEXT)}")
        elif attempt.traceback in seen:
            error = clip(safe(attempt.error or ""), LONGEST_TEXT)
            say(f"     {error}  {dim(f'same traceback as attempt {seen[attempt.traceback]}')}")
        else:
            seen[attempt.traceback] = attempt.number
            for line in safe_lines(attempt.traceback.rstrip("\n")):
                say(f"     {line}")


def _logs(logs: Sequence[LogLine]) -> None:
    if not logs:
        return
    _title("Log")
    for line in logs:
        first, *rest = safe_lines(line.message)
        say(f"  {dim(f'{absolute(line.at)}  attempt {line.attempt}')}  {first}")
        for more in rest:
            say(f"    {more}")


def _children(children: Sequence[Job]) -> None:
    if not children:
        return
    _title("Children")
    for child in reversed(children[:SHOWN_CHILDREN]):
        call = readable_call(child.name, child.arguments, limit=200)
        say(f"  {child.id}  {coloured(child.state)}  {dim(f'on {child.trigger}')}  {clip(call, max(20, width() - 36))}")
    if len(children) > SHOWN_CHILDREN:
        hint(f"  and more: embedq jobs --parent {children[0].parent_id}")

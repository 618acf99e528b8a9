"""A job in a few words: its state in colour, and the time that matters in that state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from embedq.cli.text import relative, safe, span
from embedq.display.calls import parsed, readable_call
from embedq.job import Job, JobState

CALL_IN_JSON = 1000
BAR = 10

_COLOURS: dict[JobState, dict[str, Any]] = {
    JobState.RUNNING: {"fg": "cyan"},
    JobState.RETRYING: {"fg": "yellow"},
    JobState.SUCCEEDED: {"fg": "green"},
    JobState.DEAD: {"fg": "red"},
    JobState.PARKED: {"fg": "magenta"},
    JobState.CANCELLED: {"dim": True},
}


def coloured(state: JobState) -> str:
    """Return the name of a state in its colour."""
    return click.style(state.value, **_COLOURS.get(state, {}))


def when(job: Job, now: datetime) -> str:
    """Return the time that matters in the state of a job: since when, until when, or how long."""
    match job.state:
        case JobState.AWAITING:
            return f"after {job.parent_id}"
        case JobState.SCHEDULED | JobState.RETRYING:
            return relative(job.run_at, now) if job.run_at > now else "due"
        case JobState.RUNNING if job.started_at is not None:
            share = "" if job.progress is None else f", {job.progress:.0%}"
            return f"for {span((now - job.started_at).total_seconds())}{share}"
        case JobState.READY:
            return f"due {relative(job.run_at, now)}"
        case _:
            return relative(job.finished_at or job.run_at, now)


def remark(job: Job) -> str | None:
    """Return a remark for a list: the last error, or a requested stop; safe to print."""
    if job.overdue:
        return "past its timeout; does not stop"
    if job.state is JobState.RUNNING:
        return "requested to stop" if job.cancel_requested else safe(job.progress_note) if job.progress_note else None
    if job.error is None or job.state is JobState.READY:
        return None
    failed = job.state in (JobState.RETRYING, JobState.DEAD) and job.attempt
    return safe(f"attempt {job.attempt}: {job.error}" if failed else job.error)


def bar(fraction: float, length: int = BAR) -> str:
    """Return a progress bar."""
    full = round(max(0.0, min(1.0, fraction)) * length)
    return "█" * full + "░" * (length - full)


def document(job: Job) -> dict[str, Any]:
    """Return a job for JSON: all stored values, and the readable call."""
    return {
        **job.as_dict(),
        "call": readable_call(job.name, job.arguments, limit=CALL_IN_JSON),
        "arguments": parsed(job.arguments),
        "result": parsed(job.result),
    }

"""A job in a few words: its state in colour, and what is to be said about time in that state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from embedq.cli.text import relative, safe, span
from embedq.job import Job, JobState
from embedq.readable import parsed, readable_call

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
    """The state's name in its colour."""
    return click.style(state.value, **_COLOURS.get(state, {}))


def when(job: Job, now: datetime) -> str:
    """What time means for a job in its state: since when, until when, how long."""
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
    """What a reader of a list should know besides: the last error, a stop that was asked for; safe to print."""
    if job.overdue:
        return "past its timeout, and does not yield"
    if job.state is JobState.RUNNING:
        return "asked to stop" if job.cancel_requested else safe(job.progress_note) if job.progress_note else None
    if job.error is None or job.state is JobState.READY:
        return None
    failed = job.state in (JobState.RETRYING, JobState.DEAD) and job.attempt
    return safe(f"attempt {job.attempt}: {job.error}" if failed else job.error)


def bar(fraction: float, length: int = BAR) -> str:
    """A bar of blocks."""
    full = round(max(0.0, min(1.0, fraction)) * length)
    return "█" * full + "░" * (length - full)


def document(job: Job) -> dict[str, Any]:
    """A job for JSON: everything stored, and the call as people read it."""
    return {
        **job.as_dict(),
        "call": readable_call(job.name, job.arguments, limit=CALL_IN_JSON),
        "arguments": parsed(job.arguments),
        "result": parsed(job.result),
    }

"""`embedq jobs`, `retry` and `cancel`: list jobs, and act on many of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.invocation import (
    CommandError,
    ExitCode,
    Invocation,
    counted,
    dim,
    hint,
    now_of,
    pass_invocation,
    room_left,
    say,
    shared_options,
    table,
)
from embedq.cli.states import coloured, document, remark, when
from embedq.cli.text import clip, safe
from embedq.display.calls import readable_call
from embedq.engine.stored_jobs import UNENDED
from embedq.errors import EmbedqError, JobError, JobNotFoundError
from embedq.job import ENDED, Job, JobId, JobState

C = TypeVar("C", bound=Callable[..., Any])

WIDEST_QUEUE = 16
# The count in the question stops here.
COUNT_LIMIT = 1_000_000

RETRYABLE = (JobState.DEAD, JobState.CANCELLED, JobState.RETRYING, JobState.SCHEDULED, JobState.PARKED)
CANCELLABLE = UNENDED


def filters(states: Sequence[JobState], state_help: str) -> Callable[[C], C]:
    """Add the options that filter jobs."""
    names = [state.value for state in states]

    def add(command: C) -> C:
        for option in (
            click.option("--error", metavar="TEXT", help="Only jobs whose last error contains this text."),
            click.option("--schedule", metavar="NAME", help="Only jobs of this recurring job."),
            click.option("--tag", metavar="TAG", help="Only jobs with this tag."),
            click.option("--name", metavar="NAME", help="Only jobs of this function, by its full registered name."),
            click.option("--queue", metavar="QUEUE", help="Only jobs in this queue."),
            click.option(
                "--state", metavar="STATE", type=click.Choice(names), help=f"{state_help} One of: {', '.join(names)}."
            ),
        ):
            command = option(command)
        return command

    return add


@click.command("jobs")
@filters(list(JobState), "Only jobs in this state.")
@click.option("--parent", metavar="ID", type=int, help="Only children of this job.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="The maximum number."
)
@click.option("--before", metavar="ID", type=int, help="Only jobs older than this one: the next page.")
@shared_options
@pass_invocation
def list_jobs(invocation: Invocation, /, limit: int, before: int | None, **found_by: Any) -> None:
    """List jobs, newest first."""
    app = invocation.open()
    page = app.jobs(**found_by, before=before, limit=limit + 1)
    shown, more = page[:limit], len(page) > limit
    if invocation.json:
        invocation.emit({"jobs": [document(job) for job in shown], "next_before": shown[-1].id if more else None})
        return
    if not shown:
        say("no jobs match" if any(found_by.values()) or before else "no jobs yet")
        return
    say(_table(shown, app))
    if more:
        hint(f"older jobs: add --before {shown[-1].id}")


def _table(jobs: Sequence[Job], app: EmbedQ) -> str:
    now = now_of(app)
    headers = ["ID", "STATE", "QUEUE", "WHEN", "CALL"]
    rows = [[str(job.id), coloured(job.state), clip(safe(job.queue), WIDEST_QUEUE), when(job, now)] for job in jobs]
    room = room_left(headers, rows)
    for cells, job in zip(rows, jobs, strict=True):
        note = remark(job)
        call = clip(readable_call(job.name, job.arguments, limit=room * 2), room)
        cells.append(call if note is None else f"{call}\n{dim(clip(note, room))}")
    return table(headers, rows, right=[0])


# -- acting on many jobs -----------------------------------------------------------------------------------------------


def targets(verb: str) -> Callable[[C], C]:
    """Add the arguments that select jobs: ids, or `--all` and filters."""

    def add(command: C) -> C:
        command = click.option("--yes", "-y", is_flag=True, help="Skip the confirmation.")(command)
        command = click.option("--all", "every", is_flag=True, help=f"{verb} every job that matches the filters.")(
            command
        )
        return click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))(command)

    return add


@click.command()
@targets("Retry")
@filters(RETRYABLE, "With --all, jobs in this state. [default: dead]")
@shared_options
@pass_invocation
def retry(invocation: Invocation, /, ids: tuple[int, ...], every: bool, yes: bool, **found_by: Any) -> None:
    """Run dead or cancelled jobs again, and delayed jobs now.

    The count of attempts restarts; the history is kept.

    \b
      embedq retry 42 43
      embedq retry --all --name shop.mail:send --error "Connection refused"
    """
    _require_targets(ids, every, found_by)
    app = invocation.open()
    if not every:
        _each(invocation, ids, lambda job_id: app.job(job_id).retry(), done="retried")
        return
    found_by["state"] = found_by["state"] or JobState.DEAD.value
    _all(invocation, app, app.retry_all, [found_by["state"]], found_by, verb="retry", done="retried", yes=yes)


@click.command()
@targets("Cancel")
@filters(CANCELLABLE, "With --all, jobs in this state. [default: all that have not ended]")
@shared_options
@pass_invocation
def cancel(invocation: Invocation, /, ids: tuple[int, ...], every: bool, yes: bool, **found_by: Any) -> None:
    """Cancel waiting jobs, and request running jobs to stop.

    \b
      embedq cancel 42
      embedq cancel --all --queue mail
    """
    _require_targets(ids, every, found_by)
    app = invocation.open()
    if not every:
        _each(invocation, ids, lambda job_id: _cancel(app, job_id), done="cancelled")
        return
    states = [found_by["state"]] if found_by["state"] else [state.value for state in CANCELLABLE]
    _all(invocation, app, app.cancel_all, states, found_by, verb="cancel", done="cancelled", yes=yes)


def _cancel(app: EmbedQ, job_id: JobId) -> str | None:
    handle = app.job(job_id)
    before = handle.state
    if before in ENDED and before is not JobState.CANCELLED:
        raise JobError(f"job {job_id} cannot be cancelled: it has ended ({before.value})")
    return "requested to stop; it is running" if handle.cancel() is JobState.RUNNING else None


def _require_targets(ids: Sequence[int], every: bool, found_by: dict[str, Any]) -> None:
    if ids and (every or any(found_by.values())):
        raise click.UsageError("give ids of jobs, or --all and filters, not both")
    if not ids and not every:
        raise click.UsageError("select jobs: by ids, or by --all with filters such as --queue or --name")


def _each(invocation: Invocation, ids: Sequence[int], act: Callable[[JobId], str | None], *, done: str) -> None:
    """Apply an action to each of these jobs; an error of one does not affect the others."""
    failed: list[tuple[int, EmbedqError]] = []
    for job_id in dict.fromkeys(ids):
        try:
            result = act(JobId(job_id))
        except JobError as error:
            failed.append((job_id, error))
            say(f"{error}", err=True)
        else:
            if not invocation.json:
                say(f"job {job_id}: {result or done}")
    matched = len(dict.fromkeys(ids))
    if invocation.json:
        _report(invocation, matched, done, matched - len(failed), failed)
    if len(failed) == matched and all(isinstance(error, JobNotFoundError) for _, error in failed):
        sys.exit(ExitCode.NOT_FOUND)
    if failed:
        sys.exit(ExitCode.FAILED)


def _all(
    invocation: Invocation,
    app: EmbedQ,
    act: Callable[..., int],
    states: Sequence[str],
    found_by: dict[str, Any],
    *,
    verb: str,
    done: str,
    yes: bool,
) -> None:
    """Apply an action to all matching jobs, after confirmation."""
    others = {key: value for key, value in found_by.items() if key != "state"}
    matched = sum(app.count_jobs(state=state, cap=COUNT_LIMIT, **others) for state in states)
    if matched and not yes:
        _confirm(f"{verb.capitalize()} {counted(matched, 'job', cap=COUNT_LIMIT)}?")
    number = 0
    if matched:
        with invocation.progress(matched) as advance:
            number = act(**found_by, progress=advance)
    if invocation.json:
        _report(invocation, matched, done, number, [])
    elif not matched:
        say("no jobs match")
    else:
        say(f"{done} {counted(number, 'job')}")
        if number < matched < COUNT_LIMIT:
            hint(f"{matched - number:,} changed state in the meantime")


def _report(
    invocation: Invocation, matched: int, done: str, number: int, failed: Sequence[tuple[int, EmbedqError]]
) -> None:
    invocation.emit(
        {
            "matched": matched,
            done: number,
            "failed": [
                {"id": job_id, "error": type(error).__name__, "message": str(error)} for job_id, error in failed
            ],
        }
    )


def _confirm(question: str) -> None:
    # Not click.confirm, which writes a space to stdout even with err=True.
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:
        raise CommandError("stdin is closed, so there is no answer; --yes skips the question", ExitCode.USAGE)
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("cancelled: nothing was changed")

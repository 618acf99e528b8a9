"""`embedq jobs`, `retry` and `cancel`: finding jobs, and doing something about many of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.session import (
    CommandError,
    ExitCode,
    Session,
    counted,
    dim,
    hint,
    now_of,
    pass_session,
    room_left,
    say,
    shared_options,
    table,
)
from embedq.cli.states import coloured, document, remark, when
from embedq.cli.text import clip, safe
from embedq.control import CANCEL_ORDER
from embedq.errors import EmbedqError, JobError, JobNotFoundError
from embedq.job import ENDED, Job, JobId, JobState
from embedq.readable import readable_call

C = TypeVar("C", bound=Callable[..., Any])

WIDEST_QUEUE = 16
# Counting before asking stops here; nobody asks for the exact number of millions.
COUNTED_AT_MOST = 1_000_000

RETRYABLE = (JobState.DEAD, JobState.CANCELLED, JobState.RETRYING, JobState.SCHEDULED, JobState.PARKED)
CANCELLABLE = CANCEL_ORDER


def filters(states: Sequence[JobState], state_help: str) -> Callable[[C], C]:
    """Add the options by which jobs are found."""
    names = [state.value for state in states]

    def add(command: C) -> C:
        for option in (
            click.option("--error", metavar="TEXT", help="Only with this text in their last error."),
            click.option("--schedule", metavar="NAME", help="Only those that this recurring job made."),
            click.option("--tag", metavar="TAG", help="Only with this tag."),
            click.option("--name", metavar="NAME", help="Only of this function, by its full registered name."),
            click.option("--queue", metavar="QUEUE", help="Only in this queue."),
            click.option(
                "--state", metavar="STATE", type=click.Choice(names), help=f"{state_help} One of: {', '.join(names)}."
            ),
        ):
            command = option(command)
        return command

    return add


@click.command("jobs")
@filters(list(JobState), "Only in this state.")
@click.option("--parent", metavar="ID", type=int, help="Only those that continue this job.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="How many at most."
)
@click.option("--before", metavar="ID", type=int, help="Only older than this job: the next page.")
@shared_options
@pass_session
def list_jobs(session: Session, /, limit: int, before: int | None, **found_by: Any) -> None:
    """List jobs, newest first."""
    app = session.open()
    page = app.jobs(**found_by, before=before, limit=limit + 1)
    shown, more = page[:limit], len(page) > limit
    if session.json:
        session.emit({"jobs": [document(job) for job in shown], "next_before": shown[-1].id if more else None})
        return
    if not shown:
        say("no jobs match" if any(found_by.values()) or before else "no jobs yet")
        return
    say(_table(shown, app))
    if more:
        hint(f"older ones: add --before {shown[-1].id}")


def _table(jobs: Sequence[Job], app: EmbedQ) -> str:
    now = now_of(app)
    headers = ["ID", "STATE", "QUEUE", "WHEN", "CALL"]
    rows = [[str(job.id), coloured(job.state), clip(safe(job.queue), WIDEST_QUEUE), when(job, now)] for job in jobs]
    room = room_left(headers, rows)
    for cells, job in zip(rows, jobs, strict=True):
        said = remark(job)
        call = clip(readable_call(job.name, job.arguments, limit=room * 2), room)
        cells.append(call if said is None else f"{call}\n{dim(clip(said, room))}")
    return table(headers, rows, right=[0])


# -- doing something about many ----------------------------------------------------------------------------------------


def targets(verb: str) -> Callable[[C], C]:
    """Add the arguments that say which jobs: ids, or `--all` and filters."""

    def add(command: C) -> C:
        command = click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command)
        command = click.option("--all", "every", is_flag=True, help=f"{verb} every job that matches the filters.")(
            command
        )
        return click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))(command)

    return add


@click.command()
@targets("Retry")
@filters(RETRYABLE, "With --all, those in this state. [default: dead]")
@shared_options
@pass_session
def retry(session: Session, /, ids: tuple[int, ...], every: bool, yes: bool, **found_by: Any) -> None:
    """Run jobs again: dead or cancelled ones anew, delayed ones now.

    Attempts are counted from the start; the history is kept.

    \b
      embedq retry 42 43
      embedq retry --all --name shop.mail:send --error "Connection refused"
    """
    _require_targets(ids, every, found_by)
    app = session.open()
    if not every:
        _each(session, ids, lambda job_id: app.job(job_id).retry(), done="retried")
        return
    found_by["state"] = found_by["state"] or JobState.DEAD.value
    _all(session, app, app.retry_all, [found_by["state"]], found_by, verb="retry", done="retried", yes=yes)


@click.command()
@targets("Cancel")
@filters(CANCELLABLE, "With --all, those in this state. [default: any but ended]")
@shared_options
@pass_session
def cancel(session: Session, /, ids: tuple[int, ...], every: bool, yes: bool, **found_by: Any) -> None:
    """Cancel jobs that wait, and ask running ones to stop.

    \b
      embedq cancel 42
      embedq cancel --all --queue mail
    """
    _require_targets(ids, every, found_by)
    app = session.open()
    if not every:
        _each(session, ids, lambda job_id: _cancel(app, job_id), done="cancelled")
        return
    states = [found_by["state"]] if found_by["state"] else [state.value for state in CANCELLABLE]
    _all(session, app, app.cancel_all, states, found_by, verb="cancel", done="cancelled", yes=yes)


def _cancel(app: EmbedQ, job_id: JobId) -> str | None:
    handle = app.job(job_id)
    before = handle.state
    if before in ENDED and before is not JobState.CANCELLED:
        raise JobError(f"job {job_id} cannot be cancelled: it has ended ({before.value})")
    return "asked to stop; it is running" if handle.cancel() is JobState.RUNNING else None


def _require_targets(ids: Sequence[int], every: bool, found_by: dict[str, Any]) -> None:
    if ids and (every or any(found_by.values())):
        raise click.UsageError("give the ids of jobs, or --all and filters, not both")
    if not ids and not every:
        raise click.UsageError("say which jobs: their ids, or --all, with filters such as --queue or --name")


def _each(session: Session, ids: Sequence[int], act: Callable[[JobId], str | None], *, done: str) -> None:
    """Do it to each of these jobs; those that cannot be helped do not keep it from the others."""
    failed: list[tuple[int, EmbedqError]] = []
    for job_id in dict.fromkeys(ids):
        try:
            said = act(JobId(job_id))
        except JobError as error:
            failed.append((job_id, error))
            say(f"{error}", err=True)
        else:
            if not session.json:
                say(f"job {job_id}: {said or done}")
    matched = len(dict.fromkeys(ids))
    if session.json:
        _report(session, matched, done, matched - len(failed), failed)
    if len(failed) == matched and all(isinstance(error, JobNotFoundError) for _, error in failed):
        sys.exit(ExitCode.NOT_FOUND)
    if failed:
        sys.exit(ExitCode.FAILED)


def _all(
    session: Session,
    app: EmbedQ,
    act: Callable[..., int],
    states: Sequence[str],
    found_by: dict[str, Any],
    *,
    verb: str,
    done: str,
    yes: bool,
) -> None:
    """Do it to all that match, after asking."""
    others = {key: value for key, value in found_by.items() if key != "state"}
    matched = sum(app.count_jobs(state=state, cap=COUNTED_AT_MOST, **others) for state in states)
    if matched and not yes:
        _ask(f"{verb.capitalize()} {counted(matched, 'job', cap=COUNTED_AT_MOST)}?")
    number = 0
    if matched:
        with session.progress(matched) as advance:
            number = act(**found_by, progress=advance)
    if session.json:
        _report(session, matched, done, number, [])
    elif not matched:
        say("no jobs match")
    else:
        say(f"{done} {counted(number, 'job')}")
        if number < matched < COUNTED_AT_MOST:
            hint(f"{matched - number:,} had moved on meanwhile")


def _report(session: Session, matched: int, done: str, number: int, failed: Sequence[tuple[int, EmbedqError]]) -> None:
    session.emit(
        {
            "matched": matched,
            done: number,
            "failed": [
                {"id": job_id, "error": type(error).__name__, "message": str(error)} for job_id, error in failed
            ],
        }
    )


def _ask(question: str) -> None:
    # Not click.confirm: it writes a space to stdout even when it is told to ask on stderr.
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:
        raise CommandError("nobody is there to answer; --yes goes ahead without asking", ExitCode.USAGE)
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done")

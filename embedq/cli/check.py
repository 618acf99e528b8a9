"""`embedq check`: before a deployment, check in the new build whether it can run the waiting jobs.

    embedq check --app shop.jobs:queue

It imports the application, starts nothing, and changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import click

from embedq.app import EmbedQ
from embedq.cli.application import app_option, load
from embedq.cli.invocation import (
    ExitCode,
    Invocation,
    bold,
    hint,
    pass_invocation,
    say,
    shared_options,
    stdout_kept_clear,
)
from embedq.cli.states import coloured
from embedq.cli.text import clip, safe
from embedq.config import Settings
from embedq.display.units import counted
from embedq.errors import ConfigurationError, StorageMissingError
from embedq.job import JobState
from embedq.operations.preflight import Preflight, Problem, read_all, span_of_ids
from embedq.process import job_process
from embedq.storage import backends
from embedq.storage.base import Database
from embedq.tasks.signing import Key, load_or_create_key

# Limits of the text output; --json contains everything.
SHOWN_PROBLEMS, SHOWN_SCHEDULES, LONGEST_REASON = 50, 5, 1000


@click.command()
@app_option
@shared_options
@pass_invocation
def check(invocation: Invocation, target: str) -> None:
    """Check whether this build can run all waiting jobs, before it is deployed.

    Run it with the new code. For every job that has not ended and every
    recurring job it checks the function, the stored arguments, the
    signature and the Python version. Nothing is run, started or changed.
    The exit code is 1 if a job could not run.

    \b
      embedq check --app shop.jobs:queue
      embedq check --app shop.jobs --url postgresql://…
    """
    run(invocation, lambda: load(target))


def run(invocation: Invocation, find_app: Callable[[], EmbedQ]) -> None:
    """Check an app's database, or the one that `--url` names.

    Args:
        find_app: called once, with starting and connecting disabled.
    """
    # Modules named by rows are imported, too, and their imports may have the same side effects as the application's.
    with job_process.only_reading(), stdout_kept_clear(invocation):
        app = find_app()
        settings = app.settings
        if invocation.url is not None:
            settings = dataclasses.replace(settings, url=invocation.url, connect=None)
        database = backends.open_database(settings)
        click.get_current_context().call_on_close(database.close)
        _require(database)
        preflight = Preflight(app.engine.registry, lambda: _key(settings))
        with invocation.progress(span_of_ids(database)) as advance:
            read_all(preflight, database, progress=advance)
    problems = preflight.problems()
    if invocation.json:
        invocation.emit(
            {
                "url": settings.database,
                "jobs": preflight.jobs,
                "schedules": preflight.schedules,
                "problems": [dataclasses.asdict(problem) for problem in problems],
            }
        )
    else:
        for problem in problems[:SHOWN_PROBLEMS]:
            _show(problem)
        if len(problems) > SHOWN_PROBLEMS:
            hint(f"and {len(problems) - SHOWN_PROBLEMS} more: --json lists all")
        say(_summary(preflight, problems))
    if problems:
        click.get_current_context().exit(ExitCode.FAILED)


def _require(database: Database) -> None:
    """Raise unless the database has embedq's tables. A database that this build will migrate can be read as it is."""
    pending = database.pending_migrations()
    if "schema_0001" in pending:
        raise StorageMissingError(
            f"{database.url} has no tables of embedq, so there is nothing to check. Check the URL: --url or $EMBEDQ_URL"
        )
    if pending:
        hint(f"the schema is older than that of this build, which will apply {', '.join(pending)}")


def _key(settings: Settings) -> Key:
    """Return the key of the app; it is not created if it does not exist."""
    if settings.secret_key is not None:
        return Key.from_text(settings.secret_key)
    file = backends.key_file(settings)
    if not file.exists():
        raise ConfigurationError(f"there is no key file {file}: run this where it exists, or set EMBEDQ_SECRET_KEY")
    return load_or_create_key(file)


def _show(problem: Problem) -> None:
    found = []
    if problem.jobs:
        states = ", ".join(f"{count:,} {coloured(JobState(state))}" for state, count in sorted(problem.states.items()))
        found.append(f"{counted(problem.jobs, 'job')} ({states}), for example {problem.example}")
    if problem.schedules:
        names = ", ".join(safe(name) for name in problem.schedules[:SHOWN_SCHEDULES])
        more = len(problem.schedules) - SHOWN_SCHEDULES
        found.append(f"recurring: {names}{f' and {more} more' if more > 0 else ''}")
    say(bold(safe(problem.task)))
    for line in found:
        say(f"  {line}")
    say(f"  {safe(clip(problem.reason, LONGEST_REASON))}")
    say(f"  → {safe(problem.advice)}")
    say()


def _summary(preflight: Preflight, problems: list[Problem]) -> str:
    jobs, schedules = sum(problem.jobs for problem in problems), sum(len(problem.schedules) for problem in problems)
    all_jobs, all_schedules = counted(preflight.jobs, "job"), counted(preflight.schedules, "recurring job")
    if not problems:
        return f"this build can run all waiting jobs: {all_jobs}, {all_schedules}"
    return f"{jobs:,} of {all_jobs} and {schedules:,} of {all_schedules} could not run in this build"

"""`embedq check`: before a deployment, in the new build, whether what waits could run there.

    embedq check --app shop.jobs:queue

It imports the application, starts nothing, and changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import click

from embedq import job_process
from embedq.app import EmbedQ
from embedq.cli.session import ExitCode, Session, bold, hint, pass_session, say, shared_options
from embedq.cli.states import coloured
from embedq.cli.text import clip, safe
from embedq.cli.worker import load, stdout_kept_clear
from embedq.config import Settings
from embedq.errors import ConfigurationError, StorageMissingError
from embedq.job import JobState
from embedq.preflight import Preflight, Problem, read_all, span_of_ids
from embedq.signing import Key, load_or_create_key
from embedq.storage import backends
from embedq.storage.base import Database
from embedq.wording import counted

# More than people read; --json has all.
SHOWN_PROBLEMS, SHOWN_SCHEDULES, LONGEST_REASON = 50, 5, 1000


@click.command()
@click.option(
    "--app",
    "target",
    metavar="MODULE[:ATTR]",
    required=True,
    help="The module to import from the current directory, and in it an EmbedQ or a function that returns one. "
    "Without ATTR: embedq's default app.",
)
@shared_options
@pass_session
def check(session: Session, target: str) -> None:
    """See whether this build can run all that waits. Run it before a deployment, with the new code.

    Every job that has not ended and every recurring job: whether its
    function is there, its stored arguments fit, and its signature and
    Python version are right. Nothing is run, started or changed. The exit
    code is 1 when something could not run.

    \b
      embedq check --app shop.jobs:queue
      embedq check --app shop.jobs --url postgresql://…
    """
    run(session, lambda: load(target))


def run(session: Session, find_app: Callable[[], EmbedQ]) -> None:
    """Check an app's database, or the one that `--url` names.

    Args:
        find_app: called once, with starting and connecting turned off.
    """
    # Modules that a row names are imported too, and may do as much at import as the application's own.
    with job_process.only_reading(), stdout_kept_clear(session):
        app = find_app()
        settings = app.settings
        if session.url is not None:
            settings = dataclasses.replace(settings, url=session.url, connect=None)
        database = backends.open_database(settings)
        click.get_current_context().call_on_close(database.close)
        _require(database)
        preflight = Preflight(app.engine.registry, lambda: _key(settings))
        with session.progress(span_of_ids(database)) as advance:
            read_all(preflight, database, progress=advance)
    problems = preflight.problems()
    if session.json:
        session.emit(
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
            hint(f"and {len(problems) - SHOWN_PROBLEMS} more: --json has them all")
        say(_summary(preflight, problems))
    if problems:
        click.get_current_context().exit(ExitCode.FAILED)


def _require(database: Database) -> None:
    """The database must be embedq's. One that this build will migrate can be read as it is."""
    pending = database.pending_migrations()
    if "schema_0001" in pending:
        raise StorageMissingError(
            f"{database.url} has no tables of embedq: there is nothing to check. Check the URL: --url, or $EMBEDQ_URL"
        )
    if pending:
        hint(f"the schema is older than this build's, which will apply {', '.join(pending)}")


def _key(settings: Settings) -> Key:
    """The key of the app, which is not made if it is not there."""
    if settings.secret_key is not None:
        return Key.from_text(settings.secret_key)
    file = backends.key_file(settings)
    if not file.exists():
        raise ConfigurationError(f"there is no key file {file}: run this where it is, or set EMBEDQ_SECRET_KEY")
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
        return f"this build can run all that waits: {all_jobs}, {all_schedules}"
    return f"{jobs:,} of {all_jobs} and {schedules:,} of {all_schedules} could not run in this build"

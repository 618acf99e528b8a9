"""The command line: `embedq`, or `python -m embedq`.

It reads and changes jobs through an `EmbedQ`, contains no SQL, and neither unpickles nor imports job code; only
`--app` imports the application.

Each command is a module; `invocation` and `text` are shared. May import `embedq`, `dashboard` and all below. Start
reading in `invocation.py`, then `jobs.py`.
"""

from __future__ import annotations

import click

from embedq.cli.check import check
from embedq.cli.copy import copy
from embedq.cli.dashboard import dashboard
from embedq.cli.demo import demo
from embedq.cli.doctor import doctor
from embedq.cli.holds import holds, pause, quiet, resume
from embedq.cli.invocation import EXIT_CODES, Commands, prepare_streams, shared_options
from embedq.cli.jobs import cancel, list_jobs, retry
from embedq.cli.limits import limits
from embedq.cli.overview import migrate, servers, stats
from embedq.cli.schedules import schedules
from embedq.cli.show import show
from embedq.cli.worker import worker
from embedq.version import VERSION


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-V", "--version", message="embedq %(version)s")
@shared_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """Manage background jobs: list, show, retry, cancel and run them.

    \b
      embedq stats                          the queue at a glance
      embedq jobs --state dead              jobs that failed permanently
      embedq show 42                        all details of one job
      embedq retry --all --queue mail       run dead jobs again
      embedq pause --queue mail --for 1h    let no job of a queue start
      embedq limits                         what limits let run, and what waits
      embedq worker --app shop.jobs:queue   run jobs in this process
      embedq doctor                         find problems, with advice
      embedq check --app shop.jobs:queue    can this build run the waiting jobs?
      embedq copy URL NEW_URL               copy the queue to another database
      embedq dashboard                      all of this in a browser
      embedq demo                           a demonstration, in a few seconds
    """
    prepare_streams(ctx)


for command in (
    worker,
    list_jobs,
    show,
    retry,
    cancel,
    schedules,
    pause,
    resume,
    holds,
    quiet,
    limits,
    servers,
    stats,
    migrate,
    doctor,
    check,
    copy,
    dashboard,
    demo,
):
    main.add_command(command)

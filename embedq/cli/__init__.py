"""The command line: `embedq`, or `python -m embedq`.

It looks at jobs and acts on them through an `EmbedQ`, holds no SQL, and neither unpickles nor imports job code; only
`worker --app` and `check --app` import the application, because they are told to.
"""

from __future__ import annotations

import click

from embedq.cli.check import check
from embedq.cli.copy import copy
from embedq.cli.dashboard import dashboard
from embedq.cli.demo import demo
from embedq.cli.doctor import doctor
from embedq.cli.jobs import cancel, list_jobs, retry
from embedq.cli.overview import migrate, servers, stats
from embedq.cli.schedules import schedules
from embedq.cli.session import EXIT_CODES, Commands, prepare_streams, shared_options
from embedq.cli.show import show
from embedq.cli.worker import worker
from embedq.version import VERSION


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-V", "--version", message="embedq %(version)s")
@shared_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """Look after background jobs: list, show, retry, cancel, and run them.

    \b
      embedq stats                          the queue at a glance
      embedq jobs --state dead              what failed for good
      embedq show 42                        everything about one job
      embedq retry --all --queue mail       run dead jobs again
      embedq worker --app shop.jobs:queue   run jobs in this process
      embedq doctor                         what is wrong, and what to do
      embedq check --app shop.jobs:queue    could this build run what waits?
      embedq copy URL NEW_URL               move to another database
      embedq dashboard                      see and do all that in a browser
      embedq demo                           see it all at work, in seconds
    """
    prepare_streams(ctx)


for command in (
    worker,
    list_jobs,
    show,
    retry,
    cancel,
    schedules,
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

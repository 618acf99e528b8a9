"""`manage.py embedq`: the command line of embedq, on the project's jobs."""

from __future__ import annotations

from typing import Any

import click

from embedq import EmbedQ
from embedq.cli import main
from embedq.cli.check import run as run_check
from embedq.cli.invocation import EXIT_CODES, Commands, Invocation, pass_invocation, shared_options
from embedq.cli.worker import run, worker_options
from embedq.contrib.django import binding
from embedq.contrib.django.conf import ProjectSettings


class ProjectSession(Invocation):
    """Without `--url`, the app is the project's."""

    def app(self, **settings: Any) -> EmbedQ:
        if self.url is not None:
            return super().app(**settings)
        project = ProjectSettings.read()
        return EmbedQ(binding.location(project), **{**project.fields, **settings})


@click.command()
@worker_options
@shared_options
@pass_invocation
def worker(invocation: Invocation, /, **options: Any) -> None:
    """Run the project's jobs until SIGTERM or Ctrl-C, in a process that serves no requests.

    The modules that declare jobs are imported first. At a stop, running jobs get time to end; the exit code is 0 when
    all did, 1 when one did not stop. A second Ctrl-C ends at once.
    """
    run(invocation, _project_app, "the project", **options)


@click.command()
@shared_options
@pass_invocation
def check(invocation: Invocation) -> None:
    """Check that this build can run all waiting jobs. Run it before a deployment, with the new code.

    The modules that declare jobs are imported. Nothing is run, started or changed. The exit code is 1 when something
    could not run.
    """
    run_check(invocation, _project_app)


def _project_app() -> EmbedQ:
    app = binding.bind()
    binding.discover()
    return app


command_line = Commands(
    "embedq",
    commands={**main.commands, "check": check, "worker": worker},
    params=main.params,
    callback=main.callback,
    context_settings=main.context_settings,
    epilog=EXIT_CODES,
    help="""Manage the project's background jobs: list, show, retry, cancel, and run them.

    \b
      manage.py embedq stats                          the queue at a glance
      manage.py embedq jobs --state dead              what failed for good
      manage.py embedq show 42                        everything about one job
      manage.py embedq retry --all --queue mail       run dead jobs again
      manage.py embedq worker                         run jobs in this process
    """,
)

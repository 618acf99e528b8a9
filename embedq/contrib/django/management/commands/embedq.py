"""Django's side of `manage.py embedq`: what follows the name goes to embedq's own command line as it is."""

from __future__ import annotations

import contextlib
from argparse import REMAINDER
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandError, CommandParser

from embedq.contrib.django.commandline import ProjectSession, command_line

# What every management command takes. A value may follow the first of them.
_WITH_VALUE = ("--settings", "--pythonpath", "-v", "--verbosity")
_PLAIN = ("--no-color", "--force-color", "--traceback", "--skip-checks")


class Command(BaseCommand):
    """See embedq.contrib.django.commandline."""

    help = "Manage the project's background jobs: list, show, retry, cancel, and run them."
    # A database that is not there is embedq's own to report.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def run_from_argv(self, argv: list[str]) -> None:
        """From the shell: embedq's options, output and exit codes."""
        command_line.main(args=_own(argv[2:]), prog_name=f"{argv[0]} {argv[1]}", obj=ProjectSession())

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """For `manage.py help embedq`."""
        self.run_from_argv([prog_name, subcommand, "--help"])

    def add_arguments(self, parser: CommandParser) -> None:
        """For `call_command`."""
        parser.add_argument("arguments", nargs=REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:
        """From `call_command("embedq", "jobs", "--json", stdout=…)`."""
        with contextlib.redirect_stdout(self.stdout), contextlib.redirect_stderr(self.stderr):
            try:
                command_line.main(
                    args=[str(argument) for argument in options["arguments"]],
                    prog_name="manage.py embedq",
                    obj=ProjectSession(),
                    standalone_mode=False,
                )
            except click.ClickException as error:
                raise CommandError(error.format_message(), returncode=error.exit_code) from error


def _own(arguments: list[str]) -> list[str]:
    """The arguments without those that Django takes itself, of which it has already used the ones that matter."""
    own, rest = [], iter(arguments)
    for argument in rest:
        if argument in _WITH_VALUE:
            next(rest, None)
        elif argument not in _PLAIN and not argument.startswith(("--settings=", "--pythonpath=", "--verbosity=")):
            own.append(argument)
    return own

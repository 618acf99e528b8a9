"""`flask embedq …`: the `embedq` command line on one Flask app's queue, with the app's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import click

from embedq import EmbedQ
from embedq.cli import main
from embedq.cli.check import run as run_check
from embedq.cli.invocation import EXIT_CODES, Commands, Invocation, pass_invocation, prepare_streams, shared_options
from embedq.cli.worker import run, worker_options

# `check` and `worker` are others here, and what `demo` shows has nothing to do with the app.
LEFT_OUT = ("check", "demo", "worker")


@dataclass
class AppInvocation(Invocation):
    """A command on the queue of the app, unless `--url` names another."""

    queue: Callable[[], EmbedQ] = EmbedQ

    def app(self, **settings: Any) -> EmbedQ:
        configured = self.queue().settings
        own = {item.name: getattr(configured, item.name) for item in fields(configured)}
        return EmbedQ(**{**own, "url": self.url or configured.url, **settings})


class AppCommands(Commands):
    """The group, which sets the invocation before it reads its options."""

    queue: Callable[[], EmbedQ]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return super().make_context(info_name, args, parent, obj=AppInvocation(queue=self.queue), **extra)


@click.command()
@worker_options
@shared_options
@pass_invocation
def worker(invocation: Invocation, /, **options: Any) -> None:
    """Run jobs until SIGTERM or Ctrl-C, in a process that serves no requests.

    At a stop, running jobs get time to end; the exit code is 0 when all did, 1 when one did not stop. A second Ctrl-C
    ends at once.
    """
    assert isinstance(invocation, AppInvocation)
    run(invocation, invocation.queue, "the Flask app", **options)


@click.command()
@shared_options
@pass_invocation
def check(invocation: Invocation) -> None:
    """Check that this build can run all waiting jobs. Run it before a deployment, with the new code.

    Nothing is run, started or changed. The exit code is 1 when a job could not run.
    """
    assert isinstance(invocation, AppInvocation)
    run_check(invocation, invocation.queue)


def commands(queue: Callable[[], EmbedQ]) -> click.Group:
    """Return the group of commands for `app.cli`."""

    @click.group("embedq", cls=AppCommands, epilog=EXIT_CODES)
    @shared_options
    @click.pass_context
    def group(ctx: click.Context) -> None:
        """Manage this app's background jobs: list, show, retry, cancel, and run them."""
        prepare_streams(ctx)

    group.queue = queue
    for name, command in main.commands.items():
        if name not in LEFT_OUT:
            group.add_command(command, name)
    group.add_command(check)
    group.add_command(worker)
    return group

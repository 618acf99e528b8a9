"""`flask embedq …`: the `embedq` command line on one Flask app's queue, with the app's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import click

from embedq import EmbedQ
from embedq.cli import main
from embedq.cli.check import run as run_check
from embedq.cli.session import EXIT_CODES, Commands, Session, pass_session, prepare_streams, shared_options
from embedq.cli.worker import run, worker_options

# `check` and `worker` are others here, and what `demo` shows has nothing to do with the app.
LEFT_OUT = ("check", "demo", "worker")


@dataclass
class AppSession(Session):
    """A session on a queue that is there already, unless `--url` names another."""

    queue: Callable[[], EmbedQ] = EmbedQ

    def app(self, **settings: Any) -> EmbedQ:
        configured = self.queue().settings
        own = {item.name: getattr(configured, item.name) for item in fields(configured)}
        return EmbedQ(**{**own, "url": self.url or configured.url, **settings})


class AppCommands(Commands):
    """The group, which has the app's session at hand before its own options are read."""

    queue: Callable[[], EmbedQ]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return super().make_context(info_name, args, parent, obj=AppSession(queue=self.queue), **extra)


@click.command()
@worker_options
@shared_options
@pass_session
def worker(session: Session, /, **options: Any) -> None:
    """Run jobs until SIGTERM or Ctrl-C, in a process that serves no requests.

    At a stop, running jobs get time to end; the exit code is 0 when all did, 1 when one did not yield. A second Ctrl-C
    ends at once.
    """
    assert isinstance(session, AppSession)
    run(session, session.queue, "the Flask app", **options)


@click.command()
@shared_options
@pass_session
def check(session: Session) -> None:
    """See whether this build can run all that waits. Run it before a deployment, with the new code.

    Nothing is run, started or changed. The exit code is 1 when something could not run.
    """
    assert isinstance(session, AppSession)
    run_check(session, session.queue)


def commands(queue: Callable[[], EmbedQ]) -> click.Group:
    """The group for `app.cli`."""

    @click.group("embedq", cls=AppCommands, epilog=EXIT_CODES)
    @shared_options
    @click.pass_context
    def group(ctx: click.Context) -> None:
        """Look after this app's background jobs: list, show, retry, cancel, and run them."""
        prepare_streams(ctx)

    group.queue = queue
    for name, command in main.commands.items():
        if name not in LEFT_OUT:
            group.add_command(command, name)
    group.add_command(check)
    group.add_command(worker)
    return group

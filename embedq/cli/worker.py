"""`embedq worker`: run an application's jobs in a separate process.

    embedq worker --app shop.jobs:queue        an EmbedQ, or a function that returns one
    embedq worker --app shop.jobs              a module with functions, for embedq's default app

It runs until SIGTERM or Ctrl-C, waits for the running jobs to end, and exits. A second Ctrl-C exits at once; the jobs
that were running then run again elsewhere.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.application import app_option, configure, load
from embedq.cli.invocation import (
    CommandError,
    ExitCode,
    Invocation,
    dim,
    pass_invocation,
    say,
    shared_options,
    stdout_kept_clear,
    width,
)
from embedq.cli.text import clip, safe, safe_lines
from embedq.version import VERSION

C = TypeVar("C", bound=Callable[..., Any])

SHOWN_TASKS = 12
LABEL = 10
_ENDING = (signal.SIGTERM, signal.SIGINT)


def worker_options(command: C) -> C:
    """Add the options of every command that runs jobs, which `run` accepts."""
    for option in reversed(
        (
            click.option(
                "--workers", type=click.IntRange(1, 1000), help="Threads that run jobs. [default: the app's, 10]"
            ),
            click.option(
                "--processes",
                type=click.IntRange(0, 1000),
                help='Processes for jobs with executor="process"; 0: none. [default: the app\'s, the number of cores]',
            ),
            click.option(
                "--queues", metavar="A,B", help="Only these queues, most urgent first. [default: the app's, all]"
            ),
            click.option(
                "--durability",
                type=click.Choice(["full", "normal"]),
                help="full: jobs survive a power cut; normal: only a crash of the process. [default: the app's, full]",
            ),
            click.option(
                "--stop-timeout",
                type=click.FloatRange(min=0),
                metavar="SECONDS",
                help="How long to wait for running jobs at a stop. [default: the app's, 20]",
            ),
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                default="info",
                show_default=True,
                help="The level of the log on stderr, unless the application configures logging.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@app_option
@worker_options
@shared_options
@pass_invocation
def worker(invocation: Invocation, /, target: str, **options: Any) -> None:
    """Run jobs until SIGTERM or Ctrl-C.

    At a stop it waits for running jobs; the exit code is 0 if all have ended, 1 if one did not stop. A second Ctrl-C
    exits at once.

    \b
      embedq worker --app shop.jobs:queue
      embedq worker --app shop --queues critical,default --workers 20
    """
    run(invocation, lambda: load(target), target, **options)


def run(
    invocation: Invocation,
    find_app: Callable[[], EmbedQ],
    target: str,
    *,
    workers: int | None,
    processes: int | None,
    queues: str | None,
    durability: str | None,
    stop_timeout: float | None,
    log_level: str,
) -> None:
    """Run an app's jobs until a signal arrives.

    Args:
        find_app: called once; returns the app, which must not be connected if a setting is given.
        target: the origin of the app, for messages.
    Raises:
        CommandError: a job did not end at the stop.
        ConfigurationError: a setting that is invalid or comes too late.
    """
    given: dict[str, Any] = {
        "url": invocation.url,
        "workers": workers,
        "processes": processes,
        "queues": None if queues is None else _names(queues),
        "durability": durability,
        "stop_timeout": stop_timeout,
    }
    with stdout_kept_clear(invocation) as stdout:
        app = find_app()
        _log(log_level)
        configure(app, target, {name: value for name, value in given.items() if value is not None})
        with Signals() as signals:
            app.connect()
            if not invocation.json:
                _introduce(app)
            app.start()
            if invocation.json:
                # To the real stdout, not by redirection: jobs may print at this moment.
                invocation.emit(_document(app), to=stdout)
            name = signals.wait()
            say(dim(f"{name}: no new jobs; waiting up to {app.settings.stop_timeout:g} s for running jobs"), err=True)
            drained = app.stop()
    if not drained:
        raise CommandError("a job does not stop; it runs again in another process, or at the next start")


def _names(queues: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in queues.split(",") if name.strip())


# -- output ------------------------------------------------------------------------------------------------------------


def _document(app: EmbedQ) -> dict[str, Any]:
    return {
        "version": VERSION,
        "pid": os.getpid(),
        "url": app.settings.database,
        "queues": app.settings.queues,
        "workers": app.settings.workers,
        "durability": app.settings.durability,
        "tasks": app.engine.registry.names(),
    }


def _introduce(app: EmbedQ) -> None:
    settings = app.settings
    names = app.engine.registry.names()
    tasks = [clip(safe(name), width() - LABEL - 2) for name in names[:SHOWN_TASKS]]
    if len(names) > SHOWN_TASKS:
        tasks.append(f"and {len(names) - SHOWN_TASKS} more")
    queues = "all, by priority" if settings.queues is None else f"{safe(', '.join(settings.queues))} (in this order)"
    say(f"embedq {VERSION} worker, pid {os.getpid()}")
    for label, text in (
        ("database", safe(settings.database)),
        ("durable", "against power cuts" if settings.durability == "full" else "against crashes of the process"),
        ("queues", queues),
        ("threads", str(settings.workers)),
        ("tasks", f"\n{' ' * (LABEL + 2)}".join(tasks) or "none registered; plain functions are found by name"),
        ("stop", "with Ctrl-C or SIGTERM; waits for running jobs"),
    ):
        say(f"  {dim(label.ljust(LABEL))}{text}")


class _SafeFormatter(logging.Formatter):
    """Escapes terminal control characters: messages contain job names and errors."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(safe_lines(super().format(record)))


def _log(level: str) -> None:
    """Log to stderr, unless the application has configured logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


# -- signals -----------------------------------------------------------------------------------------------------------


class Signals:
    """Waits for SIGTERM or Ctrl-C, in the main thread."""

    def __init__(self) -> None:
        self._ending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        # Python writes the number of each signal to this socket at once, whatever the main thread does. Setting an
        # event in a handler could deadlock, since the handler runs in the thread that waits for the event.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def wait(self) -> str:
        """Wait, and return the name of the first signal."""
        while (number := self._reader.recv(1)[0]) not in _ENDING:
            pass
        self._ending = True
        return "Ctrl-C" if number == signal.SIGINT else "SIGTERM"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._ending and number == signal.SIGINT:
            os.write(2, b"exited at once; the running jobs run again elsewhere\n")
            os._exit(ExitCode.INTERRUPTED)

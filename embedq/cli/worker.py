"""`embedq worker`: run an application's jobs in a process of its own.

    embedq worker --app shop.jobs:queue        an EmbedQ, or a function that returns one
    embedq worker --app shop.jobs              import it for its functions, and use embedq's default app

It runs until SIGTERM or Ctrl-C, lets the running jobs end, and leaves. A second Ctrl-C leaves at once; what was running
then runs again elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any, TextIO, TypeVar

import click

from embedq import default_app
from embedq.app import EmbedQ
from embedq.cli.session import CommandError, ExitCode, Session, dim, pass_session, say, shared_options, width
from embedq.cli.text import clip, safe, safe_lines
from embedq.errors import ConfigurationError, EmbedqError
from embedq.version import VERSION

C = TypeVar("C", bound=Callable[..., Any])

SHOWN_TASKS = 12
LABEL = 10
_ENDING = (signal.SIGTERM, signal.SIGINT)


def worker_options(command: C) -> C:
    """Add the options of every command that runs jobs; `run` takes them."""
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
                help="full: survive a power cut; normal: a crash of the process. [default: the app's, full]",
            ),
            click.option(
                "--stop-timeout",
                type=click.FloatRange(min=0),
                metavar="SECONDS",
                help="How long running jobs may take to end at a stop. [default: the app's, 30]",
            ),
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                default="info",
                show_default=True,
                help="What is written to stderr, unless the application sets up logging itself.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.option(
    "--app",
    "target",
    metavar="MODULE[:ATTR]",
    required=True,
    help="The module to import from the current directory, and in it an EmbedQ or a function that returns one. "
    "Without ATTR: embedq's default app.",
)
@worker_options
@shared_options
@pass_session
def worker(session: Session, /, target: str, **options: Any) -> None:
    """Run jobs until SIGTERM or Ctrl-C.

    At a stop, running jobs get time to end; the exit code is 0 when all did, 1 when one did not yield. A second Ctrl-C
    ends at once.

    \b
      embedq worker --app shop.jobs:queue
      embedq worker --app shop --queues critical,default --workers 20
    """
    run(session, lambda: load(target), target, **options)


def run(
    session: Session,
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
    """Run an app's jobs until a signal comes.

    Args:
        find_app: called once; gives the app, which must not be connected if a setting is given.
        target: where the app is from, for messages.
    Raises:
        CommandError: a job did not yield at the stop.
        ConfigurationError: a setting that cannot work, or comes too late.
    """
    given: dict[str, Any] = {
        "url": session.url,
        "workers": workers,
        "processes": processes,
        "queues": None if queues is None else _names(queues),
        "durability": durability,
        "stop_timeout": stop_timeout,
    }
    with stdout_kept_clear(session) as stdout:
        app = find_app()
        _log(log_level)
        configure(app, target, {name: value for name, value in given.items() if value is not None})
        with Signals() as signals:
            app.connect()
            if not session.json:
                _introduce(app)
            app.start()
            if session.json:
                # Written there, not redirected there: jobs print at this moment.
                session.emit(_document(app), to=stdout)
            name = signals.wait()
            say(dim(f"{name}: no new jobs; running ones get {app.settings.stop_timeout:g} s to end"), err=True)
            drained = app.stop()
    if not drained:
        raise CommandError("a job does not yield; it runs again in another process, or at the next start")


def _names(queues: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in queues.split(",") if name.strip())


# -- the application ---------------------------------------------------------------------------------------------------


def load(target: str) -> EmbedQ:
    """Import the application's module and find its app.

    Raises:
        click.UsageError: there is no such module or attribute, or it is something else.
        CommandError: importing it failed; its traceback has been printed.
    """
    name, _, attribute = target.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(name, target)
    if not attribute:
        return default_app()
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _bad(f"module {name!r} has no {attribute!r}") from None
    if isinstance(found, EmbedQ):
        return found
    if not _takes_nothing(found):
        raise _bad(f"{target} is a {type(found).__qualname__}: neither an EmbedQ nor a function that returns one")
    made = _made_by(found, target)
    if not isinstance(made, EmbedQ):
        raise _bad(f"{target}() returned a {type(made).__qualname__}, and it must return an EmbedQ")
    return made


def _import(name: str, target: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise _bad(f"{target!r} is not of the form module or module:attr")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            advice = f"; write {name.removesuffix('.py')}" if name.endswith(".py") else ", nor anywhere on sys.path"
            raise _bad(f"there is no module {error.name!r} in {os.getcwd()}{advice}") from None
        raise _broken(target, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(target, error) from error


def _takes_nothing(found: Any) -> bool:
    """Whether it can be called without arguments; a web framework's app cannot."""
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True


def _made_by(function: Any, target: str) -> Any:
    try:
        return function()
    except EmbedqError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(target, error) from error


def _bad(message: str) -> click.UsageError:
    return click.BadParameter(safe(message), param_hint="--app")


def _broken(target: str, error: BaseException) -> CommandError:
    """The application's own error, with its traceback: somebody has to mend it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None and _is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    for line in traceback.format_exception(type(error), error, frame):
        for part in safe_lines(line.rstrip("\n")):
            say(part, err=True)
    return CommandError(f"importing {target} failed with {type(error).__qualname__}: {error}")


def _is_ours(file: str) -> bool:
    return file == __file__ or "importlib" in file


def configure(app: EmbedQ, target: str, given: dict[str, Any]) -> None:
    """Put the command line's settings over the app's own.

    Raises:
        ConfigurationError: one of them cannot work, or comes too late.
    """
    if not given:
        return
    settings = dataclasses.replace(app.settings, **given)
    if settings == app.settings:
        return
    engine = app.engine
    if engine.connected:
        raise ConfigurationError(
            f"importing {target} already {'starts' if app.started else 'connects'} the app, so it is too late for "
            f"{', '.join('--' + name.replace('_', '-') for name in given)}; set it there, or call embedq.start() where "
            "the web server starts up and not at import"
        )
    app.configure(
        clock=app.clock,
        enqueue_middleware=engine.enqueue_middleware,
        middleware=engine.middleware,
        **{field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)},
    )


# -- what it says ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stdout_kept_clear(session: Session) -> Iterator[TextIO]:
    """With --json, what the application and its jobs print goes to stderr; gives the real stdout."""
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if session.json else stdout):
        yield stdout


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
        ("tasks", f"\n{' ' * (LABEL + 2)}".join(tasks) or "none registered; plain functions are found by their names"),
        ("stop", "with Ctrl-C or SIGTERM; running jobs get time to end"),
    ):
        say(f"  {dim(label.ljust(LABEL))}{text}")


class _SafeFormatter(logging.Formatter):
    """Job names and errors are in the messages: what a terminal would act upon is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(safe_lines(super().format(record)))


def _log(level: str) -> None:
    """Log to stderr, unless the application has set up logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


# -- the end -----------------------------------------------------------------------------------------------------------


class Signals:
    """SIGTERM and Ctrl-C as something to wait for, in the main thread."""

    def __init__(self) -> None:
        self._ending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        # Python writes the number of each signal to this socket, at once and whatever the main thread does. To set an
        # event from a handler could deadlock: the handler runs in the very thread that waits for the event.
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
        """The name of the first of them that comes."""
        while (number := self._reader.recv(1)[0]) not in _ENDING:
            pass
        self._ending = True
        return "Ctrl-C" if number == signal.SIGINT else "SIGTERM"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._ending and number == signal.SIGINT:
            os.write(2, b"ended at once; what was running runs again elsewhere\n")
            os._exit(ExitCode.INTERRUPTED)

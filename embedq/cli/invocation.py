"""Shared by all commands: the options `--url` and `--json`, the open app, output, and errors as exit codes.

stdout contains only the result: text, or with `--json` one JSON document. Hints, questions, progress and errors go to
stderr.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, TextIO, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.text import columns, safe
from embedq.clock import to_datetime
from embedq.display.units import counted as counted
from embedq.engine.stored_jobs import PAGE
from embedq.errors import (
    ConfigurationError,
    EmbedqError,
    JobNotFoundError,
    ScheduleNotFoundError,
    StorageError,
)

C = TypeVar("C", bound=Callable[..., Any])

# Output that is not a terminal has no width, but a row of a table should still be one line.
WIDTH_OF_A_PIPE = 200
NARROWEST = 60
# Replacements for terminals that cannot show these characters.
_PLAIN = str.maketrans({"…": "...", "█": "#", "░": ".", "·": "-", "→": "->", "●": "*", "✓": "ok", "✗": "!!"})


class ExitCode(IntEnum):
    """The exit code of a command."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    STORAGE = 4
    INTERRUPTED = 130


EXIT_CODES = """\b
Exit codes:
  0    done
  1    the command failed, or could only be done in part
  2    the command line, the URL or a setting is wrong
  3    no such job or recurring job
  4    the database cannot be opened, read or written
  130  interrupted by Ctrl-C
"""


class CommandError(click.ClickException):
    """Ends a command with one line on stderr and an exit code."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        # Click declares one exit code per class; this class has several.
        self.exit_code: int = exit_code  # type: ignore[misc]

    def format_message(self) -> str:
        return safe(self.message)

    @classmethod
    def of(cls, error: EmbedqError) -> CommandError:
        """Convert an error of the library."""
        if isinstance(error, JobNotFoundError | ScheduleNotFoundError):
            return cls(str(error), ExitCode.NOT_FOUND)
        if isinstance(error, StorageError):
            return cls(str(error), ExitCode.STORAGE)
        if isinstance(error, ConfigurationError):
            return cls(str(error), ExitCode.USAGE)
        return cls(str(error))


class Commands(click.Group):
    """The top-level group: converts errors of the library and Ctrl-C to exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EmbedqError as error:
            raise CommandError.of(error) from error
        except (KeyboardInterrupt, click.Abort):
            # Click would print "Aborted!" and exit with 1.
            raise CommandError("interrupted", ExitCode.INTERRUPTED) from None


@dataclass
class Invocation:
    """The shared options of a command, and the app that they select."""

    url: str | None = None
    json: bool = False

    def app(self, **settings: Any) -> EmbedQ:
        """Return the app of `--url`, not connected."""
        return EmbedQ(self.url, **settings)

    def open(self, **settings: Any) -> EmbedQ:
        """Return the app, connected to an existing database; it is closed when the command ends.

        Args:
            settings: as for `app`.
        Raises:
            StorageMissingError: the database does not exist, or its schema is outdated. Nothing was created.
        """
        app = self.app(**settings).connect(migrate=False)
        click.get_current_context().call_on_close(app.close)
        return app

    def progress(self, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """Return a progress bar on stderr; nothing for short work, or if stderr is not a terminal."""
        if length <= PAGE or self.json or not sys.stderr.isatty():
            return nullcontext(lambda amount: None)
        return _Bar(length)

    def emit(self, document: Any, *, to: TextIO | None = None) -> None:
        """Write the JSON document to stdout."""
        # ASCII: it is the same in any encoding, and contains no terminal control characters.
        _write(json.dumps(document, indent=2, allow_nan=False), to or sys.stdout)


class _Bar:
    """A progress bar of click as a callable."""

    def __init__(self, length: int) -> None:
        self._bar: Any = click.progressbar(length=length, file=sys.stderr, show_pos=True)

    def __enter__(self) -> Callable[[int], None]:
        bar = self._bar.__enter__()
        return lambda amount: bar.update(amount)

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def shared_options(command: C) -> C:
    """Add `--url` and `--json`, which work before and after the name of a command."""

    def set_url(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Invocation).url = value

    def set_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Invocation).json = True

    command = click.option(
        "--json", is_flag=True, expose_value=False, callback=set_json, help="Write one JSON document to stdout."
    )(command)
    return click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=set_url,
        help="The database: sqlite:///relative.db, sqlite:////absolute.db, or a server, such as "
        "postgresql://user:password@host/name. [default: $EMBEDQ_URL or sqlite:///embedq.db]",
    )(command)


@contextmanager
def stdout_kept_clear(invocation: Invocation) -> Iterator[TextIO]:
    """With --json, redirect the output of the application and its jobs to stderr; yield the real stdout."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr if invocation.json else stdout):
        yield stdout


# -- text output -------------------------------------------------------------------------------------------------------


def prepare_streams(ctx: click.Context) -> None:
    """Escape characters that the output encoding lacks, and disable colour where it is not wanted."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


def say(text: str = "", *, err: bool = False) -> None:
    """Print a line, or several."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    if not encoding.lower().replace("-", "").startswith("utf"):
        text = text.translate(_PLAIN)
    _write(text, sys.stderr if err else sys.stdout)


def _write(text: str, to: TextIO | None) -> None:
    try:
        click.echo(text, file=to)
    except OSError as error:
        # Click handles a closed pipe, as of `head`.
        if error.errno == errno.EPIPE:
            raise
        raise CommandError(f"the output cannot be written: {error.strerror}") from error


def hint(text: str) -> None:
    """Print advice, to stderr."""
    say(dim(text), err=True)


def width() -> int:
    """Return the width of the output in columns."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return WIDTH_OF_A_PIPE
    return max(NARROWEST, shutil.get_terminal_size().columns)


def dim(text: str) -> str:
    return click.style(text, dim=True) if text else text


def bold(text: str) -> str:
    return click.style(text, bold=True) if text else text


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """Format rows under headers; the columns in `right` are right-aligned. Cells must be safe to print, and fit."""
    # Imported here: it costs as much as the rest of the command line.
    from tabulate import tabulate

    text = tabulate(
        # As headers of tabulate they would be padded.
        [[bold(header) for header in headers], *rows],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if index in right else "left" for index in range(len(headers))],
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def room_left(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width that is left for the last column of a table."""
    taken = sum(max(columns(click.unstyle(cell)) for cell in cells) + 2 for cells in zip(headers, *rows, strict=False))
    return max(24, width() - taken)


def now_of(app: EmbedQ) -> datetime:
    """Return the app's time."""
    return to_datetime(app.clock.now())


def iso(moment: datetime | None) -> str | None:
    """Format a moment for JSON."""
    return None if moment is None else moment.isoformat()

"""What every command shares: the options `--url` and `--json`, the open app, output, and errors as exit codes.

stdout holds the answer and nothing else: a text for people, or with `--json` one JSON document. Hints, questions,
progress and errors go to stderr.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, TextIO, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.text import columns, safe
from embedq.clock import to_datetime
from embedq.control import PAGE
from embedq.errors import (
    ConfigurationError,
    EmbedqError,
    JobNotFoundError,
    ScheduleNotFoundError,
    StorageError,
)
from embedq.wording import counted as counted

C = TypeVar("C", bound=Callable[..., Any])

# Where the output is not a terminal nothing need fit, but a line of a table should still be one.
WIDTH_OF_A_PIPE = 200
NARROWEST = 60
# For terminals that cannot show them.
_PLAIN = str.maketrans({"…": "...", "█": "#", "░": ".", "·": "-", "→": "->", "●": "*", "✓": "ok", "✗": "!!"})


class ExitCode(IntEnum):
    """What a command's exit code tells a script."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    STORAGE = 4
    INTERRUPTED = 130


EXIT_CODES = """\b
Exit codes:
  0    done
  1    what was asked for failed, or only a part of it could be done
  2    the command line, the URL or a setting is wrong
  3    no such job or recurring job
  4    the database cannot be opened, read or written
  130  interrupted by Ctrl-C
"""


class CommandError(click.ClickException):
    """Ends a command with one line on stderr and an exit code."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        # Click declares one for each class; this class has several.
        self.exit_code: int = exit_code  # type: ignore[misc]

    def format_message(self) -> str:
        return safe(self.message)

    @classmethod
    def of(cls, error: EmbedqError) -> CommandError:
        """The end that an error of the library means."""
        if isinstance(error, JobNotFoundError | ScheduleNotFoundError):
            return cls(str(error), ExitCode.NOT_FOUND)
        if isinstance(error, StorageError):
            return cls(str(error), ExitCode.STORAGE)
        if isinstance(error, ConfigurationError):
            return cls(str(error), ExitCode.USAGE)
        return cls(str(error))


class Commands(click.Group):
    """The group at the top: errors of the library, and Ctrl-C, become exit codes here."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EmbedqError as error:
            raise CommandError.of(error) from error
        except (KeyboardInterrupt, click.Abort):
            # Click would call it "Aborted!" and leave with 1.
            raise CommandError("interrupted", ExitCode.INTERRUPTED) from None


@dataclass
class Session:
    """The options that hold for every command, and what follows from them."""

    url: str | None = None
    json: bool = False

    def app(self, **settings: Any) -> EmbedQ:
        """The app that `--url` names; not connected."""
        return EmbedQ(self.url, **settings)

    def open(self, **settings: Any) -> EmbedQ:
        """The app, connected to a database that is there; closed when the command ends.

        Args:
            settings: as for `app`.
        Raises:
            StorageMissingError: it is not, or its schema is not up to date. Nothing was created.
        """
        app = self.app(**settings).connect(migrate=False)
        click.get_current_context().call_on_close(app.close)
        return app

    def progress(self, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """A bar on stderr while long work goes on; where it is short or nobody watches, nothing."""
        if length <= PAGE or self.json or not sys.stderr.isatty():
            return nullcontext(lambda amount: None)
        return _Bar(length)

    def emit(self, document: Any, *, to: TextIO | None = None) -> None:
        """Write the one JSON document, to stdout."""
        # ASCII: it reads the same in any encoding, and holds nothing that a terminal acts upon.
        click.echo(json.dumps(document, indent=2, allow_nan=False), file=to)


class _Bar:
    """click's progress bar, as something to call."""

    def __init__(self, length: int) -> None:
        self._bar: Any = click.progressbar(length=length, file=sys.stderr, show_pos=True)

    def __enter__(self) -> Callable[[int], None]:
        bar = self._bar.__enter__()
        return lambda amount: bar.update(amount)

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)


pass_session = click.make_pass_decorator(Session, ensure=True)


def shared_options(command: C) -> C:
    """Add `--url` and `--json`, which work before and after a command's name alike."""

    def set_url(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Session).url = value

    def set_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Session).json = True

    command = click.option(
        "--json", is_flag=True, expose_value=False, callback=set_json, help="Write one JSON document to stdout."
    )(command)
    return click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=set_url,
        help="The database: sqlite:///relative.db or sqlite:////absolute.db. [default: $EMBEDQ_URL or "
        "sqlite:///embedq.db]",
    )(command)


# -- output for people -------------------------------------------------------------------------------------------------


def prepare_streams(ctx: click.Context) -> None:
    """Let no output fail for want of a letter, and no colour go where it is not wanted."""
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
    click.echo(text, err=err)


def hint(text: str) -> None:
    """Print advice, to stderr."""
    say(dim(text), err=True)


def width() -> int:
    """How many columns the output may take."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return WIDTH_OF_A_PIPE
    return max(NARROWEST, shutil.get_terminal_size().columns)


def dim(text: str) -> str:
    return click.style(text, dim=True) if text else text


def bold(text: str) -> str:
    return click.style(text, bold=True) if text else text


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> str:
    """Rows under headers, aligned to the right in the columns numbered in `right`. Cells are safe to print, and fit."""
    # Imported here: it costs as much as the rest of the command line.
    from tabulate import tabulate

    text = tabulate(
        # As its headers, they would be padded.
        [[bold(header) for header in headers], *rows],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if index in right else "left" for index in range(len(headers))],
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def room_left(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many columns are left for the last cell of a table whose rows still lack it."""
    taken = sum(max(columns(click.unstyle(cell)) for cell in cells) + 2 for cells in zip(headers, *rows, strict=False))
    return max(24, width() - taken)


def now_of(app: EmbedQ) -> datetime:
    """The app's time."""
    return to_datetime(app.clock.now())


def iso(moment: datetime | None) -> str | None:
    """For JSON."""
    return None if moment is None else moment.isoformat()

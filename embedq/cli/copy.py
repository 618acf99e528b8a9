"""`embedq copy`: copy a queue to another database."""

from __future__ import annotations

import click

from embedq.app import EmbedQ
from embedq.cli.invocation import (
    CommandError,
    ExitCode,
    Invocation,
    counted,
    hint,
    pass_invocation,
    say,
    shared_options,
    table,
)
from embedq.cli.states import coloured
from embedq.cli.text import safe
from embedq.config import Settings, scheme_of
from embedq.errors import StorageError
from embedq.operations.copy import DatabaseCopy
from embedq.storage import backends
from embedq.storage.servers import ServerRow
from embedq.tasks.signing import copy_key

COUNT_SECONDS = 600.0


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--anew", is_flag=True, help="Delete the rows of an unfinished copy in TARGET, and start again.")
@click.option(
    "--lease",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The `lease` setting of the processes that used SOURCE: how long to watch processes of other hosts.",
)
@shared_options
@pass_invocation
def copy(invocation: Invocation, /, source: str, target: str, anew: bool, lease: float) -> None:
    """Copy a queue to another database, to continue there.

    Stop all processes that use SOURCE first. TARGET is created if it does
    not exist, and must contain no jobs. After an interruption, run the same
    command to continue.

    \b
      embedq copy sqlite:///app.db postgresql://user:password@host/database
    """
    if invocation.url is not None:
        raise click.UsageError("copy takes two URLs, SOURCE and TARGET, but not --url")
    copying = DatabaseCopy(
        _app(source, lease).connect(migrate=False).engine, _app(target, lease).connect().engine, watching=_watching
    )
    try:
        copying.prepare(restart=anew)
        if not copying.complete:
            _run(copying, invocation)
        keys = _carry_key(copying)
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; the copied rows are kept: run the same command to continue", ExitCode.INTERRUPTED
        ) from None
    except StorageError:
        hint("the copied rows are kept: run the same command to continue")
        raise
    if invocation.json:
        invocation.emit(_document(copying))
    else:
        say(_table(copying))
    _print_result(copying, keys)


def _app(url: str, lease: float) -> EmbedQ:
    # A server takes long to count millions of rows.
    is_file = scheme_of(url) == "sqlite"
    app = EmbedQ(url, lease=lease) if is_file else EmbedQ(url, lease=lease, busy_timeout=COUNT_SECONDS)
    click.get_current_context().call_on_close(app.close)
    return app


def _watching(rows: list[ServerRow]) -> None:
    one = f"process {rows[0].pid} on {safe(rows[0].hostname)}"
    watched = one if len(rows) == 1 else f"{counted(len(rows), 'process')} of other hosts, such as {one},"
    hint(f"waiting to see whether {watched} is alive")


def _run(copying: DatabaseCopy, invocation: Invocation) -> None:
    if copying.rescued:
        hint(f"{counted(copying.rescued, 'job')} of dead processes returned to the queue first")
    if copying.resumed:
        hint(f"continuing an earlier copy: {counted(max(0, copying.left), 'row')} left")
    with invocation.progress(copying.left) as advance:
        copying.run(advance)
    if not invocation.json:
        hint("counting the rows of both databases")
    copying.verify()


def _table(copying: DatabaseCopy) -> str:
    """Return the counts of both databases, which are equal."""
    rows = []
    for name, count in copying.expected.rows.items():
        rows.append([name, "", f"{count:,}"])
        if name == "jobs":
            rows += [["", coloured(state), f"{number:,}"] for state, number in copying.expected.jobs.items()]
    return table(["COPIED", "", "ROWS"], rows, right=[2])


def _document(copying: DatabaseCopy) -> dict[str, object]:
    return {
        "source": copying.source.settings.database,
        "target": copying.target.settings.database,
        "rows": copying.expected.rows,
        "jobs": {state.value: number for state, number in copying.expected.jobs.items()},
        "resumed": copying.resumed,
        "was_complete": copying.complete,
        "rescued": copying.rescued,
        "replaced": copying.replaced,
        "signed": copying.signed,
    }


def _print_result(copying: DatabaseCopy, keys: str | None) -> None:
    source, target = (safe(app.settings.database) for app in (copying.source, copying.target))
    say(f"{target} {'was already complete' if copying.complete else 'is complete'}", err=True)
    if copying.replaced:
        say(
            f"{counted(copying.replaced, 'row')} had a NUL character in a text, which the target cannot store; it was "
            "replaced by \ufffd",
            err=True,
        )
    if keys is not None:
        say(keys, err=True)
    hint(
        f"Next: configure every process with the new URL. Do not start one with {source} again, or its jobs run twice. "
        "Keep that database until you trust the new one, then delete it."
    )


def _carry_key(copying: DatabaseCopy) -> str | None:
    """Copy the key that signs unregistered functions, if possible; return a message about it."""
    if not copying.signed:
        return None
    rows = f"{copying.signed:,} stored functions are not registered and therefore signed"
    source, target = copying.source.settings, copying.target.settings
    held = backends.key_file(source) if _is_file(source) else None
    if held is None or not held.exists():
        return f"{rows}. Give the processes of the new database the same secret_key or EMBEDQ_SECRET_KEY as before"
    content = f"set EMBEDQ_SECRET_KEY in every process to the content of {safe(str(held))}"
    if not _is_file(target):
        return f"{rows}, with a key in a file next to the source: {content}"
    place = backends.key_file(target)
    if copy_key(held, place):
        return f"{rows}; the key was copied to {safe(str(place))}"
    return f"{rows}, with a different key than that in {safe(str(place))}: {content}"


def _is_file(settings: Settings) -> bool:
    return scheme_of(settings.url) == "sqlite"

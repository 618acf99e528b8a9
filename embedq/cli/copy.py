"""`embedq copy`: moving house."""

from __future__ import annotations

import click

from embedq.app import EmbedQ
from embedq.cli.session import (
    CommandError,
    ExitCode,
    Session,
    counted,
    hint,
    pass_session,
    say,
    shared_options,
    table,
)
from embedq.cli.states import coloured
from embedq.cli.text import safe
from embedq.config import Settings, scheme_of
from embedq.errors import StorageError
from embedq.moving import Move
from embedq.signing import copy_key
from embedq.storage import backends

COUNT_SECONDS = 600.0


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--anew", is_flag=True, help="Delete what an unfinished copy has left in TARGET, and begin again.")
@shared_options
@pass_session
def copy(session: Session, /, source: str, target: str, anew: bool) -> None:
    """Copy everything into another database, to go on there.

    Stop all processes that use SOURCE first. TARGET is created if need be,
    and must have no jobs. Interrupted or killed, the same command goes on
    where it was.

    \b
      embedq copy sqlite:///app.db postgresql://user:password@host/database
    """
    if session.url is not None:
        raise click.UsageError("copy takes two URLs, SOURCE and TARGET, and no --url")
    move = Move(_app(source).connect(migrate=False), _app(target).connect())
    try:
        move.prepare(anew=anew)
        if not move.complete:
            _move(move, session)
        keys = _carry_key(move)
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; what has been copied is kept, and the same command goes on from there", ExitCode.INTERRUPTED
        ) from None
    except StorageError:
        hint("what has been copied is kept, and the same command goes on from there")
        raise
    if session.json:
        session.emit(_document(move))
    else:
        say(_table(move))
    _advise(move, keys)


def _app(url: str) -> EmbedQ:
    # To count millions of rows takes a server its time.
    app = EmbedQ(url) if scheme_of(url) == "sqlite" else EmbedQ(url, busy_timeout=COUNT_SECONDS)
    click.get_current_context().call_on_close(app.close)
    return app


def _move(move: Move, session: Session) -> None:
    if move.rescued:
        hint(f"{counted(move.rescued, 'job')} of processes that have died went back to the queue first")
    if move.resumed:
        hint(f"an earlier copy goes on: {counted(max(0, move.left), 'row')} left")
    with session.progress(move.left) as advance:
        move.run(advance)
    if not session.json:
        hint("counting both sides")
    move.verify()


def _table(move: Move) -> str:
    """What both databases have: they were compared."""
    rows = []
    for name, count in move.expected.rows.items():
        rows.append([name, "", f"{count:,}"])
        if name == "jobs":
            rows += [["", coloured(state), f"{number:,}"] for state, number in move.expected.jobs.items()]
    return table(["COPIED", "", "ROWS"], rows, right=[2])


def _document(move: Move) -> dict[str, object]:
    return {
        "source": move.source.settings.database,
        "target": move.target.settings.database,
        "rows": move.expected.rows,
        "jobs": {state.value: number for state, number in move.expected.jobs.items()},
        "resumed": move.resumed,
        "was_complete": move.complete,
        "rescued": move.rescued,
        "replaced": move.replaced,
        "signed": move.signed,
    }


def _advise(move: Move, keys: str | None) -> None:
    source, target = (safe(app.settings.database) for app in (move.source, move.target))
    say(f"everything was there already: {target}" if move.complete else f"everything is in {target}", err=True)
    if move.replaced:
        say(
            f"{counted(move.replaced, 'row')} had a NUL character in a text, which the target cannot store; it is "
            "now \ufffd there",
            err=True,
        )
    if keys is not None:
        say(keys, err=True)
    hint(
        f"Next: let every process use the new URL. Start none on {source} again, or its jobs run twice; keep it until "
        "you trust the new one, then delete it."
    )


def _carry_key(move: Move) -> str | None:
    """See to it that functions which are not registered still run; what there is to say of that."""
    if not move.signed:
        return None
    rows = f"functions that are not registered are signed, {move.signed:,} of them here"
    source, target = move.source.settings, move.target.settings
    held = backends.key_file(source) if _is_file(source) else None
    if held is None or not held.exists():
        return f"{rows}. Give the processes of the new database the same secret_key, or EMBEDQ_SECRET_KEY, as before"
    content = f"set EMBEDQ_SECRET_KEY, wherever they are to run, to the content of {safe(str(held))}"
    if not _is_file(target):
        return f"{rows}, with the key in a file beside the source: {content}"
    place = backends.key_file(target)
    if copy_key(held, place):
        return f"{rows}; their key was copied to {safe(str(place))}"
    return f"{rows}, with another key than the one in {safe(str(place))}: {content}"


def _is_file(settings: Settings) -> bool:
    return scheme_of(settings.url) == "sqlite"

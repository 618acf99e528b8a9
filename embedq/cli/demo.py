"""`embedq demo`: the main things a queue does, live, in a few seconds, on a temporary database."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

from embedq.app import EmbedQ
from embedq.cli.session import CommandError, Session, bold, dim, now_of, pass_session, say, shared_options, width
from embedq.cli.states import bar, coloured, remark, when
from embedq.cli.text import clip, duration, safe
from embedq.context import current_job
from embedq.handle import JobHandle
from embedq.job import JobState
from embedq.readable import readable_value
from embedq.retry import Retry
from embedq.schedule import every

PULSES = 5
FRAME_SECONDS = 0.1
# It is over in some six seconds; on a machine that is very busy it may take longer, but not for ever.
PATIENCE_SECONDS = 30

INTRO = """\
A queue in a SQLite file and 4 worker threads, all in this one process:
no broker, no second program.
"""
OUTRO = """\
  fire and forget  enqueue() returned once the call was on disk; a thread ran it
  continuation     publish() waited for resize() and got what it returned
  retry            charge() failed twice, and ran again until it worked
  delayed          remind() started when it was due, not at some next poll
  recurring        pulse() fires each second, once, however many processes run
"""
SNIPPET = """\
In your application:

    import embedq

    embedq.start()                            # once, at start-up
    embedq.enqueue(send_mail, user.id)        # anywhere: any function and its arguments
"""


# -- the jobs ----------------------------------------------------------------------------------------------------------


def resize(photo: str) -> str:
    """Takes its time, and says how far it is."""
    steps = 24
    for step in range(1, steps + 1):
        time.sleep(0.1)
        current_job().progress(step / steps, f"tile {step} of {steps}")
    return f"small-{photo}"


def publish(photo: str) -> str:
    """Continues `resize`."""
    time.sleep(0.3)
    return f"https://example.com/{photo}"


def charge(order: int) -> str:
    """Fails twice."""
    time.sleep(0.3)
    attempt = current_job().attempt
    if attempt < 3:
        raise ConnectionError("the bank does not answer")
    return f"order {order} paid at attempt {attempt}"


def remind(user: str) -> str:
    """Runs later."""
    return f"reminded {user}"


def pulse() -> None:
    """Runs again and again."""


# -- the show ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One line of the show."""

    title: str
    call: str
    handle: JobHandle


@click.command()
@shared_options
@pass_session
def demo(session: Session) -> None:
    """Watch a queue at work: a few seconds, on a temporary database, with nothing to install."""
    with tempfile.TemporaryDirectory(prefix="embedq-demo-") as folder, _quiet():
        app = EmbedQ(Path(folder) / "demo.db", workers=4, stop_timeout=5)
        if not session.json:
            say(bold("embedq demo"))
            say(INTRO)
        began = time.monotonic()
        try:
            parts = _enqueue(app.start())
            _watch(app, parts, _board(session), began)
            document = _document(app, parts, time.monotonic() - began)
        except BaseException:
            # Most likely Ctrl-C: whoever presses it does not want to see the rest.
            app.stop(timeout=0)
            raise
        finally:
            app.close()
    if session.json:
        session.emit(document)
    elif document["ok"]:
        say(f"\n{bold('Done.')} What you saw, in {duration(document['seconds'])}:\n\n{OUTRO}\n{SNIPPET}".rstrip())
    if not document["ok"]:
        raise CommandError(f"not everything had ended after {PATIENCE_SECONDS} s; is this machine very busy?")


def _enqueue(app: EmbedQ) -> list[Part]:
    def task(function: Any, **options: Any) -> Any:
        return app.job(name=function.__name__, **options)(function)

    import tenacity

    pulsing = task(pulse)
    app.recurring("pulse", every(seconds=1), pulsing)
    resized = task(resize).enqueue("cat.jpg")
    charging = task(charge, retry=Retry(attempts=5, wait=tenacity.wait_fixed(1)))
    return [
        Part("fire and forget", 'resize("cat.jpg")', resized),
        Part("continuation", "publish(its result)", resized.then(task(publish), _parent_result())),
        Part("retry", "charge(42)", charging.enqueue(42)),
        Part("delayed", 'remind("ada")', task(remind).enqueue_in(4, "ada")),
    ]


def _parent_result() -> Any:
    from embedq.serializers import PARENT_RESULT

    return PARENT_RESULT


def _watch(app: EmbedQ, parts: Sequence[Part], board: Board, began: float) -> None:
    with board:
        while True:
            pulses = _pulses(app)
            lines = [_line(part, app) for part in parts]
            every_second = click.style("every 1 s", fg="cyan")
            lines.append(Line("recurring", "pulse()", every_second, " ".join("●" * pulses), stage=pulses))
            board.draw(lines)
            done = pulses >= PULSES and all(part.handle.state.ended for part in parts)
            if done or time.monotonic() - began > PATIENCE_SECONDS:
                return
            time.sleep(FRAME_SECONDS)


def _pulses(app: EmbedQ) -> int:
    return app.count_jobs(schedule="pulse", state=JobState.SUCCEEDED)


class Line(NamedTuple):
    """One line of the show, as text; `stage` changes when something has happened."""

    title: str
    call: str
    state: str
    said: str
    stage: object


def _line(part: Part, app: EmbedQ) -> Line:
    job = part.handle.snapshot()
    said = when(job, now_of(app))
    match job.state:
        case JobState.RUNNING:
            said = "" if job.progress is None else f"{bar(job.progress, 16)} {job.progress:4.0%}  {job.progress_note}"
        case JobState.RETRYING:
            said = f"again {said}  {remark(job) or ''}"
        case JobState.AWAITING:
            said = f"waits for job {job.parent_id}"
        case JobState.SUCCEEDED:
            said = readable_value(job.result or "null", limit=60)
        case JobState.DEAD:
            said = remark(job) or ""
    return Line(part.title, part.call, coloured(job.state), safe(said), stage=(job.state, job.attempt))


def _document(app: EmbedQ, parts: Sequence[Part], seconds: float) -> dict[str, Any]:
    jobs = [(part, part.handle.snapshot()) for part in parts]
    pulses = _pulses(app)
    return {
        "ok": pulses >= PULSES and all(job.state is JobState.SUCCEEDED for _, job in jobs),
        "seconds": round(seconds, 3),
        "jobs": [
            {"part": part.title, "name": job.name, "state": job.state, "attempts": job.attempt} for part, job in jobs
        ],
        "pulses": pulses,
    }


# -- on the screen -----------------------------------------------------------------------------------------------------


class Board:
    """Shows the lines as they change; this one shows nothing."""

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def draw(self, lines: Sequence[Line]) -> None:
        """Show how things are now."""


class Ticker(Board):
    """Where nothing can be redrawn: a line each time something has happened."""

    def __init__(self) -> None:
        self._stages: dict[str, object] = {}
        self._began = time.monotonic()

    def draw(self, lines: Sequence[Line]) -> None:
        for line in lines:
            if self._stages.get(line.title) != line.stage:
                self._stages[line.title] = line.stage
                say(f"  {time.monotonic() - self._began:4.1f} s  {_text(line, indent=10)}".rstrip())


class Screen(Board):
    """Redraws the lines in place."""

    def __init__(self) -> None:
        self._height = 0

    def __enter__(self) -> Board:
        click.echo("\x1b[?25l", nl=False)
        return self

    def __exit__(self, *exception: object) -> None:
        click.echo("\x1b[?25h", nl=False)

    def draw(self, lines: Sequence[Line]) -> None:
        back = f"\x1b[{self._height}A" if self._height else ""
        self._height = len(lines)
        click.echo(back + "\n".join(f"\x1b[2K  {_text(line, indent=2)}" for line in lines))


def _text(line: Line, *, indent: int) -> str:
    state = line.state + " " * (9 - len(click.unstyle(line.state)))
    before = f"{dim(f'{line.title:16}')} {line.call:19} {state}  "
    return before + clip(line.said, width() - indent - len(click.unstyle(before)))


def _board(session: Session) -> Board:
    if session.json:
        return Board()
    return Screen() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else Ticker()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings about failed attempts: they are on the board."""
    logger = logging.getLogger("embedq")
    handler = logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

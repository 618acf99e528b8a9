"""`embedq demo`: the main features of a queue, live, in a few seconds, on a temporary database."""

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
from embedq.cli.invocation import (
    CommandError,
    Invocation,
    bold,
    dim,
    now_of,
    pass_invocation,
    say,
    shared_options,
    width,
)
from embedq.cli.states import bar, coloured, remark, when
from embedq.cli.text import clip, duration, safe
from embedq.display.calls import readable_value
from embedq.job import JobState
from embedq.scheduling.schedule import every
from embedq.tasks.context import current_job
from embedq.tasks.handle import JobHandle
from embedq.tasks.retry import Retry

PULSES = 5
FRAME_SECONDS = 0.1
# It takes about six seconds; on a very busy machine longer.
TIMEOUT_SECONDS = 30

INTRO = """\
A queue in a SQLite file and 4 worker threads, all in this one process:
no broker, no second process.
"""
OUTRO = """\
  fire and forget  enqueue() returned when the call was on disk; a thread ran it
  continuation     publish() waited for resize() and got what it returned
  retry            charge() failed twice, and ran again until it worked
  delayed          remind() started when it was due, without polling
  recurring        pulse() runs once a second, however many processes there are
"""
SNIPPET = """\
In your application:

    import embedq

    embedq.start()                            # once, at start-up
    embedq.enqueue(send_mail, user.id)        # anywhere: any function and its arguments
"""


# -- the jobs ----------------------------------------------------------------------------------------------------------


def resize(photo: str) -> str:
    """Run for 2.4 seconds and report progress."""
    steps = 24
    for step in range(1, steps + 1):
        time.sleep(0.1)
        current_job().progress(step / steps, f"tile {step} of {steps}")
    return f"small-{photo}"


def publish(photo: str) -> str:
    """Run after `resize`."""
    time.sleep(0.3)
    return f"https://example.com/{photo}"


def charge(order: int) -> str:
    """Fail twice."""
    time.sleep(0.3)
    attempt = current_job().attempt
    if attempt < 3:
        raise ConnectionError("the bank does not respond")
    return f"order {order} paid at attempt {attempt}"


def remind(user: str) -> str:
    """Run later."""
    return f"reminded {user}"


def pulse() -> None:
    """Run every second."""


# -- the steps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DemoStep:
    """One feature: its title, its call, and its job."""

    title: str
    call: str
    handle: JobHandle


@click.command()
@shared_options
@pass_invocation
def demo(invocation: Invocation) -> None:
    """Watch a queue run for a few seconds, on a temporary database."""
    with tempfile.TemporaryDirectory(prefix="embedq-demo-") as folder, _quiet():
        app = EmbedQ(Path(folder) / "demo.db", workers=4, stop_timeout=5)
        if not invocation.json:
            say(bold("embedq demo"))
            say(INTRO)
        began = time.monotonic()
        try:
            steps = _enqueue(app.start())
            _watch(app, steps, _board(invocation), began)
            document = _document(app, steps, time.monotonic() - began)
        except BaseException:
            # Most likely Ctrl-C: stop at once.
            app.stop(timeout=0)
            raise
        finally:
            app.close()
    if invocation.json:
        invocation.emit(document)
    elif document["ok"]:
        say(f"\n{bold('Done.')} What you saw, in {duration(document['seconds'])}:\n\n{OUTRO}\n{SNIPPET}".rstrip())
    if not document["ok"]:
        raise CommandError(f"the demo did not finish within {TIMEOUT_SECONDS} s; is this machine very busy?")


def _enqueue(app: EmbedQ) -> list[DemoStep]:
    def task(function: Any, **options: Any) -> Any:
        return app.job(name=function.__name__, **options)(function)

    import tenacity

    pulsing = task(pulse)
    app.recurring("pulse", every(seconds=1), pulsing)
    resized = task(resize).enqueue("cat.jpg")
    charging = task(charge, retry=Retry(attempts=5, wait=tenacity.wait_fixed(1)))
    return [
        DemoStep("fire and forget", 'resize("cat.jpg")', resized),
        DemoStep("continuation", "publish(its result)", resized.then(task(publish), _parent_result())),
        DemoStep("retry", "charge(42)", charging.enqueue(42)),
        DemoStep("delayed", 'remind("ada")', task(remind).enqueue_in(4, "ada")),
    ]


def _parent_result() -> Any:
    from embedq.serializers import PARENT_RESULT

    return PARENT_RESULT


def _watch(app: EmbedQ, steps: Sequence[DemoStep], board: Board, began: float) -> None:
    with board:
        while True:
            pulses = _pulses(app)
            lines = [_line(step, app) for step in steps]
            every_second = click.style("every 1 s", fg="cyan")
            lines.append(DemoLine("recurring", "pulse()", every_second, " ".join("●" * pulses), stage=pulses))
            board.draw(lines)
            done = pulses >= PULSES and all(step.handle.state.ended for step in steps)
            if done or time.monotonic() - began > TIMEOUT_SECONDS:
                return
            time.sleep(FRAME_SECONDS)


def _pulses(app: EmbedQ) -> int:
    return app.count_jobs(schedule="pulse", state=JobState.SUCCEEDED)


class DemoLine(NamedTuple):
    """The state of a step as text; `stage` changes with every event."""

    title: str
    call: str
    state: str
    remark: str
    stage: object


def _line(step: DemoStep, app: EmbedQ) -> DemoLine:
    job = step.handle.snapshot()
    text = when(job, now_of(app))
    match job.state:
        case JobState.RUNNING:
            text = "" if job.progress is None else f"{bar(job.progress, 16)} {job.progress:4.0%}  {job.progress_note}"
        case JobState.RETRYING:
            text = f"again {text}  {remark(job) or ''}"
        case JobState.AWAITING:
            text = f"waits for job {job.parent_id}"
        case JobState.SUCCEEDED:
            text = readable_value(job.result or "null", limit=60)
        case JobState.DEAD:
            text = remark(job) or ""
    return DemoLine(step.title, step.call, coloured(job.state), safe(text), stage=(job.state, job.attempt))


def _document(app: EmbedQ, steps: Sequence[DemoStep], seconds: float) -> dict[str, Any]:
    jobs = [(step, step.handle.snapshot()) for step in steps]
    pulses = _pulses(app)
    return {
        "ok": pulses >= PULSES and all(job.state is JobState.SUCCEEDED for _, job in jobs),
        "seconds": round(seconds, 3),
        "jobs": [
            {"part": step.title, "name": job.name, "state": job.state, "attempts": job.attempt} for step, job in jobs
        ],
        "pulses": pulses,
    }


# -- output ------------------------------------------------------------------------------------------------------------


class Board:
    """Shows the lines as they change; this base class shows nothing."""

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def draw(self, lines: Sequence[DemoLine]) -> None:
        """Show the current lines."""


class Ticker(Board):
    """Prints a line for each event, for output that cannot be redrawn."""

    def __init__(self) -> None:
        self._stages: dict[str, object] = {}
        self._began = time.monotonic()

    def draw(self, lines: Sequence[DemoLine]) -> None:
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

    def draw(self, lines: Sequence[DemoLine]) -> None:
        back = f"\x1b[{self._height}A" if self._height else ""
        self._height = len(lines)
        click.echo(back + "\n".join(f"\x1b[2K  {_text(line, indent=2)}" for line in lines))


def _text(line: DemoLine, *, indent: int) -> str:
    state = line.state + " " * (9 - len(click.unstyle(line.state)))
    before = f"{dim(f'{line.title:16}')} {line.call:19} {state}  "
    return before + clip(line.remark, width() - indent - len(click.unstyle(before)))


def _board(invocation: Invocation) -> Board:
    if invocation.json:
        return Board()
    return Screen() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else Ticker()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings about failed attempts, which the board shows."""
    logger = logging.getLogger("embedq")
    handler = logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

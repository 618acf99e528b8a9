"""An application for `embedq worker --app tests.cli.sample_app:…`."""

from __future__ import annotations

import time
from pathlib import Path

import embedq
from embedq import EmbedQ, current_job

queue = EmbedQ("sqlite:///cli-app.db", workers=2, interrupt_grace=0.2, stop_timeout=20)


def make() -> EmbedQ:
    return queue


def make_nothing() -> int:
    return 0


class WebApp:
    """Callable, as a web framework's app is, and no EmbedQ."""

    def __call__(self, environ: object, start_response: object) -> None: ...


web = WebApp()


@embedq.job
def write(path: str, text: str) -> str:
    Path(path).write_text(text)
    print(f"wrote {text}")
    return text


@embedq.job
def until_stopped(started: str, ended: str) -> None:
    """Works on until the process is about to stop, and then a little longer."""
    Path(started).touch()
    job = current_job()
    while not job.stopping:
        time.sleep(0.01)
    time.sleep(0.2)
    Path(ended).touch()


@embedq.job
def stubborn(started: str) -> None:
    """One long call that no interrupt gets into."""
    Path(started).touch()
    time.sleep(60)


def unregistered(path: str) -> None:
    Path(path).touch()

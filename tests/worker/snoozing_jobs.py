"""Jobs that put themselves off, for each executor; processes of their own must be able to import them."""

from __future__ import annotations

import embedq


def in_a_thread() -> str:
    return _twice_later()


async def on_a_loop() -> str:
    return _twice_later()


def in_a_process() -> str:
    return _twice_later()


def forever() -> None:
    raise embedq.Snooze(0, at_most=2)


def _twice_later() -> str:
    # The claim grows with each run, in whatever process that is.
    job = embedq.current_job()
    if job.claim < 3:
        raise embedq.Snooze(0, at_most=2)
    return f"run {job.claim}, attempt {job.attempt}"

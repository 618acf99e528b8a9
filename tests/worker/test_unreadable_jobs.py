"""A job that cannot be read holds up no other: it is set aside, with the reason."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import embedq
from embedq import EmbedQ, JobState


@embedq.job
def number(value: int) -> int:
    return value


@pytest.mark.parametrize("queue", ["default", "mail"])
def test_a_damaged_job_among_many_is_set_aside_and_the_others_run(app: EmbedQ, tmp_path: Path, queue: str) -> None:
    handles = [app.enqueue(number.options(queue=queue), value) for value in range(40)]
    damaged = handles[23]
    then = damaged.then(number, 41, on="failure")
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    # Half a character, as a bad sector or another program may leave it.
    connection.execute("UPDATE embedq_jobs SET payload = CAST(x'5b5b22ff225d' AS TEXT) WHERE id = ?", (damaged.id,))
    connection.close()
    app.start()
    assert then.result(timeout=60) == 41
    for value, handle in enumerate(handles):
        if handle is not damaged:
            assert handle.result(timeout=60) == value
    assert damaged.state is JobState.DEAD
    [attempt] = damaged.attempts()
    assert attempt.error is not None
    assert "it cannot be read, and was set aside" in attempt.error
    # Nor does it keep anybody from looking at the others.
    assert len(app.jobs(limit=100)) == 41

"""A connect that fails half-way leaves nothing behind, and the next one does all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import embedq
from tests.databases import Home


def job() -> None: ...


def test_recurring_jobs_that_could_not_be_written_are_written_by_the_next_connect(
    home_of: Callable[[str], Home], tmp_path: Path
) -> None:
    home = home_of("sqlite")
    url = home.fresh(tmp_path)
    home.execute(
        url,
        """CREATE TRIGGER refuse BEFORE INSERT ON embedq_schedules WHEN NEW.name = 'second'
           BEGIN SELECT RAISE(ABORT, 'not now'); END""",
    )
    app = embedq.EmbedQ(url)
    for name in ("first", "second", "third"):
        app.recurring(name, "@daily", job)
    with pytest.raises(embedq.StorageError, match="not now"):
        app.start()
    assert not app.started
    assert not app.engine.connected

    home.execute(url, "DROP TRIGGER refuse")
    app.connect()
    assert [schedule.name for schedule in app.schedules()] == ["first", "second", "third"]
    app.close()

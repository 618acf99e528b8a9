"""The monitor as the app hands it out: keywords, the calendar, processes, and everything reachable at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from embedq import ConfigurationError, EmbedQ, JobState, every

NAIVE = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def nothing(number: int = 0) -> None: ...


def test_filters_are_keywords_and_a_wrong_one_is_named(app: EmbedQ) -> None:
    kept = app.options(queue="mail", tags=["vip"]).enqueue(nothing, 1)
    app.enqueue(nothing, 2)
    search = app.monitor.search
    assert [job.id for job in search(state=["ready", JobState.DEAD], queue="mail", tag="vip").jobs] == [kept.id]
    assert [job.id for job in search(argument="[[1").jobs] == [kept.id]
    assert str(app.monitor.count(state="ready")) == "2"
    assert [job.id for job in app.jobs(argument="[[1", created_to=datetime.now(UTC) + timedelta(hours=1))] == [kept.id]
    for wrong, message in (
        ({"colour": "red"}, "unknown filter colour"),
        ({"state": "tired"}, "must be one of"),
        ({"created_from": NAIVE}, "must be an aware datetime"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            search(**wrong)


def test_every_page_is_there_of_an_empty_queue(app: EmbedQ) -> None:
    monitor = app.monitor
    assert monitor.search().jobs == []
    assert not monitor.queues()
    assert not monitor.task_types()
    assert not monitor.servers()
    overview = monitor.overview()
    assert (overview.waits, overview.failures.groups, overview.schedules) == ([], [], [])
    assert {count.number for count in overview.counts.values()} == {0}
    assert monitor.history("week").totals.runs == 0
    assert monitor.task_type("nobody:knows").sampled == 0
    assert monitor.dead_letters().groups == monitor.failures().groups == []


def test_a_job_is_shown_with_all_that_belongs_to_it(app: EmbedQ) -> None:
    parent = app.enqueue(nothing)
    child = parent.then(nothing)
    found = app.monitor.job(child.id)
    assert [one.id for one in found.family.members] == [parent.id, child.id]
    assert (found.job.id, found.attempts, found.moments[0].what) == (child.id, [], "created")
    assert app.monitor.logs(child.id).lines == []
    assert app.monitor.stack(child.id) is None


def test_processes_are_shown_with_what_they_hold(app: EmbedQ) -> None:
    app.start()
    [only] = app.monitor.servers()
    assert (only.server.leader in (True, False), only.jobs) == (True, [])
    assert only.silent_seconds < 30


# -- the calendar ------------------------------------------------------------------------------------------------------


def test_the_calendar_shows_the_clock_of_each_schedule_across_a_change(app: EmbedQ) -> None:
    app.recurring("nightly", "30 2 * * *", nothing, timezone="Europe/Berlin")
    app.recurring("resting", "0 4 * * *", nothing)
    app.pause_recurring("resting")
    zone = ZoneInfo("Europe/Berlin")
    autumn = datetime.now(UTC).year + 1
    # The last Sunday of October: 02:30 is shown twice, and a fixed time runs the first time.
    sunday = datetime(autumn, 10, 31, tzinfo=zone)
    sunday -= timedelta(days=(sunday.weekday() + 1) % 7)
    found = app.monitor.calendar(sunday - timedelta(days=1), sunday + timedelta(days=2)).occurrences
    assert [coming.schedule for coming in found] == ["nightly"] * 3
    assert [(coming.local.hour, coming.local.minute) for coming in found] == [(2, 30)] * 3
    assert [coming.at.hour for coming in found] == [0, 0, 1]
    assert found[1].local.fold == 0


def test_a_dense_schedule_does_not_fill_the_calendar(app: EmbedQ) -> None:
    app.recurring("often", every(minutes=1), nothing)
    start = datetime.now(UTC) + timedelta(days=1)
    found = app.monitor.calendar(start, start + timedelta(days=1), each=5)
    assert len(found.occurrences) == 5
    assert found.dense["often"] - found.occurrences[-1].at == timedelta(minutes=1)
    with pytest.raises(ConfigurationError, match="must not be before"):
        app.monitor.calendar(start, start - timedelta(days=1))
    with pytest.raises(ConfigurationError, match="aware"):
        app.monitor.calendar(NAIVE, start)

"""Recurring jobs through the app, with the leader's rounds taken one by one and a clock that stands still between."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import ConfigurationError, EmbedQ, JobState, ScheduleError, ScheduleNotFoundError, every
from embedq.clock import to_datetime
from embedq.maintenance.leader import Leader
from embedq.observability.outage import Outage
from embedq.process.registration import Registration
from tests.support import FakeClock, eventually

ran: list[object] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


def pulse(what: str = "pulse") -> None:
    ran.append(what)


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[EmbedQ]:
    """Connected and not started: nothing happens but what a test's own leader does. It is noon on 1 June 2026, UTC."""
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", clock=clock).connect()
    yield app
    app.close()


def leader_of(app: EmbedQ, server_id: int = 1, fired: Callable[[], None] = lambda: None) -> Leader:
    return Leader(
        settings=app.settings,
        clock=app.clock,
        database=app.database,
        registration=Registration(server_id),
        fired=fired,
        outage=Outage(running=lambda: 0, waiting=lambda: 0),
    )


@pytest.fixture
def leader(app: EmbedQ) -> Leader:
    return leader_of(app)


def fired(app: EmbedQ, name: str = "pulse") -> list[str]:
    """When the jobs of a schedule were due, oldest first."""
    return [f"{job.run_at:%d %H:%M:%S}" for job in reversed(app.jobs(schedule=name, limit=1000))]


def ledger(app: EmbedQ, name: str = "pulse") -> list[tuple[str, str, int]]:
    return [(f"{line.fire_at:%d %H:%M}", line.outcome, line.count) for line in reversed(app.occurrences(name))]


# -- adding ------------------------------------------------------------------------------------------------------------


def test_a_recurring_job_is_there_with_its_next_occurrence(app: EmbedQ, clock: FakeClock) -> None:
    @app.job(name="clean", queue="low")
    def clean() -> None: ...

    app.recurring("cleanup", "0 2 * * *", clean, timezone="Europe/Berlin", misfire="skip")
    app.recurring("pulse", every(seconds=30), pulse, "hello")
    cleanup, beat = app.schedules()
    assert (cleanup.name, cleanup.task, cleanup.queue, cleanup.paused) == ("cleanup", "clean", "low", False)
    assert cleanup.next_fire_at == datetime(2026, 6, 2, 0, 0, tzinfo=UTC)
    assert cleanup.when == embedq.Cron("0 2 * * *", timezone="Europe/Berlin")
    assert cleanup.misfire == embedq.Misfire(policy="skip")
    assert beat.next_fire_at == to_datetime(clock.now()) + timedelta(seconds=30)


def test_a_recurring_job_that_is_given_before_the_app_is_connected_is_remembered(
    tmp_path: Path, clock: FakeClock
) -> None:
    app = EmbedQ(f"sqlite:///{tmp_path}/app.db", clock=clock)
    app.recurring("pulse", every(minutes=1), pulse)
    with pytest.raises(ScheduleError):
        app.recurring("never", "0 0 30 2 *", pulse)
    app.connect()
    assert [schedule.name for schedule in app.schedules()] == ["pulse"]
    app.close()


@pytest.mark.parametrize(
    ("when", "options", "error"),
    [
        ("* * *", {}, ScheduleError),
        ("61 * * * *", {}, ScheduleError),
        ("0 0 31 2 *", {}, ScheduleError),
        (timedelta(0), {}, ScheduleError),
        ("@daily", {"timezone": "Mars/Olympus"}, ScheduleError),
        ("@daily", {"misfire": "whenever"}, ScheduleError),
        ("@daily", {"misfire": "once", "grace": timedelta(-1)}, ScheduleError),
    ],
)
def test_a_schedule_that_can_never_work_is_refused_at_once(
    app: EmbedQ, when: str | timedelta, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        app.recurring("pulse", when, pulse, **options)
    assert app.schedules() == []


def test_a_recurring_job_has_a_name_and_no_idempotency_key(app: EmbedQ) -> None:
    with pytest.raises(ConfigurationError, match="1 to 255 characters"):
        app.recurring("", "@daily", pulse)
    with pytest.raises(ConfigurationError, match="each occurrence is a new job"):
        app.recurring("pulse", "@daily", app.options(idempotency_key="k").task(pulse))
    with pytest.raises(embedq.SignatureError):
        app.recurring("pulse", "@daily", pulse, 1, 2, 3)  # type: ignore[call-overload]


def test_every_start_may_say_it_again_without_moving_the_next_occurrence(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    app.recurring("pulse", every(minutes=10), pulse, overlap="allow")
    clock.advance(minutes=9)
    app.recurring("pulse", every(minutes=10), pulse, overlap="allow")
    clock.advance(minutes=1)
    leader.step()
    assert fired(app) == ["01 12:10:00"]
    app.recurring("pulse", every(minutes=10), pulse, "other words", overlap="allow")
    clock.advance(minutes=10)
    leader.step()
    assert fired(app) == ["01 12:10:00", "01 12:20:00"]
    assert app.jobs(schedule="pulse")[0].arguments == '[["other words"],{}]'


# -- firing ------------------------------------------------------------------------------------------------------------


def test_an_occurrence_becomes_a_job_at_its_time(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", every(seconds=30), pulse)
    assert leader.step() == 1.0
    clock.advance(seconds=29.5)
    assert leader.step() == 0.5
    assert fired(app) == []
    clock.advance(seconds=0.5)
    leader.step()
    leader.step()
    assert fired(app) == ["01 12:00:30"]
    [schedule] = app.schedules()
    assert schedule.last_fire_at == to_datetime(clock.now())
    assert schedule.last_job_id == app.jobs(schedule="pulse")[0].id


def test_an_occurrences_job_has_the_tasks_options_and_expires_from_its_own_time(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    wanted = app.options(queue="low", priority=3, tags=["t"], expires_in=20, timeout=9).task(pulse)
    app.recurring("pulse", every(minutes=1), wanted, "hi")
    clock.advance(seconds=65)
    leader.step()
    [job] = app.jobs(schedule="pulse")
    assert (job.queue, job.priority, job.tags, job.arguments) == ("low", 3, ("t",), '[["hi"],{}]')
    assert job.expires_at == job.run_at + timedelta(seconds=20)
    assert f"{job.run_at:%H:%M:%S}" == "12:01:00"


def test_a_lambda_may_recur(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", every(minutes=1), lambda: 42)
    clock.advance(minutes=1)
    leader.step()
    [job] = app.jobs(schedule="pulse")
    app.start()
    assert app.job(job.id).result(10) == 42


def test_a_started_app_fires_and_runs_them(tmp_path: Path) -> None:
    with EmbedQ(f"sqlite:///{tmp_path}/app.db").start() as app:
        app.recurring("pulse", every(seconds=0.2), pulse)
        eventually(lambda: len(ran) >= 3)
        app.remove_recurring("pulse")
    app.close()


def test_two_leaders_at_once_enqueue_each_occurrence_once(app: EmbedQ, clock: FakeClock) -> None:
    """Both believe that they lead: the lease is only there to save work."""
    app.recurring("pulse", every(minutes=1), pulse, overlap="allow")
    one, other = leader_of(app, 1), leader_of(app, 2)
    for _ in range(5):
        clock.advance(minutes=1)
        for leader in (one, other):
            leader.step()
            app.database.write(lambda tx: tx.run("drop_leases", (1,)) + tx.run("drop_leases", (2,)))
    assert one.leading
    assert len(fired(app)) == len(set(fired(app))) == 5


def test_only_the_holder_of_the_lease_works(app: EmbedQ, clock: FakeClock) -> None:
    app.recurring("pulse", every(seconds=1), pulse, overlap="allow")
    one, other = leader_of(app, 1), leader_of(app, 2)
    one.step()
    other.step()
    assert (one.leading, other.leading) == (True, False)
    clock.advance(seconds=1)
    other.step()
    assert fired(app) == []
    one.stop()
    other.step()
    assert other.leading
    assert fired(app) == ["01 12:00:01"]


# -- nobody was there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected", "passed"),
    [
        ("once", ["01 15:00:00"], 2),
        ("skip", ["01 15:00:00"], 2),
        ("all", ["01 13:00:00", "01 14:00:00", "01 15:00:00"], 0),
        (embedq.catch_up(2), ["01 14:00:00", "01 15:00:00"], 1),
        (embedq.Misfire(policy="once", grace=timedelta(seconds=10)), [], 3),
    ],
)
def test_what_was_missed_follows_the_policy_and_the_ledger_accounts_for_all(
    app: EmbedQ, leader: Leader, clock: FakeClock, policy: str | embedq.Misfire, expected: list[str], passed: int
) -> None:
    app.recurring("pulse", "0 * * * *", pulse, misfire=policy, overlap="allow")
    clock.advance(hours=3, seconds=30)
    leader.step()
    assert fired(app) == expected
    lines = app.occurrences("pulse")
    assert sum(line.count for line in lines if line.outcome == "passed") == passed
    assert sum(line.count for line in lines) == 3
    assert all(line.reason for line in lines if line.outcome == "passed")
    clock.advance(minutes=59, seconds=30)
    leader.step()
    assert fired(app) == [*expected, "01 16:00:00"]


def test_a_year_of_downtime_is_dealt_with_at_once(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("often", every(seconds=1), pulse)
    app.recurring("all", "* * * * *", pulse, misfire="all")
    clock.advance(days=365)
    leader.step()
    assert len(fired(app, "often")) == 1
    assert len(fired(app, "all")) == 100
    assert all(schedule.next_fire_at > to_datetime(clock.now()) for schedule in app.schedules())


def test_a_clock_that_steps_back_repeats_no_occurrence(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", every(minutes=1), pulse, overlap="allow")
    clock.advance(minutes=1)
    leader.step()
    clock.advance(minutes=-10)
    for _ in range(11):
        leader.step()
        clock.advance(minutes=1)
    leader.step()
    assert fired(app) == ["01 12:01:00", "01 12:02:00"]


# -- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["{not json", "[]", "null", "{}"])
def test_a_damaged_schedule_is_listed_with_the_others(app: EmbedQ, tmp_path: Path, template: str) -> None:
    app.recurring("broken", "@daily", pulse)
    app.recurring("pulse", "@hourly", pulse)
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    connection.execute("UPDATE embedq_schedules SET template = ? WHERE name = 'broken'", (template,))
    connection.close()
    broken, sound = app.schedules()
    assert (broken.name, broken.queue, broken.task) == ("broken", None, sound.task)
    assert "what it enqueues cannot be read; register it again" in str(broken.error)
    assert (sound.queue, sound.error) == ("default", None)
    app.recurring("broken", "@daily", pulse)
    assert [(schedule.queue, schedule.error) for schedule in app.schedules()] == [("default", None)] * 2


def test_a_schedule_whose_turn_fails_is_tried_again_and_keeps_its_occurrence_while_others_fire(
    app: EmbedQ, leader: Leader, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.recurring("broken", "*/10 * * * *", pulse)
    app.recurring("pulse", "*/10 * * * *", pulse)
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    [template] = connection.execute("SELECT template FROM embedq_schedules WHERE name = 'broken'").fetchone()
    # As a newer version might have left it.
    connection.execute("""UPDATE embedq_schedules SET template = '{"queue":"q","mood":"new"}' WHERE name = 'broken'""")
    clock.advance(minutes=10)
    leader.step()
    assert fired(app) == ["01 12:10:00"]
    broken, sound = app.schedules()
    assert broken.error is not None
    assert broken.error.startswith("KeyError: ")
    assert sound.error is None
    assert f"{broken.next_fire_at:%H:%M}" == "12:10"
    assert "recurring job 'broken' could not fire" in caplog.text
    clock.advance(seconds=19)
    leader.step()
    assert caplog.text.count("could not fire") == 1
    clock.advance(seconds=1)
    leader.step()
    assert caplog.text.count("could not fire") == 2
    connection.execute("UPDATE embedq_schedules SET template = ? WHERE name = 'broken'", (template,))
    connection.close()
    clock.advance(seconds=20)
    leader.step()
    assert fired(app, "broken") == ["01 12:10:00"]
    assert app.schedules()[0].error is None


def test_a_schedule_that_this_version_cannot_read_is_listed_and_stops_no_other(
    app: EmbedQ, leader: Leader, clock: FakeClock, tmp_path: Path
) -> None:
    app.recurring("a newer kind", every(minutes=1), pulse)
    app.recurring("pulse", every(minutes=1), pulse)
    connection = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    connection.execute("""UPDATE embedq_schedules SET spec = '{"lunar":"full"}' WHERE name = 'a newer kind'""")
    connection.close()
    clock.advance(minutes=1)
    leader.step()
    assert fired(app) == ["01 12:01:00"]
    newer, _ = app.schedules()
    assert (newer.when, newer.next_fire_at) == (None, to_datetime(clock.now()))
    assert newer.error is not None


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_a_recurring_job_is_run_by_hand_beside_its_schedule(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", "0 * * * *", pulse, "by hand")
    app.start()
    handle = app.trigger_recurring("pulse")
    assert handle.wait(10) is JobState.SUCCEEDED
    assert ran == ["by hand"]
    assert ledger(app) == [("01 12:00", "triggered", 1)]
    assert f"{app.schedules()[0].next_fire_at:%H:%M}" == "13:00"


def test_a_paused_schedule_rests_and_continues_from_its_next_occurrence(
    app: EmbedQ, leader: Leader, clock: FakeClock
) -> None:
    app.recurring("pulse", "0 * * * *", pulse, misfire="all")
    app.pause_recurring("pulse")
    assert app.schedules()[0].paused
    clock.advance(hours=5)
    leader.step()
    assert fired(app) == []
    app.resume_recurring("pulse")
    assert not app.schedules()[0].paused
    leader.step()
    assert fired(app) == []
    clock.advance(hours=1)
    leader.step()
    assert fired(app) == ["01 18:00:00"]


def test_a_pause_outlasts_a_restart_that_puts_the_schedule_again(app: EmbedQ) -> None:
    app.recurring("pulse", "0 * * * *", pulse)
    app.pause_recurring("pulse")
    app.recurring("pulse", "0 * * * *", pulse)
    app.recurring("pulse", "5 * * * *", pulse)
    assert app.schedules()[0].paused


def test_a_removed_schedule_fires_no_more_and_its_jobs_stay(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.recurring("pulse", every(minutes=1), pulse)
    clock.advance(minutes=1)
    leader.step()
    app.remove_recurring("pulse")
    clock.advance(minutes=5)
    leader.step()
    assert app.schedules() == []
    assert fired(app) == ["01 12:01:00"]
    assert ledger(app) == [("01 12:01", "enqueued", 1)]


def test_what_is_asked_of_a_schedule_that_is_not_there_names_it(app: EmbedQ) -> None:
    for verb in (app.trigger_recurring, app.pause_recurring, app.resume_recurring, app.remove_recurring):
        with pytest.raises(ScheduleNotFoundError, match="'nightly'"):
            verb("nightly")


# -- upkeep ------------------------------------------------------------------------------------------------------------


def test_the_leader_prunes_what_has_been_kept_long_enough(app: EmbedQ, leader: Leader, clock: FakeClock) -> None:
    app.start()
    old = [app.enqueue(pulse) for _ in range(3)]
    for handle in old:
        assert handle.wait(10) is JobState.SUCCEEDED
    app.stop()
    app.enqueue(pulse)
    clock.advance(days=1, seconds=1)
    leader.step()
    with pytest.raises(embedq.JobNotFoundError, match="may have been pruned"):
        _ = old[0].state
    assert len(app.jobs()) == 1

"""Damaged rows stop nothing: the jobs beside them run, and what can be done with them is done once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from embedq import EmbedQ, JobStateError, every
from embedq.cli import main
from tests.databases import Home
from tests.support import cli_runner, eventually

FAR, EARLY, LATE = 9_223_372_036_854_775_807, -9_223_372_036_854_775_808, 300_000_000_000_000_000
WAITING = [
    "payload = '[['", "payload = '5'", "payload = ''", "payload = '[1, 2, 3]'", "code = '{'", "code = '5'",
    "options = '{'", "options = '5'", "options = '{\"timeout\": \"x\"}'", "options = '{\"retry\": 5}'",
    "options = '{\"retention\": 7}'", "options = '{\"meta\": 5}'", "options = '{\"timeout\": 1e999}'", "tags = '{'",
    "tags = '5'", "executor = 'rotten'", f"run_at = {EARLY}", f"run_at = {FAR}", f"created_at = {EARLY}",
    f"expires_at = {EARLY}", f"expires_at = {FAR}", f"first_started_at = {EARLY}", f"first_started_at = {FAR}",
    "attempt = -5", "attempt = 2147483646", "crashes = -5", "priority = 2147483647", "parent_id = id", "name = ''",
    f"server_id = {FAR}", "queue = ''", f"cancel_requested_at = {FAR}", f"overdue_at = {EARLY}",
]  # fmt: skip


@pytest.fixture
def app(home: Home, tmp_path: Path) -> Iterator[EmbedQ]:
    """Without the trigger of the other tests, which refuses states that are none."""
    with closing(EmbedQ(home.missing(tmp_path, "damaged"), stop_timeout=5, workers=3).connect()) as app:
        yield app
        app.stop(timeout=5)


def alive() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("embedq-")}


def test_jobs_run_beside_damaged_ones(app: EmbedQ, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    url = app.settings.url
    mysql = url.startswith("mysql")

    @app.job(name="t:work")
    def work(n: int) -> int:
        if n < 0:
            raise ValueError("bad")
        return n

    for damage in WAITING:
        for n in (1, -1):
            job = work.enqueue(n)
            home.execute(url, f"UPDATE embedq_jobs SET {damage} WHERE id = {job.id}")
    parents = [work.enqueue(n) for n in (1, 2, 3)]
    children = [parent.then(work, 4, on=on) for parent in parents for on in ("success", "finished")]
    trigger = "`trigger`" if mysql else '"trigger"'
    for child, value in zip(children, ("'rotten'", "NULL", "''", "'success'", "'rotten'", "NULL"), strict=True):
        home.execute(url, f"UPDATE embedq_jobs SET {trigger} = {value} WHERE id = {child.id}")
    for state in ("rotten", ""):
        home.execute(url, f"UPDATE embedq_jobs SET state = '{state}' WHERE id = {work.enqueue(5).id}")
    home.execute(url, f"UPDATE embedq_jobs SET state = 'running' WHERE id = {work.enqueue(6).id}")
    home.execute(url, f"UPDATE embedq_jobs SET state = 'running', server_id = 4711 WHERE id = {work.enqueue(6).id}")
    for name, damage in (("a", "spec = '{'"), ("b", "template = '['"), ("c", f"next_fire_at = {EARLY}"),
                         ("d", "misfire = '{'"), ("e", f"next_fire_at = {FAR}")):  # fmt: skip
        app.recurring(name, every(seconds=1), work, 7)
        home.execute(url, f"UPDATE embedq_schedules SET {damage}, due_at = 5 WHERE name = '{name}'")
    app.recurring("sound", every(seconds=0.5), work, 8)
    home.execute(
        url,
        "INSERT INTO embedq_servers (uuid, host, hostname, pid, version, workers, queues, started_at, heartbeat_at) "
        f"VALUES ('u', 'h', 'host', 1, '0', 1, '{{', {EARLY}, {EARLY})",
    )
    app.start()
    threads = alive()
    healthy = [work.enqueue(n) for n in range(20)]
    for job in healthy:
        assert job.wait(timeout=60) == "succeeded"
    eventually(lambda: app.jobs(schedule="sound", state="succeeded"), seconds=30)
    # Counters near the end of what an integer holds are added to, all the same.
    for total in (FAR, EARLY):
        home.execute(
            url,
            f"UPDATE embedq_counters SET jobs = {total}, ran_us = {total}, waited_us = {total}, cpu_us = {total}",
        )
        for job in [work.enqueue(9) for _ in range(3)]:
            assert job.wait(timeout=30) == "succeeded"
    assert threads <= alive(), (sorted(threads), sorted(alive()))
    assert "thread failed" not in caplog.text
    # Nothing is tried without end: what cannot run has a reason, and is not taken again at once.
    lines = len(caplog.records)
    assert lines < 2_000, caplog.text[-2_000:]
    assert {child.state for child in children} <= {"cancelled", "succeeded"}
    app.stats()
    done = cli_runner().invoke(main, ["--url", url, "doctor"])
    assert done.exit_code in (0, 1), (done.output, done.exception)


def test_what_is_done_to_many_meets_damaged_ones_once(app: EmbedQ, home: Home) -> None:
    url = app.settings.url
    task = app.job(name="t:print")(print)
    jobs = [task.enqueue_in(3600, n) for n in range(6)]
    for job, damage in zip(jobs, (f"run_at = {FAR}", f"run_at = {EARLY}", "options = '{'", "tags = '{'", "payload = ''",
                                  "state = 'rotten'"), strict=True):  # fmt: skip
        home.execute(url, f"UPDATE embedq_jobs SET {damage} WHERE id = {job.id}")
    app.actions.move(actor="ada", to_queue="low", ids=[job.id for job in jobs])
    assert app.actions.wait(app.actions.cancel(actor="ada", state="scheduled").id, timeout=30).changed == 5
    assert app.actions.wait(app.actions.retry(actor="ada", state="cancelled").id, timeout=30).changed == 5
    with pytest.raises(JobStateError, match="its row is damaged"):
        jobs[-1].retry()
    assert jobs[-1].state == "rotten"
    assert jobs[-1].snapshot().damaged == ("state",)


@pytest.mark.parametrize("search", ["{", "5", "{}", '{"x": 1}', '{"states": ["rotten"]}'])
def test_an_action_whose_search_is_damaged_does_nothing(app: EmbedQ, home: Home, search: str) -> None:
    task = app.job(name="t:print")(print)
    jobs = [task.enqueue_in(3600, n) for n in range(3)]
    action = app.actions.wait(app.actions.cancel(actor="ada", state="parked").id, timeout=30)
    home.execute(
        app.settings.url, f"UPDATE embedq_actions SET state = 'stopped', search = '{search}', finished_at = NULL"
    )
    try:
        resumed = app.actions.resume(action.id)
    except JobStateError:
        pass
    else:
        assert app.actions.wait(resumed.id, timeout=30).state == "failed"
    assert {job.state for job in jobs} == {"scheduled"}


def test_damaged_rows_are_copied_or_refused_with_the_reason(app: EmbedQ, home: Home, tmp_path: Path) -> None:
    url = app.settings.url
    task = app.job(name="t:print")(print)
    for damage in (f"run_at = {EARLY}", "payload = '[['", "options = '{'", "tags = '{'", "state = 'rotten'"):
        home.execute(url, f"UPDATE embedq_jobs SET {damage} WHERE id = {task.enqueue_in(60, 1).id}")
    target = f"sqlite:///{tmp_path}/target.db"
    done = cli_runner().invoke(main, ["copy", url, target])
    assert done.exit_code in (0, 1), (done.output, done.exception)
    assert "Traceback" not in done.output
    if done.exit_code == 0:
        with closing(EmbedQ(target).connect()) as copied:
            assert copied.count_jobs() == app.count_jobs()

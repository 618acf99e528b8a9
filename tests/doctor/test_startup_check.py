"""What a process says in its log soon after it has started, and what it does not."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from embedq import EmbedQ, JobState, every
from embedq.clock import SECOND, SystemClock
from embedq.doctor import same_app
from embedq.maintenance import leader
from embedq.storage.sqlite import failures
from embedq.tasks.registry import REGISTRY
from tests.databases import SQLiteHome
from tests.doctor.test_doctor import doctor, linux
from tests.support import Child, FakeClock, eventually

# An app in a file of its own, as its folder has it, that runs jobs until its input ends.
APP = """
    import logging, os, sys
    import embedq
    from embedq.maintenance import leader
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
    leader.SETTLED_SECONDS = 0.0
    sys.path.insert(0, os.getcwd())
    queue = embedq.EmbedQ(sys.argv[1], workers=2, **eval(sys.argv[2]))
    import shop
    if hasattr(shop, "declare"):
        shop.declare(queue)
    queue.start()
    folder = queue.database.folder / "servers"
    while not any(folder.glob("*.code")):
        pass
    print("ready")
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It does not wait for others to start."""
    monkeypatch.setattr(leader, "SETTLED_SECONDS", 0.0)
    caplog.set_level(logging.WARNING, logger="embedq")


@pytest.fixture
def children() -> Iterator[list[Child]]:
    found: list[Child] = []
    yield found
    for child in found:
        child.kill()


def run_app(children: list[Child], app: EmbedQ, folder: Path, **settings: object) -> Child:
    """Run the app in that folder; what it logs comes before "ready" or at its end."""
    child = Child(APP, app.settings.url, settings, cwd=folder)
    children.append(child)
    return child


def ready(child: Child) -> None:
    assert child.read_line() == "ready"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings, but for those of a job that is parked now."""
    return [text for record in caplog.records if "What to do:" in (text := record.getMessage())]


def says(caplog: pytest.LogCaptureFixture, code: str) -> str:
    eventually(lambda: any(f"({code}" in text for text in said(caplog)), message=f"{code} is not in {caplog.text}")
    [text] = [text for text in said(caplog) if f"({code}" in text]
    return text


def looked(app: EmbedQ) -> bool:
    """Whether it looks around; at its stop it has."""
    assert app.engine.runtime is not None
    return (app.database.folder / "servers" / f"{app.engine.runtime.membership.presence.uuid}.code").exists()


def nothing() -> None:
    pass


def park(app: EmbedQ) -> None:
    """Leave a job that is parked for want of a function, and stop."""
    gone = app.job(name="shop.gone")(nothing)
    parked = gone.enqueue()
    del REGISTRY._by_name["shop.gone"]
    with app.start():
        eventually(lambda: parked.state is JobState.PARKED)


# -- each thing that is said -------------------------------------------------------------------------------------------


def test_a_newest_job_from_the_future(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    tomorrow = FakeClock(SystemClock().now() + 24 * 3600 * SECOND)
    with closing(EmbedQ(app.settings.url, clock=tomorrow).connect()) as ahead:
        ahead.enqueue_in(60, nothing)
    app.start()
    assert "this clock was set back, or another was ahead. What to do: " in says(caplog, "clock-set-back")


@linux
def test_a_process_that_was_stopped(
    app: EmbedQ, children: list[Child], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "shop.py").touch()
    child = run_app(children, app, tmp_path)
    ready(child)
    child.process.send_signal(signal.SIGSTOP)
    app.start()
    assert f"kill -CONT {child.process.pid}" in says(caplog, "process-stopped")


def test_a_process_that_is_silent(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    with EmbedQ(app.settings.url).start() as silent:
        eventually(lambda: looked(silent))
        SQLiteHome().execute(app.settings.url, f"UPDATE embedq_servers SET heartbeat_at = heartbeat_at - {60 * SECOND}")
        app.start()
        assert "has sent no heartbeat for 1 min, and is not dead" in says(caplog, "process-silent")


def test_parked_jobs_that_this_process_cannot_run(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    park(app)
    caplog.clear()
    app.start()
    text = says(caplog, "jobs-parked")
    assert "1 job parked: task shop.gone is required, which this process does not have" in text
    assert "aliases=" in text


def test_parked_jobs_do_not_concern_a_process_that_works_other_queues_or_has_what_they_need(
    app: EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    park(app)
    caplog.clear()
    with EmbedQ(app.settings.url, queues=["mail"]).start() as elsewhere:
        eventually(lambda: looked(elsewhere))
    app.job(name="shop.gone")(nothing)
    app.start()
    eventually(lambda: looked(app))
    app.stop()
    assert said(caplog) == []


def test_a_network_filesystem_that_was_accepted(
    app: EmbedQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(failures, "filesystem", lambda path, *rest: "nfs4")
    with EmbedQ(app.settings.url, allow_network_filesystem=True).start():
        assert "the file is on a network file system (nfs4)" in says(caplog, "network-filesystem")


def two_folders(tmp_path: Path, *, first: str, second: str) -> tuple[Path, Path]:
    """Two folders, each with the module `shop`."""
    for name, source in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.py").write_text(source, encoding="utf-8")
    return tmp_path / "a", tmp_path / "b"


def test_two_apps_on_one_database_are_told_by_the_second_and_by_the_doctor(
    app: EmbedQ, children: list[Child], tmp_path: Path
) -> None:
    a, b = two_folders(tmp_path, first="def clean(): 'a'", second="def clean(): 'b'")
    ready(run_app(children, app, a))
    second = run_app(children, app, b)
    eventually(lambda: len(list((app.database.folder / "servers").glob("*.code"))) == 2)
    found = doctor(app.settings.url).about("two-apps")
    assert found["severity"] == "warning"
    assert [f"with code in {folder}" in detail for folder, detail in zip((a, b), found["details"], strict=True)] == [
        True,
        True,
    ]
    told = second.finish()
    assert told.count("(two-apps: ") == 1
    assert "give each app its own database" in told


def test_apps_with_queues_of_their_own_share_a_database_on_purpose(
    app: EmbedQ, children: list[Child], tmp_path: Path
) -> None:
    a, b = two_folders(tmp_path, first="def clean(): 'a'", second="def clean(): 'b'")
    ready(run_app(children, app, a, queues=["a"]))
    second = run_app(children, app, b, queues=["b"])
    eventually(lambda: len(list((app.database.folder / "servers").glob("*.code"))) == 2)
    assert "two-apps" not in doctor(app.settings.url).codes
    assert "two-apps" not in second.finish()


DECLARING = """
import embedq
def {function}(): pass
def declare(queue):
    queue.recurring("clean", embedq.every(seconds=3600), {function})
"""


def test_a_recurring_job_that_another_app_takes_over_is_reported_as_it_is_registered(
    app: EmbedQ, children: list[Child], tmp_path: Path
) -> None:
    a, b = two_folders(
        tmp_path, first=DECLARING.format(function="clean_a"), second=DECLARING.format(function="clean_b")
    )
    ready(run_app(children, app, a))
    second = run_app(children, app, b)
    line = second.read_line()
    assert "'clean' ran shop:clean_a, and from now on runs shop:clean_b; but processes of another app" in line
    assert f"with code in {a}" in line


# -- and when nothing is said ------------------------------------------------------------------------------------------


def test_a_first_process_and_others_that_start_with_it_say_nothing(
    app: EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    app.recurring("tick", every(seconds=1), nothing)
    with ExitStack() as stack:
        started = [stack.enter_context(EmbedQ(app.settings.url).start()) for _ in range(4)]
        app.enqueue(nothing).wait(10)
        eventually(lambda: all(map(looked, started)))
    assert said(caplog) == []


def test_of_many_processes_that_start_together_one_speaks(app: EmbedQ, caplog: pytest.LogCaptureFixture) -> None:
    park(app)
    caplog.clear()
    with ExitStack() as stack:
        started = [stack.enter_context(EmbedQ(app.settings.url).start()) for _ in range(4)]
        eventually(lambda: all(map(looked, started)))
        says(caplog, "jobs-parked")
    assert len(said(caplog)) == 1


def test_a_deployment_into_a_new_folder_that_renames_a_function_reports_nothing(
    app: EmbedQ, children: list[Child], tmp_path: Path
) -> None:
    old, new = two_folders(tmp_path, first=DECLARING.format(function="clean"), second=DECLARING.format(function="tidy"))
    for folder in (old, new):
        (folder / "shop.py").rename(folder / "jobs.py")
        (folder / "models.py").write_text("class Order: ...")
        (folder / "shop.py").write_text("import models\nfrom jobs import declare")
    ready(run_app(children, app, old))
    second = run_app(children, app, new)
    eventually(lambda: len(list((app.database.folder / "servers").glob("*.code"))) == 2)
    assert "two-apps" not in doctor(app.settings.url).codes
    assert "app" not in second.finish().splitlines()[0]
    assert app.schedules()[0].task == "jobs:tidy"


def test_a_note_that_cannot_be_read_reports_nothing_and_goes_with_its_process(app: EmbedQ) -> None:
    app.start()
    eventually(lambda: looked(app))
    folder = app.database.folder / "servers"
    [note] = folder.glob("*.code")
    note.write_text("not a note")
    assert same_app.read_code_list(folder, note.stem) == same_app.LoadedCode()
    assert "two-apps" not in doctor(app.settings.url).codes
    app.enqueue(nothing).wait(10)
    app.stop()
    assert not list(folder.glob("*.code"))

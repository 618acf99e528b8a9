"""The Flask extension: configuration, contexts, several apps, when workers start, and `flask embedq`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask")

import click
from flask import Flask, current_app, g
from flask.cli import FlaskGroup, ScriptInfo, run_command

import embedq as core
from embedq import ConfigurationError, JobState, NotStartedError
from embedq.cli import main
from embedq.config import sqlite_path
from embedq.contrib.flask import EmbedQ, starting
from embedq.process import job_process
from tests.support import ROOT, Child, cli_runner, eventually

BROWSER = {"User-Agent": "a browser"}
seen: list[Any] = []
request_id: ContextVar[str] = ContextVar("request_id", default="none")


def note(value: Any) -> Any:
    seen.append(value)
    return value


def app_name() -> str:
    return current_app.name


async def app_name_later() -> str:
    await asyncio.sleep(0)
    return current_app.name


def what_the_job_sees() -> list[Any]:
    return [request_id.get(), "user" in g]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is seen of earlier tests, of the environment, or of the moments that workers wait for the imports."""
    seen.clear()
    monkeypatch.setattr(starting, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(starting, "FIRST_PAUSE_SECONDS", 0.01)
    for name in ("EMBEDQ_URL", "EMBEDQ_AUTOSTART", "WERKZEUG_RUN_MAIN", "FLASK_DEBUG"):
        monkeypatch.delenv(name, raising=False)


MakeApp = Callable[..., Flask]


@pytest.fixture
def extension() -> EmbedQ:
    return EmbedQ()


@pytest.fixture
def make_app(tmp_path: Path, extension: EmbedQ) -> Iterator[MakeApp]:
    """Makes Flask apps of the extension, each with a database of its own."""
    made: list[Flask] = []

    def make(name: str = "shop", **config: Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / f"instance-{name}"))
        app.config.update({"EMBEDQ_URL": tmp_path / f"{name}.db", "EMBEDQ_WORKERS": 2, **config})
        extension.init_app(app)
        made.append(app)

        @app.get("/")
        def index() -> str:
            request_id.set("of the request")
            g.user = "of the request"
            return str(extension.enqueue(note, "from a view").id)

        return app

    yield make
    for app in made:
        with app.app_context():
            extension.stop(5)
            extension.current.close()


def queue_of(extension: EmbedQ, app: Flask) -> core.EmbedQ:
    with app.app_context():
        return extension.current


# -- jobs and contexts -------------------------------------------------------------------------------------------------


def test_jobs_run_in_an_app_context_whatever_they_are(make_app: MakeApp, extension: EmbedQ) -> None:
    app = make_app("shop")
    left: list[Any] = []
    app.teardown_appcontext(left.append)
    with extension.start():
        assert extension.enqueue(app_name).result(10) == "shop"
        assert extension.enqueue(app_name_later).result(10) == "shop"
        assert extension.enqueue(lambda: f"lambda in {current_app.name}").result(10) == "lambda in shop"
    # The context of each was taken down: that is where an ORM gives its connection back.
    assert left == [None, None, None]


def test_a_jobs_error_reaches_the_teardown_and_is_the_jobs_own(make_app: MakeApp, extension: EmbedQ) -> None:
    app = make_app()
    left: list[BaseException | None] = []
    app.teardown_appcontext(left.append)

    with extension.start():
        job = extension.options(retry=core.NO_RETRY).enqueue(lambda: 1 // 0)
        assert job.wait(10) is JobState.DEAD
    assert [type(error) for error in left] == [ZeroDivisionError]
    assert job.attempts()[0].error == "ZeroDivisionError: integer division or modulo by zero"


def test_nothing_of_a_request_is_seen_by_the_jobs_it_enqueues(make_app: MakeApp, extension: EmbedQ) -> None:
    app = make_app()

    @app.get("/peek")
    def peek() -> str:
        request_id.set("of the request")
        g.user = "of the request"
        return str(extension.enqueue(what_the_job_sees).id)

    with extension.start() as queue:
        assert queue.job(int(app.test_client().get("/peek").text)).result(10) == ["none", False]


def test_middleware_of_the_extensions_owner_runs_in_the_app_context(tmp_path: Path) -> None:
    from contextlib import contextmanager

    @contextmanager
    def around(job: core.JobContext) -> Iterator[None]:
        seen.append(current_app.name)
        yield

    def stamp(draft: core.Draft) -> core.Draft:
        draft.meta["by"] = "stamp"
        return draft

    app = Flask("shop")
    app.config["EMBEDQ_URL"] = tmp_path / "shop.db"
    extension = EmbedQ(app, middleware=[around], enqueue_middleware=[stamp])
    with extension.start() as queue:
        assert extension.enqueue(lambda: dict(core.current_job().meta)).result(10) == {"by": "stamp"}
    queue.close()
    assert seen == ["shop"]


def test_jobs_in_a_process_of_their_own_have_a_context_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_factory.py").write_text(
        "from flask import Flask, current_app\n"
        "from embedq.contrib.flask import EmbedQ\n"
        "embedq = EmbedQ()\n"
        "def create_app():\n"
        "    app = Flask(__name__)\n"
        f"    app.config['EMBEDQ_URL'] = 'sqlite:///{tmp_path}/shop.db'\n"
        "    app.config['EMBEDQ_PROCESS_SETUP'] = 'shop_factory:create_app'\n"
        "    embedq.init_app(app)\n"
        "    return app\n"
        "def go_on(): return current_app.name\n"
        "def both(): return [current_app.name, embedq.enqueue(go_on).id]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import shop_factory  # type: ignore[import-not-found]

    app = shop_factory.create_app()
    with app.app_context(), shop_factory.embedq.start() as queue:
        name, second = queue.options(executor="process").enqueue(shop_factory.both).result(30)
        assert (name, queue.job(second).result(10)) == ("shop_factory", "shop_factory")
    queue.close()


def test_a_view_enqueues_in_the_transaction_of_its_session(make_app: MakeApp, extension: EmbedQ) -> None:
    sqlalchemy = pytest.importorskip("flask_sqlalchemy")
    db = sqlalchemy.SQLAlchemy()

    class Order(db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)

    # A relative file is the same for both.
    app = make_app(EMBEDQ_URL="sqlite:///shop.sqlite", SQLALCHEMY_DATABASE_URI="sqlite:///shop.sqlite")
    db.init_app(app)

    @app.post("/orders/<end>")
    def order(end: str) -> str:
        db.session.add(Order())
        with extension.transaction(db.session):
            extension.enqueue(note, end)
        getattr(db.session, end)()
        return ""

    with app.app_context():
        db.create_all()
        for end in ("rollback", "commit"):
            app.test_client().post(f"/orders/{end}")
        assert [json.loads(job.arguments)[0] for job in extension.current.jobs()] == [["commit"]]
        assert db.session.query(Order).count() == 1
        db.session.remove()
        db.engine.dispose()


# -- several apps ------------------------------------------------------------------------------------------------------


def test_each_app_of_one_extension_has_a_queue_of_its_own(make_app: MakeApp, extension: EmbedQ) -> None:
    task = extension.job(name="note")(note)
    one, two = make_app("one"), make_app("two")
    assert one.extensions["embedq"] is extension
    with one.app_context():
        task.enqueue(1)
        extension.enqueue_in(60, note, 2)
    with two.app_context():
        extension.enqueue_many([extension.call(note, 3), extension.call(note, 4), extension.call(note, 5)])
    assert queue_of(extension, one).count_jobs() == 2
    assert queue_of(extension, two).count_jobs() == 3
    with two.app_context(), extension.start():
        assert extension.enqueue(app_name).result(10) == "two"
        assert not queue_of(extension, one).started


def test_outside_of_a_context_the_only_app_is_meant(make_app: MakeApp, extension: EmbedQ) -> None:
    with pytest.raises(NotStartedError, match="call init_app"):
        extension.enqueue(note, 1)
    one = make_app("one")
    assert extension.enqueue(note, 1).id == 1
    two = make_app("two")
    with pytest.raises(NotStartedError, match=r"with app\.app_context"):
        extension.enqueue(note, 1)
    stranger = Flask("stranger")
    with stranger.app_context(), pytest.raises(NotStartedError, match=r"'stranger'.*init_app"):
        extension.enqueue(note, 1)
    assert one is not two


def test_a_recurring_job_is_every_apps_whenever_it_is_made(make_app: MakeApp, extension: EmbedQ) -> None:
    extension.recurring("early", "0 2 * * *", note, 1)
    one = make_app("one")
    extension.recurring("late", core.every(hours=1), note, 2)
    two = make_app("two")
    for app in (one, two):
        queue = queue_of(extension, app)
        queue.connect()
        assert [schedule.name for schedule in queue.schedules()] == ["early", "late"]


def test_the_default_app_can_be_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_default", None)
    app = Flask("shop")
    app.config["EMBEDQ_URL"] = tmp_path / "shop.db"
    extension = EmbedQ(app, queue=core.default_app())
    # Nobody has connected it: it is when it is needed.
    assert core.enqueue(note, 1).id == 1
    assert extension.current is core.default_app()
    with pytest.raises(ConfigurationError, match=r"in use already.*close"):
        extension.init_app(Flask("another"))
    core.default_app().close()
    extension.init_app(Flask("another"))


# -- configuration -----------------------------------------------------------------------------------------------------


def test_every_setting_is_a_key_of_the_apps_config(make_app: MakeApp, extension: EmbedQ) -> None:
    app = make_app(EMBEDQ_WORKERS=3, EMBEDQ_QUEUES=["a", "b"], EMBEDQ_TIMEOUT=None, EMBEDQ_POLL=1, EMBEDQ_SIGTERM=False)
    settings = queue_of(extension, app).settings
    assert (settings.workers, settings.queues, settings.timeout, settings.poll) == (3, ("a", "b"), None, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"EMBEDQ_WORKER": 3}, r"EMBEDQ_WORKER.*did you mean EMBEDQ_WORKERS\?"),
        ({"EMBEDQ_ZZZZ": 3}, "EMBEDQ_ZZZZ.*there are: EMBEDQ_ALLOW_NETWORK_FILESYSTEM, "),
        ({"EMBEDQ_WORKERS": "many"}, "workers='many' must be a whole number"),
        ({"EMBEDQ_URL": "mongodb://x"}, "mongodb"),
        ({"EMBEDQ_AUTOSTART": "perhaps"}, "EMBEDQ_AUTOSTART='perhaps' must be True, False or \"now\""),
    ],
)
def test_a_key_that_cannot_work_is_refused(make_app: MakeApp, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_app(**config)


def test_an_app_is_initialised_once(make_app: MakeApp, extension: EmbedQ) -> None:
    app = make_app()
    with pytest.raises(ConfigurationError, match="embedq already"):
        extension.init_app(app)


@pytest.mark.parametrize(
    ("url", "file"), [(None, "embedq.db"), ("sqlite:///jobs.db", "jobs.db"), (Path("a.db"), "a.db")]
)
def test_a_relative_file_is_in_the_instance_folder(
    make_app: MakeApp, extension: EmbedQ, tmp_path: Path, url: str | Path | None, file: str
) -> None:
    app = make_app(EMBEDQ_URL=url)
    assert queue_of(extension, app).settings.url == f"sqlite:///{tmp_path}/instance-shop/{file}"


def test_the_environment_comes_second(
    make_app: MakeApp, extension: EmbedQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDQ_URL", f"sqlite:///{tmp_path}/environment.db")
    monkeypatch.setenv("EMBEDQ_WORKERS", "7")
    by_environment, by_config = make_app("one", EMBEDQ_URL=None), make_app("two")
    assert queue_of(extension, by_environment).settings.url.endswith("/environment.db")
    assert queue_of(extension, by_config).settings.url.endswith("/two.db")
    assert queue_of(extension, by_config).settings.workers == 2


# -- when workers start ------------------------------------------------------------------------------------------------


def test_making_an_app_touches_no_database_and_starts_nothing(
    make_app: MakeApp, extension: EmbedQ, tmp_path: Path
) -> None:
    app = make_app()
    queue = queue_of(extension, app)
    assert not queue.engine.connected
    assert not list(tmp_path.glob("*.db"))
    # What needs the database opens it: a shell or a test enqueues without further ado, and runs nothing.
    assert app.test_client().get("/").text == "1"
    assert not queue.started


def test_workers_start_with_a_request_from_outside(make_app: MakeApp, extension: EmbedQ) -> None:
    queue = queue_of(extension, app := make_app())
    job = queue.job(int(app.test_client().get("/", headers=BROWSER).text))
    assert job.wait(10) is JobState.SUCCEEDED
    # Who has stopped it wants it stopped.
    assert extension.stop()
    app.test_client().get("/", headers=BROWSER)
    assert not queue.started


@pytest.mark.parametrize("config", [{"TESTING": True}, {"EMBEDQ_AUTOSTART": False}, {"EMBEDQ_AUTOSTART": "false"}])
def test_no_request_starts_workers_where_they_are_not_wanted(
    make_app: MakeApp, extension: EmbedQ, config: dict[str, Any]
) -> None:
    queue = queue_of(extension, app := make_app(**config))
    app.test_client().get("/", headers=BROWSER)
    assert not any(thread.name == "embedq-start" for thread in threading.enumerate())
    assert not queue.started
    with extension.start():
        assert queue.started


@pytest.mark.parametrize(
    ("command", "reload", "reloaded", "starts"),
    [
        (run_command, None, False, True),
        (run_command, True, False, False),  # it watches the files
        (run_command, True, True, True),
        (run_command, False, False, True),
        (click.Command("shell"), None, False, False),
    ],
)
def test_flask_run_starts_workers_in_the_process_that_serves_and_no_other_command_does(
    make_app: MakeApp,
    extension: EmbedQ,
    monkeypatch: pytest.MonkeyPatch,
    command: click.Command,
    reload: bool | None,
    reloaded: bool,
    starts: bool,
) -> None:
    if reloaded:
        monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    with click.Context(command, obj=ScriptInfo()) as context:
        context.params["reload"] = reload
        app = make_app(EMBEDQ_SIGTERM=False)
    queue = queue_of(extension, app)
    if starts:
        eventually(lambda: queue.started)
    else:
        # Not even a request does: commands such as those that freeze a site make some.
        app.test_client().get("/", headers=BROWSER)
        assert not any(thread.name == "embedq-start" for thread in threading.enumerate())
    # A changed file should not have to wait for long.
    assert queue.settings.stop_timeout == (2 if reloaded else 20)


@pytest.mark.parametrize("server", [*starting.SERVERS, None])
def test_workers_start_at_once_under_a_known_server_or_when_configured(
    make_app: MakeApp, extension: EmbedQ, monkeypatch: pytest.MonkeyPatch, server: str | None
) -> None:
    config: dict[str, Any] = {"EMBEDQ_SIGTERM": False}
    if server is None:
        config["EMBEDQ_AUTOSTART"] = "now"
    else:
        monkeypatch.setitem(sys.modules, server, types.ModuleType(server))
    queue = queue_of(extension, make_app(**config))
    eventually(lambda: queue.started)


def test_an_app_comes_up_while_its_database_is_not_there_yet(
    make_app: MakeApp, extension: EmbedQ, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = tmp_path / "late" / "jobs.db"
    app = make_app(EMBEDQ_URL=late, EMBEDQ_AUTOSTART="now", EMBEDQ_SIGTERM=False)
    extension.recurring("nightly", "0 2 * * *", note, 1)
    eventually(lambda: "could not start" in caplog.text)
    assert app.test_client().get("/").status_code == 500
    late.parent.mkdir()
    queue = queue_of(extension, app)
    eventually(lambda: queue.started)
    assert [schedule.name for schedule in queue.schedules()] == ["nightly"]


def test_greenlets_that_come_after_the_app_was_made_are_reported_once(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    out = Child(
        """
        import logging, sys, threading
        from flask import Flask
        from embedq.contrib.flask import EmbedQ, starting
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
        starting.FIRST_PAUSE_SECONDS = 0.01
        app = Flask("shop")
        app.config.update(EMBEDQ_URL=f"sqlite:///{sys.argv[1]}/shop.db", EMBEDQ_AUTOSTART="now")
        extension = EmbedQ(app)
        start, = [thread for thread in threading.enumerate() if thread.name == "embedq-start"]
        from gevent import monkey
        monkey.patch_all()
        start.join(20)
        print(start.is_alive(), extension.current.started, flush=True)
        """,
        tmp_path,
    ).finish()
    told, end = out.splitlines()
    assert told.startswith("ERROR no jobs run in this process: gevent has made greenlets of Python's threads")
    assert end == "False False"


def test_a_child_that_is_forked_before_the_start_starts_by_itself(tmp_path: Path) -> None:
    out = Child(
        """
        import os, sys, time
        from flask import Flask
        from embedq.contrib.flask import EmbedQ, starting
        starting.QUIET_SECONDS = 60
        app = Flask("shop")
        app.config.update(EMBEDQ_URL=f"sqlite:///{sys.argv[1]}/shop.db", EMBEDQ_AUTOSTART="now")
        extension = EmbedQ(app)
        if os.fork() == 0:
            job = extension.enqueue(print, "in the child", flush=True)
            print(job.wait(20), flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.wait()[1]), extension.current.started)
        """,
        tmp_path,
    ).finish()
    assert out.splitlines() == ["in the child", "succeeded", "0 False"]


# -- flask embedq ------------------------------------------------------------------------------------------------------


@pytest.fixture
def flask(make_app: MakeApp) -> Callable[..., tuple[int, str, str]]:
    """Runs `flask …` on an app that is made anew each time; gives the exit code, stdout and stderr."""
    from click.testing import CliRunner

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(FlaskGroup(create_app=make_app), arguments)
        return done.exit_code, done.stdout, done.stderr

    return run


def test_flask_embedq_is_the_command_line_on_the_apps_database(
    make_app: MakeApp, extension: EmbedQ, flask: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with make_app().app_context():
        extension.enqueue_in(600, note, "later")
        extension.enqueue_in(600, note, "as well")
    code, out, _ = flask("embedq", "jobs", "--json")
    assert code == 0
    assert [job["id"] for job in json.loads(out)["jobs"]] == [2, 1]
    assert flask("embedq", "cancel", "1")[0] == 0
    assert flask("embedq", "--json", "stats")[1].count('"cancelled": 1') == 1
    assert flask("embedq", "show", "99")[0] == 3
    # No flag is left over from another invocation, and another database may be named.
    assert "STATE" in flask("embedq", "jobs")[1]
    code, _, err = flask("embedq", "jobs", "--url", f"sqlite:///{tmp_path}/none.db")
    assert (code, (tmp_path / "none.db").exists()) == (4, False)
    assert "none.db" in err


@pytest.mark.parametrize("target", ["queue", "make_queue", "make_app"])
def test_embedq_states_that_the_queue_of_a_flask_app_is_found_by_flask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (tmp_path / f"a_shop_of_{target}.py").write_text(
        "from embedq.contrib.flask import EmbedQ\nfrom flask import Flask\n"
        "queue = EmbedQ()\ndef make_queue(): return queue\ndef make_app(): return Flask('shop')\n"
    )
    monkeypatch.setattr(core, "_default", None)
    monkeypatch.setattr(job_process, "default_app", None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    done = cli_runner().invoke(main, ["worker", "--app", f"a_shop_of_{target}:{target}"])
    assert done.exit_code == 2
    assert f"use flask --app a_shop_of_{target} embedq instead of embedq" in done.stderr
    with core.EmbedQ(tmp_path / "jobs.db").connect():
        done = cli_runner().invoke(
            main, ["check", "--url", f"sqlite:///{tmp_path}/jobs.db", "--app", f"a_shop_of_{target}"]
        )
    assert done.exit_code == 0, done.stderr
    assert f"for its jobs: flask --app a_shop_of_{target} embedq" in done.stderr


APP = """
import os
from pathlib import Path
from flask import Flask, current_app
from embedq.contrib.flask import EmbedQ

app = Flask(__name__)
app.config["EMBEDQ_URL"] = "sqlite:///jobs.db"
embedq = EmbedQ(app)

@embedq.job
def write(name):
    Path(name).write_text(f"{current_app.name} {os.getpid()}")
"""


def command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "shop.py").write_text(textwrap.dedent(APP))
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "shop", *arguments],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_flask_embedq_worker_runs_the_apps_jobs_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    queue = core.EmbedQ(tmp_path / "instance" / "jobs.db").connect()
    write = queue.job(name="shop:write")(note)
    worker = command(tmp_path, "embedq", "worker", "--workers", "3")
    try:
        assert write.enqueue("written").wait(30) is JobState.SUCCEEDED
        assert [server.workers for server in queue.servers()] == [3]
        worker.send_signal(signal.SIGTERM)
        _, errors = worker.communicate(timeout=30)
    finally:
        worker.kill()
        queue.close()
    assert (tmp_path / "written").read_text() == f"shop {worker.pid}"
    assert worker.returncode == 0, errors


def test_flask_run_with_its_reloader_runs_jobs_in_one_process_without_a_request(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    queue = core.EmbedQ(tmp_path / "instance" / "jobs.db").connect()
    server = command(tmp_path, "run", "--debug", "--port", "0")
    try:
        eventually(lambda: len(queue.servers()) == 1, seconds=30)
        [running] = queue.servers()
        # The process that was started watches the files; its child serves, and runs the jobs.
        assert running.pid != server.pid
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    finally:
        server.kill()
        queue.close()


# -- in memory, in tests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "engine"])
def test_a_database_in_memory_gives_a_tests_jobs_a_file_of_their_own(extension: EmbedQ, url: str) -> None:
    sqlalchemy, orm = pytest.importorskip("sqlalchemy"), pytest.importorskip("sqlalchemy.orm")
    engine = sqlalchemy.create_engine("sqlite://")
    app = Flask("memory")
    app.config.update(TESTING=True, EMBEDQ_URL=engine if url == "engine" else url)
    extension.init_app(app)
    queue = queue_of(extension, app)
    file = sqlite_path(queue.settings.url)
    with app.app_context(), orm.Session(engine) as session:
        with extension.transaction(session):
            job = extension.enqueue(note, "a job")
        assert queue.count_jobs() == 0
        session.commit()
        assert queue.job(job.id).state == "ready"
        with extension.transaction(session):
            extension.enqueue(note, "never")
        session.rollback()
        with contextlib.closing(sqlite3.connect(":memory:")) as own, extension.transaction(own):
            extension.enqueue(note, "held")
        assert queue.count_jobs() == 2
    engine.dispose()
    assert file.exists()
    queue.close()


def test_the_file_of_a_test_goes_with_its_process() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_MEMORY], env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file = Path(done.stdout.strip())
    assert file.name == "jobs.db"
    assert not file.parent.exists()


IN_MEMORY = """
from flask import Flask
from embedq.contrib.flask import EmbedQ
from embedq.config import sqlite_path
app, queue = Flask("memory"), EmbedQ()
app.config.update(TESTING=True, EMBEDQ_URL="sqlite://")
queue.init_app(app)
queue.enqueue(print)
print(sqlite_path(queue.current.settings.url))
"""


def test_a_database_in_memory_is_refused_outside_of_tests(extension: EmbedQ) -> None:
    app = Flask("memory")
    app.config["EMBEDQ_URL"] = "sqlite://"
    with pytest.raises(ConfigurationError, match=r"in memory, but jobs must outlive.*TESTING.*before init_app"):
        extension.init_app(app)

"""`embedq check`: what waits, and a new build could not run, is told before the deployment. Nothing runs meanwhile."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from embedq import EmbedQ
from embedq.cli import main
from embedq.operations import preflight
from embedq.storage.health import PendingRow
from embedq.tasks.pickled import PackedFunction
from embedq.tasks.registry import REGISTRY, Registry
from embedq.tasks.signing import Key
from tests.databases import KINDS, Home, SQLiteHome
from tests.support import cli_runner, resume_registry

SECRET = "0123456789abcdef0123456789abcdef"
HEAD = """
import dataclasses, enum, os
import embedq
queue = embedq.EmbedQ(os.environ["SHOP_URL"], secret_key=os.environ.get("SHOP_KEY"))
"""
OLD = """
@queue.job
def send(user, template="hello"): ...

@queue.job
def gone(n): ...

def plain(a): ...

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@dataclasses.dataclass
class Order:
    id: int

@queue.job
def paint(what): ...
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def problems(self) -> dict[str, str]:
        """The reason of each function's one problem."""
        return {problem["task"]: problem["reason"] for problem in self.json["problems"]}


class Shop:
    """An application that is deployed again and again."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._file = folder / "shop.py"

    def deploy(self, source: str) -> Any:
        """Import a build, as a fresh process would."""
        self.write(source)
        sys.modules.pop("shop", None)
        import importlib

        importlib.invalidate_caches()
        return importlib.import_module("shop")

    def write(self, source: str) -> None:
        self._file.write_text(HEAD + source)

    def enqueue(self, source: str, act: Callable[[Any, EmbedQ], object]) -> None:
        """Let a build enqueue, and forget it."""
        with resume_registry():
            shop = self.deploy(source)
            with_app = shop.queue.connect()
            try:
                act(shop, with_app)
            finally:
                with_app.close()
        sys.modules.pop("shop", None)

    def check(self, source: str, *options: str) -> Said:
        """`embedq check` in a new build."""
        self.write(source)
        sys.modules.pop("shop", None)
        with resume_registry():
            result = cli_runner().invoke(main, ["check", "--app", "shop:queue", *options], env={"EMBEDQ_URL": None})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def home() -> Home:
    """A file; what is read of it on the other databases has a test of its own."""
    return SQLiteHome()


@pytest.fixture
def shop(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("SHOP_URL", url)
    monkeypatch.setenv("SHOP_KEY", SECRET)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return Shop(tmp_path, url)


def rewrite(shop: Shop, job_id: int, **columns: str) -> None:
    import sqlite3

    connection = sqlite3.connect(shop.url.removeprefix("sqlite:///"))
    with connection:
        for name, value in columns.items():
            connection.execute(f"UPDATE embedq_jobs SET {name} = ? WHERE id = ?", (value, job_id))
    connection.close()


# -- what a build can run ----------------------------------------------------------------------------------------------


def test_a_build_that_can_run_all_that_waits(shop: Shop) -> None:
    def act(build: Any, app: EmbedQ) -> None:
        build.send.enqueue(1)
        app.enqueue_in(60, build.send, user=1, template="x")
        app.enqueue(build.plain, 1)
        app.enqueue(lambda: 1)
        build.paint.enqueue([build.Colour.RED, build.Order(id=1)])
        app.recurring("nightly", "0 2 * * *", build.send, 5)

    shop.enqueue(OLD, act)
    said = shop.check(OLD)
    assert (said.code, said.out) == (0, "this build can run all waiting jobs: 5 jobs, 1 recurring job\n")


def test_a_renamed_function_is_reported_with_its_jobs_and_recurring_jobs_until_it_has_an_alias(shop: Shop) -> None:
    def act(build: Any, app: EmbedQ) -> None:
        parent = build.gone.enqueue(1)
        parent.then(build.gone, 2)
        app.enqueue_in(60, build.gone, 3)
        build.send.enqueue(1)
        app.recurring("nightly", "0 2 * * *", build.gone, 5)

    shop.enqueue(OLD, act)
    new = OLD.replace("def gone", "def better")
    said = shop.check(new, "--json")
    assert said.code == 1
    [problem] = said.json["problems"]
    assert {name: problem[name] for name in ("task", "jobs", "states", "example", "schedules")} == {
        "task": "shop:gone",
        "jobs": 3,
        "states": {"ready": 1, "awaiting": 1, "scheduled": 1},
        "example": 1,
        "schedules": ["nightly"],
    }
    text = shop.check(new).out
    assert "3 jobs (1 awaiting, 1 ready, 1 scheduled), for example 1" in text
    assert "recurring: nightly" in text
    assert text.endswith("3 of 4 jobs and 1 of 1 recurring job could not run in this build\n")
    assert shop.check(new.replace("@queue.job\ndef better", '@queue.job(aliases=["shop:gone"])\ndef better')).code == 0


def test_jobs_that_have_ended_are_no_matter(shop: Shop) -> None:
    def act(build: Any, app: EmbedQ) -> None:
        build.gone.enqueue(1).cancel()

    shop.enqueue(OLD, act)
    assert shop.check("").out == "this build can run all waiting jobs: 0 jobs, 0 recurring jobs\n"


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ("def send(user, template): ...", "missing a required argument: 'template'"),
        ("def send(): ...", "too many positional arguments"),
        ("def send(user, *, extra): ...", "argument: 'extra'"),
        ("def send(user, *, extra=1): ...", None),
        ("def send(*anything): ...", None),
    ],
)
def test_stored_arguments_that_do_not_fit_the_new_signature(shop: Shop, definition: str, reason: str | None) -> None:
    shop.enqueue(OLD, lambda build, app: build.send.enqueue(1))
    said = shop.check(OLD.replace('def send(user, template="hello"): ...', definition), "--json")
    found = said.problems().get("shop:send", "")
    assert (said.code == 0) if reason is None else (reason in found)


def test_types_of_arguments_that_are_gone_or_no_longer_the_same(shop: Shop) -> None:
    def act(build: Any, app: EmbedQ) -> None:
        build.paint.enqueue([build.Colour.RED])
        build.send.enqueue(build.Order(id=7))

    shop.enqueue(OLD, act)
    assert shop.check(OLD.replace("RED", "PINK"), "--json").problems() == {
        "shop:paint": "an argument cannot be read: the type 'shop:Colour': it has no member 'RED'"
    }
    assert shop.check(OLD.replace("    id: int", "    number: int"), "--json").problems() == {
        "shop:send": "an argument cannot be read: the type 'shop:Order': it has no field 'id'"
    }
    assert shop.check(OLD.replace("class Order", "class Ware"), "--json").problems() == {
        "shop:send": "an argument cannot be read: the type 'shop:Order' is not imported"
    }


def test_a_dataclass_that_requires_more_is_reported_and_none_is_made(shop: Shop) -> None:
    shop.enqueue(OLD, lambda build, app: build.send.enqueue(build.Order(id=7)))
    fields = "    id: int\n    buyer: str\n    def __post_init__(self): raise SystemExit('made one')"
    assert shop.check(OLD.replace("    id: int", fields), "--json").problems() == {
        "shop:send": "an argument cannot be read: the type 'shop:Order': its field 'buyer' was not stored, and has no "
        "default"
    }


def test_damaged_arguments_and_schedules(shop: Shop) -> None:
    def act(build: Any, app: EmbedQ) -> None:
        build.send.enqueue(1)
        app.recurring("nightly", "0 2 * * *", build.gone, 5)

    shop.enqueue(OLD, act)
    rewrite(shop, 1, payload='[[1], {"\x1b": ')
    SQLiteHome().execute(shop.url, "UPDATE embedq_schedules SET template = '[]'")
    assert shop.check(OLD, "--json").problems() == {
        "shop:send": "its stored arguments cannot be read",
        "shop:gone": "its stored job cannot be read",
    }


# -- functions that are not registered ---------------------------------------------------------------------------------


def test_code_that_is_signed_with_another_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.enqueue(OLD, lambda build, app: (app.enqueue(build.plain, 1), app.enqueue(lambda: 1)))
    monkeypatch.setenv("SHOP_KEY", "another secret of some length")
    keys = Key.from_text(SECRET).id, Key.from_text("another secret of some length").id
    reasons = set(shop.check(OLD, "--json").problems().values())
    assert reasons == {f"it is signed with key {keys[0]}, and this build has key {keys[1]}"}


def test_a_key_that_is_not_there_is_reported_and_not_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.enqueue(OLD, lambda build, app: app.enqueue(build.plain, 1))
    monkeypatch.delenv("SHOP_KEY")
    said = shop.check(OLD, "--json")
    assert "and this build has no key" in said.problems()["shop:plain"]
    assert not Path(f"{shop.url.removeprefix('sqlite:///')}.embedq", "key").exists()


def test_code_of_another_python_and_altered_code_are_reported_and_nothing_is_unpickled(
    shop: Shop, tmp_path: Path
) -> None:
    import pickle
    from binascii import b2a_base64

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    shop.enqueue(OLD, lambda build, app: [app.enqueue(lambda: 1) for _ in range(3)])
    [(name, payload, code)] = SQLiteHome().execute(shop.url, "SELECT name, payload, code FROM embedq_jobs WHERE id = 1")
    packed = PackedFunction.from_text(code)
    bomb = replace(packed, pickle=b2a_base64(pickle.dumps(Bomb()), newline=False).decode())
    signed = replace(bomb, sig=Key.from_text(SECRET).sign(*bomb.signed_parts(name, payload)))
    old = replace(bomb, python="2.7")
    old = replace(old, sig=Key.from_text(SECRET).sign(*old.signed_parts(name, payload)))
    for job_id, row in enumerate((signed, bomb, old), start=1):
        rewrite(shop, job_id, code=row.to_text())
    said = shop.check(OLD, "--json")
    assert sorted(problem["reason"].partition(", and")[0] for problem in said.json["problems"]) == [
        "it was altered after it was signed",
        "it was stored by Python 2.7",
    ]
    assert not (tmp_path / "exploded").exists()


def test_a_function_with_a_name_that_leads_nowhere_any_more(shop: Shop) -> None:
    shop.enqueue(OLD, lambda build, app: app.enqueue(build.plain, 1))
    said = shop.check(OLD.replace("def plain", "def plainer"), "--json")
    assert "module 'shop' has no 'plain'" in said.problems()["shop:plain"]
    assert "too many positional" in shop.check(OLD.replace("plain(a)", "plain()"), "--json").problems()["shop:plain"]


# -- what it does not do -----------------------------------------------------------------------------------------------


def test_a_module_that_starts_the_app_and_a_recurring_job_at_import_starts_and_writes_nothing(shop: Shop) -> None:
    shop.enqueue(OLD, lambda build, app: build.send.enqueue(1))
    eager = OLD + 'queue.start()\nqueue.recurring("new", "@daily", send, 1)\n'
    said = shop.check(eager)
    assert said.code == 0
    tables = [
        SQLiteHome().execute(shop.url, f"SELECT count(*) FROM embedq_{name}") for name in ("servers", "schedules")
    ]
    assert tables == [[(0,)], [(0,)]]
    assert SQLiteHome().execute(shop.url, "SELECT state FROM embedq_jobs") == [("ready",)]


def test_a_module_that_enqueues_at_import_is_refused(shop: Shop) -> None:
    shop.enqueue(OLD, lambda build, app: build.send.enqueue(1))
    said = shop.check(OLD + "queue.connect()\nsend.enqueue(2)\n")
    assert said.code == 1
    assert "the script enqueues, or reads jobs, at import" in said.err
    assert SQLiteHome().execute(shop.url, "SELECT count(*) FROM embedq_jobs") == [(1,)]


def test_a_database_of_an_older_schema_is_read_as_it_is(shop: Shop) -> None:
    shop.enqueue(OLD, lambda build, app: build.send.enqueue(1))
    SQLiteHome().execute(shop.url, "DELETE FROM _sqlite_migrations WHERE name = 'schema_0002'")
    said = shop.check(OLD)
    assert said.code == 0
    assert "will apply schema_0002" in said.err
    assert "schema_0002" not in SQLiteHome().applied(shop.url)


def test_a_database_that_is_not_there_is_not_made(shop: Shop, tmp_path: Path) -> None:
    said = shop.check(OLD, "--url", f"sqlite:///{tmp_path}/none.db")
    assert (said.code, said.out) == (4, "")
    assert not (tmp_path / "none.db").exists()


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_page_by_page_every_job_that_waits_is_read_once(
    kind: str,
    home_of: Callable[[str], Home],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(preflight, "FIRST_PAGE", 3)
    app = EmbedQ(home_of(kind).fresh(tmp_path)).connect()
    request.addfinalizer(app.close)

    @app.job(name="numbered")
    def numbered(number: int) -> None: ...

    handles = app.enqueue_many([numbered.call(number) for number in range(25)])
    for handle in handles[1:20:6]:
        handle.cancel()
    app.recurring("daily", "@daily", numbered, 1)
    found = preflight.Preflight(Registry(), lambda: Key.from_text(SECRET))
    steps: list[int] = []
    preflight.read_all(found, app.database, progress=steps.append)
    [problem] = found.problems()
    assert (found.jobs, problem.jobs, problem.example, problem.schedules) == (21, 21, handles[0].id, ["daily"])
    assert len(steps) == 3
    assert sum(steps) == preflight.span_of_ids(app.database) == handles[-1].id - handles[0].id + 1


def test_reasons_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MAX_PROBLEMS", 2)
    found = preflight.Preflight(REGISTRY, lambda: Key.from_text(SECRET))
    for number in range(5):
        found.job(PendingRow(number, "ready", f"gone.{number}", "[[],{}]", None))
    assert [(problem.task, problem.jobs) for problem in found.problems()] == [("…", 3), ("gone.0", 1), ("gone.1", 1)]


def test_flask_embedq_check_knows_its_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flask = pytest.importorskip("flask")
    from flask.cli import FlaskGroup

    from embedq.contrib.flask import EmbedQ as Extension

    monkeypatch.setenv("EMBEDQ_URL", f"sqlite:///{tmp_path}/shop.db")
    extension = Extension()

    def make_app() -> Any:
        app = flask.Flask("shop")
        extension.init_app(app)
        return app

    with make_app().app_context():
        extension.current.job(name="gone")(make_app).enqueue()
        extension.current.close()
    del REGISTRY._by_name["gone"]
    said = cli_runner().invoke(FlaskGroup(create_app=make_app), ["embedq", "check"])
    assert said.exit_code == 1
    assert said.stdout.endswith("1 of 1 job and 0 of 0 recurring jobs could not run in this build\n")

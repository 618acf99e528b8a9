"""Connections that the application makes for embedq: by a function, or as its SQLAlchemy engine does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

import embedq
from embedq import ConfigurationError, StorageUnavailableError
from embedq.config import Settings
from embedq.storage.postgresql.session import PostgresSession
from tests.connections import for_sqlalchemy, libpq, mysql_arguments
from tests.databases import KINDS, POSTGRESQL
from tests.support import eventually

SERVERS = [kind for kind in KINDS if kind != "sqlite"]
OWN = {"postgresql": "psycopg", "mysql": "pymysql"}
on_servers = pytest.mark.parametrize("home", SERVERS, indirect=True)


def note(word: str) -> str:
    return word


@pytest.fixture
def make() -> Iterator[Callable[..., embedq.EmbedQ]]:
    """Makes apps, and closes them after the test."""
    made: list[embedq.EmbedQ] = []

    def make(*arguments: Any, **settings: Any) -> embedq.EmbedQ:
        made.append(embedq.EmbedQ(*arguments, stop_timeout=5, secret_key="a key of the tests", **settings))
        return made[-1]

    yield make
    for app in made:
        app.close()


def opener(url: str) -> Callable[[], Any]:
    """As an application would connect: with rows as dicts, and a transaction begun."""
    if url.startswith("mysql"):
        import pymysql
        from pymysql.constants import CLIENT

        return lambda: pymysql.connect(
            **mysql_arguments(url), cursorclass=pymysql.cursors.DictCursor, client_flag=CLIENT.FOUND_ROWS
        )
    import psycopg
    from psycopg.rows import dict_row

    def connect() -> Any:
        connection = psycopg.connect(libpq(url), row_factory=dict_row)
        connection.execute("SELECT 1")
        return connection

    return connect


def nobodys(url: str) -> str:
    """The URL with the same tables, and a user and server that are of no use."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://nobody:wrong@nowhere.invalid/{rest.partition('/')[2]}"


@on_servers
def test_a_function_that_connects_cannot_use_the_app_which_it_connects(
    url: str, make: Callable[..., embedq.EmbedQ]
) -> None:
    connect = opener(url)
    app: embedq.EmbedQ = make(url, connect=lambda: (app.connect(), connect())[1])
    with pytest.raises(embedq.ReentryError, match="is connecting embedq"):
        app.connect()


@on_servers
def test_a_function_of_the_applications_connects(url: str, make: Callable[..., embedq.EmbedQ]) -> None:
    connect, opened = opener(url), []
    app = make(nobodys(url), connect=lambda: opened.append(connect()) or opened[-1]).start()  # type: ignore[func-returns-value]
    task = app.job(name="note")(note)
    first = task.options(idempotency_key="k").enqueue("hello")
    assert first.result(timeout=10) == "hello"
    assert task.options(idempotency_key="k").enqueue("again") == first
    assert [job.result(timeout=10) for job in app.enqueue_many([task.call("a"), task.call("b")])] == ["a", "b"]
    assert len(opened) == len(set(map(id, opened))) >= 3


@on_servers
def test_the_applications_engine_connects_and_keeps_its_pool(url: str, make: Callable[..., embedq.EmbedQ]) -> None:
    kind = url.partition(":")[0]
    asked: list[str] = []
    engine = sqlalchemy.create_engine(
        for_sqlalchemy(nobodys(url), kind, OWN[kind]), poolclass=QueuePool, pool_size=1, max_overflow=0
    )

    # Where credentials change, this is where SQLAlchemy asks for them.
    @sqlalchemy.event.listens_for(engine, "do_connect")
    def fresh_credentials(dialect: Any, record: Any, cargs: list[Any], arguments: dict[str, Any]) -> None:
        asked.append("token")
        real = for_sqlalchemy(url, kind, OWN[kind])
        arguments.update({"host": real.host, "user": real.username, "password": real.password or ""})

    with engine.connect() as own:
        app = make(url if kind == "mysql" else nobodys(url), connect=engine).start()
        assert app.job(name="note")(note).enqueue("hello").result(timeout=10) == "hello"
        with app.transaction(own):
            job = app.enqueue(note, "in the transaction")
        own.commit()
        assert job.result(timeout=10) == "in the transaction"
    app.close()
    assert len(asked) >= 3
    engine.dispose()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A database of its own: without a schema in the URL the tables are in public."""
    if "postgresql" not in KINDS:
        pytest.skip("PostgreSQL is not there")
    import psycopg

    name = f"embedq_test_{os.getpid()}_engine"
    with psycopg.connect(POSTGRESQL, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield sqlalchemy.make_url(POSTGRESQL).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_an_engine_in_place_of_a_url_states_where_the_jobs_are(
    database: str, driver: str, make: Callable[..., embedq.EmbedQ]
) -> None:
    url = for_sqlalchemy(database, "postgresql", driver)
    engine: Any = create_async_engine(url) if driver == "asyncpg" else sqlalchemy.create_engine(url)
    app = make(engine).connect()
    job = app.job(name="note")(note).enqueue("hello")
    assert job.state is embedq.JobState.READY
    assert app.settings.database.endswith(url.database)
    # Asked for once more, with the same engine, it is the same app.
    assert app.configure(engine, stop_timeout=5, secret_key="a key of the tests") is app


def test_sessions_through_an_engine_are_set_as_embedqs_own(database: str, make: Callable[..., embedq.EmbedQ]) -> None:
    app = make(sqlalchemy.create_engine(for_sqlalchemy(database, "postgresql", "psycopg")), durability="normal")
    app.connect()
    settings = ("enable_seqscan", "plan_cache_mode", "synchronous_commit")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in settings)
    assert app.database.read(lambda tx: tx.select(query)) == [("off", "force_generic_plan", "off")]


def test_an_engine_on_a_file_states_which(tmp_path: Path, make: Callable[..., embedq.EmbedQ]) -> None:
    for engine in (
        sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a b.db"),
        create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a b.db"),
    ):
        app = make(engine).connect()
        assert app.enqueue(note, "hello").state is embedq.JobState.READY
        assert (tmp_path / "a b.db").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///file:app.db?uri=true", "plain path"),
        ("postgresql+asyncpg://h/d?prepared_statement_cache_size=0", "prepared_statement_cache_size .* psycopg"),
    ],
)
def test_an_engine_that_cannot_be_followed_is_refused(url: str, said: str) -> None:
    engine: Any = create_async_engine(url) if "async" in url else sqlalchemy.create_engine(url)
    with pytest.raises(ConfigurationError, match=said):
        embedq.EmbedQ(engine)


def test_what_another_driver_calls_ssl_is_sslmode(make: Callable[..., embedq.EmbedQ]) -> None:
    app = make(create_async_engine("postgresql+asyncpg://u:p%40ss@h/d?ssl=require"))
    assert app.settings.url == "postgresql://u:p%40ss@h/d?sslmode=require"
    assert "p%40ss" not in app.settings.database


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"connect": print}, "on a server"),
        ({"url": "postgresql://h/d", "connect": 5}, "must be a function"),
        ({"url": "postgresql://h/d", "connect": lambda: 5}, "returned a builtins.int"),
        ({"url": "mysql://h/d", "connect": lambda: 5}, "returned a builtins.int"),
        ({"url": "postgresql://h/d", "connect": sqlalchemy.create_engine("sqlite://")}, "driver is pysqlite"),
    ],
)
def test_a_connect_that_cannot_work_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        embedq.EmbedQ(**settings).connect()


@pytest.mark.skipif("mysql" not in KINDS, reason="MySQL is not there")
@pytest.mark.parametrize("home", ["mysql"], indirect=True)
def test_a_connection_that_counts_changed_rows_only_is_refused(url: str) -> None:
    import pymysql

    with pytest.raises(ConfigurationError, match="FOUND_ROWS"):
        embedq.EmbedQ(url, connect=lambda: pymysql.connect(**mysql_arguments(url))).connect()


@on_servers
def test_a_vault_that_is_away_is_a_server_that_is(url: str) -> None:
    def sealed() -> Any:
        raise LookupError("the vault is sealed")

    with pytest.raises(StorageUnavailableError, match="the vault is sealed"):
        embedq.EmbedQ(url, connect=sealed).connect()


@on_servers
def test_jobs_outlast_a_vault_that_goes_away(url: str, home: Any, make: Callable[..., embedq.EmbedQ]) -> None:
    connect = opener(url)
    sealed: list[str] = []

    def try_to_connect() -> Any:
        if sealed:
            sealed.append("asked")
            raise LookupError
        return connect()

    app = make(url, connect=try_to_connect).start()
    task = app.job(name="note")(note)
    task.enqueue("before").wait(timeout=10)
    sealed.append("sealed")
    for session in list(app.database._driver._sessions):  # type: ignore[attr-defined]
        session.close()
    eventually(lambda: len(sealed) > 3)
    sealed.clear()
    assert task.enqueue("after").result(timeout=20) == "after"


def test_the_settings_are_what_they_were_given(make: Callable[..., embedq.EmbedQ]) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://u:secret@h/d")
    app = make(engine, workers=3)
    assert (app.settings.workers, app.settings.connect) == (3, engine)
    assert app.settings == Settings.gather(
        {"url": "postgresql://u:secret@h/d", "connect": engine, "workers": 3, "stop_timeout": 5}
        | {"secret_key": "a key of the tests"}
    )


@pytest.mark.parametrize("home", [kind for kind in KINDS if kind == "postgresql"], indirect=True)
def test_a_connection_is_closed_when_its_setting_up_is_broken_off(
    url: str, make: Callable[..., embedq.EmbedQ], monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        opened.append(psycopg.connect(libpq(url)))
        return opened[-1]

    def interrupted(session: PostgresSession) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(PostgresSession, "_ask_timeline", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(url, connect=connect).connect()
    assert opened
    assert all(connection.closed for connection in opened)

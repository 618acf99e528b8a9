"""Texts in every script, through databases, clients and connections that are set to something else than UTF-8."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import ConfigurationError, JobState, TransactionError
from tests.connections import libpq, mysql_arguments
from tests.databases import KINDS, POSTGRESQL, Home, SQLiteHome
from tests.mysql_home import MYSQL

WORDS = "Zoë – 日本語 🎉"
on_postgresql = pytest.mark.skipif("postgresql" not in KINDS, reason="needs PostgreSQL")
on_mysql = pytest.mark.skipif("mysql" not in KINDS, reason="needs MySQL or MariaDB")


def say(words: str) -> str:
    embedq.current_job().log(words)
    return words


def break_off(words: str) -> None:
    raise ValueError(words)


def round_trip(url: str, **settings: Any) -> None:
    """Texts go through every column that holds them."""
    app = embedq.EmbedQ(url, stop_timeout=20, **settings)
    echo = app.job(name=f"echo {WORDS}")(say)
    fail = app.job(name="fail", retry=embedq.NO_RETRY)(break_off)
    app.recurring(f"schedule {WORDS}", "0 0 1 1 *", echo, WORDS)
    with app.start():
        job = app.options(queue=f"q {WORDS}", tags=[WORDS], idempotency_key=WORDS).enqueue(echo, WORDS)
        assert job.result(30) == WORDS
        assert app.options(idempotency_key=f"{WORDS} again").enqueue(echo, WORDS).wait(30) is JobState.SUCCEEDED
        failed = app.enqueue(fail, WORDS)
        assert failed.wait(30) is JobState.DEAD
        stored = job.snapshot()
        assert (stored.name, stored.queue, stored.tags) == (f"echo {WORDS}", f"q {WORDS}", (WORDS,))
        assert [line.message for line in job.logs()] == [WORDS]
        assert failed.snapshot().error == f"ValueError: {WORDS}"
        assert [found.id for found in app.jobs(argument="日本")]
    app.close()


@pytest.fixture
def made_database() -> Iterator[Callable[[str], str]]:
    """Makes PostgreSQL databases of an encoding, and drops them after the test."""
    import psycopg

    made: list[str] = []
    with psycopg.connect(POSTGRESQL, autocommit=True) as connection:

        def make(encoding: str) -> str:
            name = f"embedq_test_{os.getpid()}_{encoding.lower()}"
            made.append(name)
            connection.execute(
                f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            return f"{POSTGRESQL.partition('?')[0].rpartition('/')[0]}/{name}"

        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@on_postgresql
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused_at_start(
    made_database: Callable[[str], str], encoding: str
) -> None:
    url = made_database(encoding)
    for verb in ("start", "connect", "migrate"):
        with pytest.raises(ConfigurationError, match=f"stored as {encoding}.*ENCODING 'UTF8'"):
            getattr(embedq.EmbedQ(url), verb)()
    with pytest.raises(ConfigurationError, match="stored as"):
        embedq.EmbedQ(url).connect(migrate=False)


@on_postgresql
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
@pytest.mark.parametrize("said_by", ["the environment", "the url", "a function", "an engine"])
def test_the_clients_encoding_is_embedqs_own(
    home_of: Callable[[str], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, said_by: str
) -> None:
    import psycopg
    import sqlalchemy

    from tests.connections import for_sqlalchemy

    url = home_of("postgresql").fresh(tmp_path)
    if said_by == "the environment":
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
        round_trip(url)
    elif said_by == "the url":
        round_trip(f"{url}&client_encoding={encoding}")
    elif said_by == "a function":
        round_trip(url, connect=lambda: psycopg.connect(libpq(url), client_encoding=encoding))
    elif encoding != "SQL_ASCII":
        # SQLAlchemy's own first query fails on that one.
        arguments = {"client_encoding": encoding}
        engine = sqlalchemy.create_engine(for_sqlalchemy(url, "postgresql", "psycopg"), connect_args=arguments)
        round_trip(url, connect=engine)


@on_mysql
def test_a_mysql_database_whose_own_character_set_is_another() -> None:
    import pymysql

    name = f"embedq_test_{os.getpid()}_latin1"
    connection = pymysql.connect(**mysql_arguments(MYSQL) | {"database": None})
    connection.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german1_ci")
    try:
        url = f"{MYSQL.partition('?')[0].rpartition('/')[0]}/{name}"
        round_trip(url)
        app = embedq.EmbedQ(url).connect()
        echo = app.job(name="echo")(say)
        # Names are told apart by case, by accents, and by blanks at their end.
        keys = ["key", "KEY", "kéy", "key "]
        assert len({app.options(idempotency_key=key).enqueue(echo, key).id for key in keys}) == len(keys)
        app.close()
    finally:
        connection.cursor().execute(f"DROP DATABASE {name}")
        connection.close()


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_sqlite_file_in_utf_16(tmp_path: Path, encoding: str) -> None:
    connection = sqlite3.connect(tmp_path / "jobs.db")
    connection.execute(f"PRAGMA encoding = '{encoding}'")
    connection.execute("CREATE TABLE own (id)")
    connection.close()
    round_trip(SQLiteHome().missing(tmp_path, "jobs"))
    assert SQLiteHome().execute(f"sqlite:///{tmp_path}/jobs.db", "PRAGMA encoding") == [(encoding,)]


def latin(url: str) -> Any:
    """A connection of the application's, in Latin-1."""
    if url.startswith("mysql"):
        import pymysql

        return pymysql.connect(**mysql_arguments(url), charset="latin1")
    import psycopg

    return psycopg.connect(libpq(url), client_encoding="LATIN1")


@pytest.mark.parametrize("home", [kind for kind in KINDS if kind != "sqlite"], indirect=True)
def test_the_applications_connection_in_another_encoding_stores_what_that_has_and_refuses_the_rest(url: str) -> None:
    app = embedq.EmbedQ(url).connect()
    echo = app.job(name="echo")(say)
    connection = latin(url)
    with app.transaction(connection):
        job = app.options(queue="Zoë").enqueue(echo, "Zoë")
        with pytest.raises(TransactionError, match=r"the encoding of this connection, .*, has no '🎉'.*utf8"):
            app.options(queue="🎉").enqueue(echo, "🎉")
    connection.commit()
    connection.close()
    assert job.snapshot().queue == "Zoë"
    with app.start():
        assert job.result(30) == "Zoë"
    app.close()


@on_postgresql
def test_the_applications_connection_without_an_encoding_is_refused(
    home_of: Callable[[str], Home], tmp_path: Path
) -> None:
    import psycopg

    url = home_of("postgresql").fresh(tmp_path)
    app = embedq.EmbedQ(url).connect()
    echo = app.job(name="echo")(say)
    with psycopg.connect(libpq(url), client_encoding="SQL_ASCII") as connection:
        connection.execute("SELECT 1")
        with app.transaction(connection), pytest.raises(TransactionError, match="SET client_encoding TO 'UTF8'"):
            app.enqueue(echo, "Zoë")
    app.close()

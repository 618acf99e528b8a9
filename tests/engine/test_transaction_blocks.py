"""Where a block holds: nested ones, several apps, threads, tasks; what it refuses; and asynchronous connections."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any

import aiosqlite
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

import embedq
from embedq import NotStartedError, TransactionError
from tests.connections import WAYS, for_sqlalchemy
from tests.databases import Home, SQLiteHome


def note(word: str) -> str:
    return word


def words(app: embedq.EmbedQ) -> list[str]:
    """What the stored jobs were given, oldest first."""
    return [job.arguments.split('"')[1] for job in reversed(app.jobs())]


def file(app: embedq.EmbedQ) -> str:
    return app.settings.url.removeprefix("sqlite:///")


@pytest.fixture
def own(app: embedq.EmbedQ) -> Iterator[sqlite3.Connection]:
    """The application's connection."""
    connection = sqlite3.connect(file(app))
    yield connection
    connection.close()


def test_the_innermost_block_counts(app: embedq.EmbedQ, own: sqlite3.Connection) -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=NullPool)
    with app.transaction(own):
        app.enqueue(note, "outer")
        with app.hold():
            held = app.enqueue(note, "held")
            with app.transaction(own):
                app.enqueue(note, "inner")
        # What was held is enqueued where its block stood.
        assert held.id == 3
        with Session(engine) as session, app.on_commit(session):
            app.enqueue(note, "never")
        app.enqueue(note, "outer again")
    assert app.count_jobs() == 0
    own.commit()
    assert words(app) == ["outer", "inner", "held", "outer again"]
    app.enqueue(note, "outside")
    assert app.count_jobs() == 5


def test_a_block_is_for_one_app(app: embedq.EmbedQ, own: sqlite3.Connection, tmp_path: Path) -> None:
    with embedq.EmbedQ(SQLiteHome().fresh(tmp_path, "other"), stop_timeout=5).connect() as other:
        other.stop()
        theirs = sqlite3.connect(file(other))
        with app.transaction(own):
            other.enqueue(note, "at once")
            assert other.count_jobs() == 1
            with other.transaction(theirs):
                other.enqueue(note, "theirs")
                app.enqueue(note, "ours")
            assert (app.count_jobs(), other.count_jobs()) == (0, 1)
        own.commit()
        theirs.rollback()
        theirs.close()
        assert (app.count_jobs(), other.count_jobs()) == (1, 1)
        other.close()


def test_other_threads_are_outside(app: embedq.EmbedQ, tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=NullPool)
    with Session(engine) as session, app.on_commit(session):
        thread = threading.Thread(target=lambda: app.enqueue(note, "other thread"))
        thread.start()
        thread.join()
        app.enqueue(note, "this thread")
    assert words(app) == ["other thread"]


def test_tasks_begun_before_a_block_are_outside_and_those_that_outlive_it_continue_without(app: embedq.EmbedQ) -> None:
    async def main() -> None:
        engine = sqlalchemy.create_engine("sqlite://", poolclass=NullPool)
        inside, left = asyncio.Event(), asyncio.Event()

        async def neighbour() -> None:
            await inside.wait()
            await app.aenqueue(note, "neighbour")

        async def child() -> None:
            await app.aenqueue(note, "in the block")
            await left.wait()
            await app.aenqueue(note, "after the block")

        before = asyncio.create_task(neighbour())
        with Session(engine) as session, app.on_commit(session):
            began = asyncio.create_task(child())
            await asyncio.sleep(0)
            inside.set()
            await before
        left.set()
        await began

    asyncio.run(main())
    assert words(app) == ["neighbour", "after the block"]


def test_a_block_may_be_left_in_another_context(app: embedq.EmbedQ) -> None:
    """As the `finally` of a generator may be, in frameworks that run it on another thread."""
    entered, other = Context(), Context()
    for _ in range(3):
        block = app.hold()
        entered.run(block.__enter__)
        other.run(block.__exit__, None, None, None)
    assert entered.run(lambda: app.enqueue(note, "outside")).id == 1
    assert block._outer is None


def test_a_job_is_outside_of_a_block_that_another_job_did_not_leave(app: embedq.EmbedQ) -> None:
    """As when it is interrupted between two steps of its `with`."""
    block = app.hold()
    enter = app.job(name="enter")(lambda: block.__enter__() and None)
    outside = app.job(name="outside")(lambda: app.enqueue(note, "outside").id)
    with embedq.EmbedQ(app.settings.url, workers=1, stop_timeout=5):
        enter.enqueue().result(timeout=10)
        assert app.job(outside.enqueue().result(timeout=10)).result(timeout=10) == "outside"


def test_an_enqueue_that_fails_leaves_the_block_as_it_was(app: embedq.EmbedQ, own: sqlite3.Connection) -> None:
    with app.transaction(own):
        app.enqueue(note, "kept")
        with pytest.raises(embedq.SignatureError):
            app.enqueue(note)  # type: ignore[call-overload]
        with pytest.raises(embedq.UnstorableArgumentError):
            app.enqueue(note, object())  # type: ignore[call-overload]
    own.commit()
    assert words(app) == ["kept"]


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (lambda own: "sqlite:///app.db", "a builtins.str is none"),
        (lambda own: own.cursor(), "a sqlite3.Cursor is none"),
        (lambda own: sqlalchemy.create_engine("sqlite://"), "not a SQLAlchemy Engine"),
        (lambda own: sessionmaker(), "not a SQLAlchemy sessionmaker"),
        (lambda own: create_async_engine("sqlite+aiosqlite://"), "not a SQLAlchemy AsyncEngine"),
        (lambda own: None, "a builtins.NoneType is none"),
        (lambda own: psycopg.AsyncConnection.__new__(psycopg.AsyncConnection), "an event loop only"),
        (lambda own: aiosqlite.connect(":memory:"), "an event loop only"),
    ],
)
def test_what_is_no_connection_is_refused(
    app: embedq.EmbedQ, own: sqlite3.Connection, thing: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(TransactionError, match=said):
        app.transaction(thing(own))


def test_a_block_needs_a_connected_app_and_is_entered_once(own: sqlite3.Connection, app: embedq.EmbedQ) -> None:
    with pytest.raises(NotStartedError, match=r"embedq\.start"):
        embedq.EmbedQ("sqlite:///nowhere.db").transaction(own)
    block = app.transaction(own)
    with block:
        pass
    with pytest.raises(TransactionError, match="entered once"), block:
        pass


def test_a_connection_of_another_kind_of_database_is_refused(app: embedq.EmbedQ) -> None:
    with (
        app.transaction(psycopg.Connection.__new__(psycopg.Connection)),
        pytest.raises(TransactionError, match=r"another kind of database \(psycopg\)"),
    ):
        app.enqueue(note, "astray")


def test_a_scoped_session_stands_for_its_session(app: embedq.EmbedQ) -> None:
    engine = sqlalchemy.create_engine(app.settings.url, poolclass=NullPool)
    sessions = scoped_session(sessionmaker(engine))
    with app.transaction(sessions):
        app.enqueue(note, "kept")
    sessions.commit()
    with app.transaction(sessions):
        app.enqueue(note, "lost")
    sessions.remove()
    assert words(app) == ["kept"]


def test_rows_and_texts_may_be_whatever_the_application_likes(app: embedq.EmbedQ, own: sqlite3.Connection) -> None:
    own.row_factory, own.text_factory = sqlite3.Row, bytes
    with app.transaction(own):
        first = app.enqueue(note, "first")
        then = first.then(note, "then", on="failure")
        first_again = app.options(idempotency_key="a").enqueue(note, "a")
        assert app.options(idempotency_key="a").enqueue(note, "b") == first_again
    own.commit()
    assert [first.state, then.state] == [embedq.JobState.READY, embedq.JobState.AWAITING]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no attribute autocommit yet")
def test_sqlite3s_autocommit_attribute_states_whether_there_is_a_transaction(app: embedq.EmbedQ) -> None:
    for autocommit in (False, True):
        own = sqlite3.connect(file(app), autocommit=autocommit)  # type: ignore[call-overload]
        with app.transaction(own):
            if autocommit:
                with pytest.raises(TransactionError, match="autocommit"):
                    app.enqueue(note, "refused")
                own.execute("BEGIN")
            app.enqueue(note, f"with autocommit {autocommit}")
        own.execute("COMMIT")
        own.close()
    assert words(app) == ["with autocommit False", "with autocommit True"]


ASYNCHRONOUS = [
    pytest.param(kind, driver, id=driver)
    for kind, driver in (("sqlite", "aiosqlite"), ("postgresql", "asyncpg"), ("postgresql", "psycopg"))
    if kind in {way.kind for way in WAYS}
]


@pytest.mark.parametrize(("home", "driver"), ASYNCHRONOUS, indirect=["home"])
def test_an_asynchronous_session_takes_jobs_by_aenqueue_or_through_its_synchronous_side(
    home: Home, driver: str, url: str
) -> None:
    app = embedq.EmbedQ(url, secret_key="a key of the tests").connect()
    send = app.job(name="note")(note)
    kind = url.partition(":")[0]

    def several(session: Session) -> list[embedq.JobHandle]:
        with app.transaction(session):
            first = send.options(idempotency_key="first").enqueue("d")
            return [first, first.then(send, "e"), *app.enqueue_many([send.call("f"), send.call("g")])]

    async def main() -> None:
        engine = create_async_engine(for_sqlalchemy(url, kind, driver), poolclass=NullPool)
        async with AsyncSession(engine) as session:
            with app.transaction(session):
                await send.aenqueue("lost")
            await session.rollback()
            with app.transaction(session):
                await app.aenqueue(send, "a")
                await send.options(idempotency_key="b").aenqueue("b")
                with pytest.raises(TransactionError, match="aenqueue"):
                    send.enqueue("c")
            await session.run_sync(several)
            assert app.count_jobs() == 0
            await session.commit()
        async with engine.connect() as connection:
            with app.transaction(connection):
                await app.aenqueue(send, "h")
            await connection.commit()
        scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        with app.transaction(scoped):
            await app.aenqueue(send, "i")
        await scoped.commit()
        await scoped.remove()
        await engine.dispose()

    asyncio.run(main())
    assert words(app) == list("abdefghi")
    app.close()

"""Jobs that are written after the application's commit: `on_commit`, and `hold` around anything."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

import embedq
from embedq import JobState, TransactionError


@contextmanager
def failing(error: type[Exception] = KeyError) -> Iterator[None]:
    """For a block that ends in an exception."""
    with pytest.raises(error):
        yield


def note(word: str) -> str:
    return word


def words(app: embedq.EmbedQ) -> list[str]:
    """What the stored jobs were given, oldest first."""
    return [job.arguments.split('"')[1] for job in reversed(app.jobs())]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session on a database that is not the app's, with savepoints that work (as SQLAlchemy's documentation does)."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/own.db", poolclass=NullPool)
    sqlalchemy.event.listen(engine, "connect", lambda dbapi, _: setattr(dbapi, "isolation_level", None))
    sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with Session(engine) as session:
        yield session


def test_a_job_is_written_after_the_commit(app: embedq.EmbedQ, session: Session) -> None:
    app.start()
    with app.on_commit(session):
        job = app.enqueue(note, "hello")
        many = app.enqueue_many([app.call(note, word) for word in "ab"])
    with pytest.raises(TransactionError, match="not written yet"):
        _ = job.id
    assert "note" in repr(job)
    session.commit()
    assert job.result(timeout=10) == "hello"
    assert [one.result(timeout=10) for one in many] == ["a", "b"]
    assert job == app.job(job.id)


def test_nothing_is_written_after_a_rollback(app: embedq.EmbedQ, session: Session) -> None:
    for end in (session.rollback, session.close):
        with app.on_commit(session):
            job = app.enqueue(note, "lost")
        end()
        # A later transaction of the same session is another matter.
        session.execute(sqlalchemy.text("SELECT 1"))
        session.commit()
        with pytest.raises(TransactionError):
            job.wait(timeout=1)
    assert app.count_jobs() == 0


def test_an_exception_in_the_block_is_the_transactions_matter(app: embedq.EmbedQ, session: Session) -> None:
    with failing(), app.on_commit(session):
        app.enqueue(note, "kept")
        raise KeyError
    session.commit()
    assert words(app) == ["kept"]


def test_a_savepoint_decides_over_its_own(app: embedq.EmbedQ, session: Session) -> None:
    with app.on_commit(session):
        app.enqueue(note, "a")
        with session.begin_nested():
            app.enqueue(note, "b")
            with failing(), session.begin_nested():
                app.enqueue(note, "lost")
                raise KeyError
            with session.begin_nested():
                app.enqueue(note, "c")
        with failing(), session.begin_nested():
            with session.begin_nested():
                app.enqueue(note, "released, and lost with what it was in")
            raise KeyError
        app.enqueue(note, "d")
        assert app.count_jobs() == 0
        session.commit()
        app.enqueue(note, "in the next transaction")
    session.rollback()
    assert words(app) == ["a", "b", "c", "d"]


def test_a_held_job_can_be_continued(app: embedq.EmbedQ, session: Session) -> None:
    with app.on_commit(session):
        first = app.enqueue(note, "first")
        then = first.then(note, "then", on="failure")
        last = then.then(note, "last", on="finished")
        with pytest.raises(embedq.ConfigurationError, match="on="):
            first.then(note, "never", on="whenever")
    late = last.then(note, "after the block")
    session.commit()
    assert words(app) == ["first", "then", "last", "after the block"]
    assert [job.snapshot().parent_id for job in (then, last, late)] == [first.id, then.id, last.id]
    first.cancel()
    assert last.state is JobState.READY
    assert first.then(note, "by then a job like any other", on="finished").state is JobState.READY


def test_a_session_that_must_be_awaited(app: embedq.EmbedQ, tmp_path: Path) -> None:
    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/own.db", poolclass=NullPool)
        async with AsyncSession(engine) as session:
            with app.on_commit(session):
                await app.aenqueue(note, "kept")
            await session.commit()
            with app.on_commit(session):
                await app.aenqueue(note, "lost")
            await session.rollback()
        await engine.dispose()

    asyncio.run(main())
    assert words(app) == ["kept"]


def test_a_scoped_session_stands_for_its_session(app: embedq.EmbedQ) -> None:
    sessions = scoped_session(sessionmaker(sqlalchemy.create_engine("sqlite://", poolclass=NullPool)))
    with app.on_commit(sessions):
        app.enqueue(note, "kept")
    sessions.commit()
    sessions.remove()
    assert words(app) == ["kept"]


def test_a_connection_without_commit_hooks_is_refused(app: embedq.EmbedQ) -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(TransactionError, match=r"hold\(\)"):
        app.on_commit(connection)
    with (
        sqlalchemy.create_engine("sqlite://", poolclass=NullPool).connect() as also,
        pytest.raises(TransactionError, match=r"hold\(\)"),
    ):
        app.on_commit(also)
    connection.close()


def test_hold_writes_when_it_is_left_and_drops_on_an_exception(app: embedq.EmbedQ) -> None:
    own = sqlite3.connect(":memory:", isolation_level=None)
    with app.hold(), own:
        kept = app.enqueue(note, "kept")
        later = app.enqueue_in(60, note, "later")
        assert app.count_jobs() == 0
    own.close()
    with failing(), app.hold():
        lost = app.enqueue(note, "lost")
        raise KeyError
    assert [kept.state, later.state] == [JobState.READY, JobState.SCHEDULED]
    assert words(app) == ["kept", "later"]
    with pytest.raises(TransactionError, match="without writing it"):
        lost.then(note, "after the lost one")


def test_a_hold_inside_another_passes_its_jobs_on(app: embedq.EmbedQ) -> None:
    with app.hold():
        app.enqueue(note, "a")
        with app.hold():
            held = app.enqueue(note, "b")
        held.then(note, "c")
        assert app.count_jobs() == 0
    assert words(app) == ["a", "b", "c"]
    assert held.created


def test_a_key_leads_to_the_first_job(app: embedq.EmbedQ) -> None:
    earlier = app.options(idempotency_key="k").enqueue(note, "first")
    with app.hold():
        held = app.options(idempotency_key="k").enqueue(note, "second")
    assert (held, held.created) == (earlier, False)


def test_an_error_after_the_commit_is_raised_and_holds_up_no_other_job(app: embedq.EmbedQ, session: Session) -> None:
    with app.on_commit(session):
        app._parts.stored.handle(7).then(note, "of nothing")
        kept = app.enqueue(note, "kept")
    with pytest.raises(embedq.JobNotFoundError):
        session.commit()
    assert kept.state is JobState.READY
    with app.on_commit(session):
        app.enqueue(note, "the session goes on")
    session.commit()
    assert words(app) == ["kept", "the session goes on"]


def test_what_cannot_be_written_is_named_in_the_log_and_raised(
    app: embedq.EmbedQ, caplog: pytest.LogCaptureFixture
) -> None:
    parent = app.enqueue(note, "parent")
    block = app.hold()
    with caplog.at_level(logging.ERROR), failing(embedq.JobNotFoundError), block:
        app.enqueue(note, "not alone")
        app._parts.stored.handle(parent.id + 7).then(note, "of nothing")
    assert "2 jobs could not be enqueued" in caplog.text
    assert words(app) == ["parent"]

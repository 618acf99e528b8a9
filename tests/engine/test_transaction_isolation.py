"""What the servers' own rules mean for a job in the application's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import embedq
from embedq import TransactionError
from tests.connections import libpq, mysql_arguments
from tests.databases import KINDS


@contextmanager
def failing(error: type[Exception] = KeyError) -> Iterator[None]:
    """For a block that ends in an exception."""
    with pytest.raises(error):
        yield


def note(word: str) -> str:
    return word


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    app = embedq.EmbedQ(url, secret_key="a key of the tests").connect()
    yield app
    app.close()


@pytest.mark.skipif("postgresql" not in KINDS, reason="PostgreSQL is not there")
@pytest.mark.parametrize("home", ["postgresql"], indirect=True)
class TestPostgreSQL:
    def test_a_key_that_was_taken_after_the_snapshot_is_a_conflict(self, app: embedq.EmbedQ, url: str) -> None:
        import psycopg

        with psycopg.connect(libpq(url)) as own:
            own.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            own.execute("SELECT 1")
            first = app.options(idempotency_key="k").enqueue(note, "first")
            with app.transaction(own), pytest.raises(psycopg.errors.SerializationFailure):
                app.options(idempotency_key="k").enqueue(note, "second")
            own.rollback()
            with app.transaction(own):
                assert app.options(idempotency_key="k").enqueue(note, "second") == first

    def test_a_transaction_block_in_an_autocommitting_connection_is_one(self, app: embedq.EmbedQ, url: str) -> None:
        import psycopg

        with psycopg.connect(libpq(url), autocommit=True) as own:
            with own.transaction(), app.transaction(own):
                kept = app.enqueue(note, "kept")
            with failing(), own.transaction(), app.transaction(own):
                app.enqueue(note, "lost")
                raise KeyError
        assert [job.id for job in app.jobs()] == [kept.id]

    def test_asking_for_tables_that_are_not_there_breaks_nothing(self, app: embedq.EmbedQ, url: str) -> None:
        import psycopg

        with psycopg.connect(libpq(url), dbname="template1") as own:
            own.execute("SELECT 1")
            with app.transaction(own), pytest.raises(TransactionError, match="'template1'"):
                app.enqueue(note, "astray")
            assert own.execute("SELECT 2").fetchone() == (2,)

    def test_an_error_of_the_drivers_is_passed_on(self, app: embedq.EmbedQ, url: str) -> None:
        import psycopg

        with psycopg.connect(libpq(url)) as own:
            with pytest.raises(psycopg.errors.DivisionByZero):
                own.execute("SELECT 1 / 0")
            with app.transaction(own), pytest.raises(psycopg.errors.InFailedSqlTransaction):
                app.enqueue(note, "in a broken transaction")

    def test_a_job_that_the_application_has_locked_blocks_no_process_forever(self, url: str) -> None:
        import psycopg

        app = embedq.EmbedQ(url, busy_timeout=0.1, secret_key="a key of the tests").connect()
        with psycopg.connect(libpq(url)) as own:
            with app.transaction(own):
                app.options(idempotency_key="k").enqueue(note, "first")
            # In the same thread nothing else could end it.
            with pytest.raises(embedq.StorageBusyError, match="lock_timeout"):
                app.options(idempotency_key="k").enqueue(note, "second")
            own.rollback()
        assert app.options(idempotency_key="k").enqueue(note, "second").created
        app.close()

    def test_a_name_with_a_nul_is_refused(self, app: embedq.EmbedQ, url: str) -> None:
        import psycopg

        with psycopg.connect(libpq(url)) as own, app.transaction(own), pytest.raises(embedq.EnqueueError, match="NUL"):
            app.options(queue="a\0b").enqueue(note, "refused")


@pytest.mark.skipif("mysql" not in KINDS, reason="MySQL is not there")
@pytest.mark.parametrize("home", ["mysql"], indirect=True)
class TestMySQL:
    def test_a_key_that_was_taken_after_the_snapshot_leads_to_the_first_job(self, app: embedq.EmbedQ, url: str) -> None:
        import pymysql

        with pymysql.connect(**mysql_arguments(url)) as own:
            own.cursor().execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            own.cursor().execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            first = app.options(idempotency_key="k").enqueue(note, "first")
            with app.transaction(own):
                assert app.options(idempotency_key="k").enqueue(note, "second") == first
                calls = [app.options(idempotency_key=key).task(note).call("many") for key in ("z", "k", "a")]
                many = app.enqueue_many(calls)
            own.commit()
            assert many[1] == first
            assert [job.created for job in many] == [True, False, True]

    def test_a_transaction_that_was_begun_in_an_autocommitting_connection_is_one(
        self, app: embedq.EmbedQ, url: str
    ) -> None:
        import pymysql

        with pymysql.connect(**mysql_arguments(url), autocommit=True) as own:
            own.begin()
            with app.transaction(own):
                app.enqueue(note, "lost")
            own.rollback()
            own.begin()
            with app.transaction(own):
                kept = app.enqueue(note, "kept")
            own.commit()
        assert [job.id for job in app.jobs()] == [kept.id]

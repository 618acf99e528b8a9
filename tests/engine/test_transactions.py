"""Jobs in the application's own transaction, on every database and through every connection that it may have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import JobState, TransactionError
from tests.connections import WAYS, Held, Way
from tests.databases import Home

pytestmark = pytest.mark.parametrize(
    ("home", "way"), [pytest.param(way.kind, way, id=f"{way.kind}-{way.name}") for way in WAYS], indirect=["home"]
)


def note(word: str) -> str:
    return word


def word(job: embedq.JobHandle) -> str:
    """The argument that a job was given."""
    [[word], _] = json.loads(job.snapshot().arguments)
    return str(word)


@pytest.fixture
def app(url: str) -> Iterator[embedq.EmbedQ]:
    """Connected, not started."""
    app = embedq.EmbedQ(url, stop_timeout=5, secret_key="a key of the tests").connect()
    yield app
    app.close()


@pytest.fixture
def task(app: embedq.EmbedQ) -> Any:
    return app.job(name="note")(note)


@pytest.fixture
def connect(way: Way, url: str) -> Iterator[Callable[..., Held]]:
    """Opens the application's connections, and closes them after the test."""
    opened: list[Held] = []

    def connect(to: str = url, **options: bool) -> Held:
        opened.append(way.open(to, **options))
        return opened[-1]

    yield connect
    for held in opened:
        with suppress(Exception):  # closed already
            held.close()


@pytest.fixture
def own(connect: Callable[..., Held]) -> Held:
    """The application's connection."""
    return connect()


def test_a_job_exists_from_the_commit_on_and_a_worker_wakes(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    app.start()
    with app.transaction(own.target):
        job = task.enqueue("hello")
        after = job.then(note, "then")
    with pytest.raises(embedq.JobNotFoundError, match="not committed"):
        _ = job.state
    own.commit()
    assert job.result(timeout=10) == "hello"
    assert after.result(timeout=10) == "then"


def test_a_worker_wakes_after_a_commit_inside_the_block(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    app.start()
    with app.transaction(own.target):
        first = task.enqueue("first")
        own.commit()
        assert first.result(timeout=10) == "first"
        second = task.enqueue("second")
        own.commit()
    assert second.result(timeout=10) == "second"


def test_a_rolled_back_job_never_existed(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    with app.transaction(own.target):
        job = task.enqueue("lost")
    own.rollback()
    assert app.jobs() == []
    with pytest.raises(embedq.JobNotFoundError):
        job.wait(timeout=1)


def test_a_savepoint_takes_back_what_was_enqueued_in_it(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    with app.transaction(own.target):
        kept = task.enqueue("kept")
        own.execute("SAVEPOINT half_way")
        task.enqueue("lost")
        own.execute("ROLLBACK TO SAVEPOINT half_way")
    own.commit()
    assert [job.id for job in app.jobs()] == [kept.id]


def test_every_verb_writes_in_the_transaction(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    with app.transaction(own.target):
        now = app.enqueue(note, "a")
        later = [task.enqueue_in(60, "b"), app.enqueue_at(datetime.now(UTC) + timedelta(days=1), note, "c")]
        many = app.enqueue_many([task.call(word) for word in "defg"] + [task.options(priority=3).call("h")])
        chosen = [task.options(queue="low").enqueue("i"), app.options(tags=["x"]).enqueue(note, "j")]
        waiting = [now.then(note, "k"), later[0].then(task, "l", on="finished")]
        asynchronous = asyncio.run(task.aenqueue("m"))
    assert app.jobs() == []
    own.commit()
    jobs = [now, *later, *many, *chosen, *waiting, asynchronous]
    assert sorted(job.id for job in app.jobs()) == [job.id for job in jobs]
    assert [job.state for job in later] == [JobState.SCHEDULED] * 2
    assert [job.state for job in waiting] == [JobState.AWAITING] * 2
    assert [job.state for job in (now, *many, *chosen, asynchronous)] == [JobState.READY] * 9
    assert [word(job) for job in many] == list("defgh")


def test_a_job_continues_one_that_is_there_already(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    ended, waits = task.enqueue("ended"), task.enqueue_in(60, "waits")
    assert ended.cancel() is JobState.CANCELLED
    with app.transaction(own.target):
        at_once, never, later = ended.then(task, "a", on="finished"), ended.then(task, "b"), waits.then(task, "c")
        with pytest.raises(embedq.JobNotFoundError):
            app._parts.stored.handle(99999).then(task, "of nothing")
    own.commit()
    assert [job.state for job in (at_once, never, later)] == [JobState.READY, JobState.CANCELLED, JobState.AWAITING]


def test_a_key_leads_to_the_first_job(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    earlier = task.options(idempotency_key="earlier").enqueue("first")
    with app.transaction(own.target):
        assert task.options(idempotency_key="earlier").enqueue("second") == earlier
        first = task.options(idempotency_key="now").enqueue("first")
        again = task.options(idempotency_key="now").enqueue("second")
    own.commit()
    assert (first == again, first.created, again.created) == (True, True, False)
    assert sorted(job.id for job in app.jobs()) == [earlier.id, first.id]


def test_many_jobs_go_in_together(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    with app.transaction(own.target):
        many = app.enqueue_many(task.call(str(number)) for number in range(1500))
    own.commit()
    assert [word(many[0]), word(many[-1])] == ["0", "1499"]


def test_keys_of_many_lead_to_the_first_jobs(app: embedq.EmbedQ, task: Any, own: Held) -> None:
    earlier = task.options(idempotency_key="é").enqueue("earlier")
    keys = ["z", None, "é", "a", "z", "m"]
    with app.transaction(own.target):
        many = app.enqueue_many(task.options(idempotency_key=key).call(str(key)) for key in keys)
    own.commit()
    assert [job.created for job in many] == [True, True, False, True, False, True]
    assert (many[2], many[4]) == (earlier, many[0])
    assert [word(job) for job in many] == ["z", "None", "earlier", "a", "z", "m"]
    created = [job.id for job in many if job.created]
    assert created == sorted(created)
    assert app.count_jobs() == 5


def test_autocommit_is_refused(app: embedq.EmbedQ, task: Any, connect: Callable[..., Held]) -> None:
    with app.transaction(connect(autocommit=True).target), pytest.raises(TransactionError, match="autocommit"):
        task.enqueue("alone")
    assert app.jobs() == []


def test_a_closed_connection_is_refused(app: embedq.EmbedQ, task: Any, way: Way, own: Held) -> None:
    own.close()
    if way.name == "sqlalchemy-session":
        pytest.skip("a closed session opens itself again")
    with app.transaction(own.target), pytest.raises(TransactionError, match="closed"):
        task.enqueue("late")


def test_a_read_only_transaction_is_refused(app: embedq.EmbedQ, task: Any, way: Way, own: Held) -> None:
    own.execute(
        {
            "sqlite": "PRAGMA query_only = ON",
            "postgresql": "SET TRANSACTION READ ONLY",
            "mysql": "START TRANSACTION READ ONLY",
        }[way.kind]
    )
    with app.transaction(own.target), pytest.raises(TransactionError, match="read-only"):
        task.enqueue("refused")
    own.rollback()


def test_a_connection_to_another_database_is_refused(
    app: embedq.EmbedQ, task: Any, way: Way, home: Home, url: str, tmp_path: Path, connect: Callable[..., Held]
) -> None:
    assert app.database.folder.exists()
    again = ""
    if way.kind == "sqlite":
        own = connect(home.fresh(tmp_path, "other"))
    else:
        own = connect()
        [(again,)] = home.execute(url, "SELECT id FROM embedq_identity")
        home.execute(url, "UPDATE embedq_identity SET id = 'another'")
    try:
        with app.transaction(own.target), pytest.raises(TransactionError, match="one transaction cannot reach both"):
            task.enqueue("astray")
    finally:
        if again:
            home.execute(url, f"UPDATE embedq_identity SET id = '{again}'")

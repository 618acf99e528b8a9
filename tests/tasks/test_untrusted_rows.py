"""Rows written by someone who can only reach the database never become code."""

from __future__ import annotations

import base64
import json
import pickle
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedq
from embedq import JobHandle, JobState
from tests.support import eventually


def touch(path: str) -> str:
    Path(path).write_text("ran")
    return "ran"


class Booby:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (touch, (str(self.path),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def queue(path: Path) -> Iterator[embedq.EmbedQ]:
    app = embedq.EmbedQ(path, workers=2).connect()
    yield app
    app.close()


def alter(path: Path, job: JobHandle, **columns: str | None) -> None:
    """Change a row as somebody would who has the file and a SQLite shell."""
    connection = sqlite3.connect(path, isolation_level=None)
    for name, value in columns.items():
        connection.execute(f"UPDATE embedq_jobs SET {name} = ? WHERE id = ?", (value, job.id))
    connection.close()


def code_of(path: Path, job: JobHandle) -> dict[str, str]:
    connection = sqlite3.connect(path)
    (text,) = connection.execute("SELECT code FROM embedq_jobs WHERE id = ?", (job.id,)).fetchone()
    connection.close()
    code: dict[str, str] = json.loads(text)
    return code


def run_until_parked(queue: embedq.EmbedQ, job: JobHandle) -> str:
    """Start the app; the reason why the job was parked."""
    queue.start()
    eventually(lambda: job.state is JobState.PARKED)
    return str(job.snapshot().error)


def test_an_unaltered_lambda_runs(queue: embedq.EmbedQ, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job = queue.enqueue(lambda: touch(str(mark)))
    queue.start()
    assert job.result(timeout=10) == "ran"
    assert mark.exists()


def test_a_pickle_that_was_exchanged_is_parked_and_never_unpickled(
    queue: embedq.EmbedQ, path: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job = queue.enqueue(lambda: "harmless")
    code = code_of(path, job)
    code["pickle"] = base64.b64encode(pickle.dumps(Booby(mark))).decode()
    alter(path, job, code=json.dumps(code))
    assert "was altered after it was signed" in run_until_parked(queue, job)
    assert not mark.exists()
    # The trap is real: it is not sprung only because it is never touched.
    pickle.loads(base64.b64decode(code["pickle"]))
    assert mark.exists()


def test_arguments_that_were_exchanged_are_parked(queue: embedq.EmbedQ, path: Path, tmp_path: Path) -> None:
    job = queue.enqueue(touch, str(tmp_path / "mine"))
    alter(path, job, payload=json.dumps([[str(tmp_path / "theirs")], {}]))
    assert "was altered after it was signed" in run_until_parked(queue, job)
    assert not (tmp_path / "theirs").exists()
    assert not (tmp_path / "mine").exists()


def test_a_name_that_was_exchanged_is_parked(queue: embedq.EmbedQ, path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job = queue.enqueue(touch, f"touch {mark}")
    alter(path, job, name="os:system")
    assert "was altered after it was signed" in run_until_parked(queue, job)
    assert not mark.exists()


def test_a_row_without_a_signature_runs_nothing_but_registered_tasks(
    queue: embedq.EmbedQ, path: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    job = queue.enqueue(touch, f"touch {mark}")
    alter(path, job, name="os:system", code=None)
    assert "no task is registered as 'os:system'" in run_until_parked(queue, job)
    assert not mark.exists()


@pytest.mark.parametrize("code", ["{", "[]", "{}", '{"pickle": 1}', '{"sig": "00", "key": "00"}', "null"])
def test_code_that_is_nonsense_is_parked(queue: embedq.EmbedQ, path: Path, code: str) -> None:
    job = queue.enqueue(lambda: "harmless")
    alter(path, job, code=code)
    assert run_until_parked(queue, job)
    assert len(job.attempts()) == 1


def test_a_registered_name_does_not_make_foreign_code_trusted(queue: embedq.EmbedQ, path: Path, tmp_path: Path) -> None:
    @queue.job(name="registered")
    def registered() -> str:
        return "registered"

    mark = tmp_path / "mark"
    job = queue.enqueue(lambda: "harmless")
    code = code_of(path, job) | {"pickle": base64.b64encode(pickle.dumps(Booby(mark))).decode()}
    alter(path, job, name="registered", code=json.dumps(code))
    assert "was altered after it was signed" in run_until_parked(queue, job)
    assert not mark.exists()


def test_a_recurring_job_whose_code_was_exchanged_makes_parked_jobs(
    queue: embedq.EmbedQ, path: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    queue.recurring("nightly", "0 2 * * *", lambda: "harmless")
    connection = sqlite3.connect(path, isolation_level=None)
    (text,) = connection.execute("SELECT template FROM embedq_schedules").fetchone()
    template = json.loads(text)
    code = json.loads(template["code"]) | {"pickle": base64.b64encode(pickle.dumps(Booby(mark))).decode()}
    connection.execute("UPDATE embedq_schedules SET template = ?", (json.dumps(template | {"code": json.dumps(code)}),))
    connection.close()
    job = queue.trigger_recurring("nightly")
    assert "was altered after it was signed" in run_until_parked(queue, job)
    assert not mark.exists()


def test_a_row_that_another_key_signed_is_parked_until_that_key_is_here(
    queue: embedq.EmbedQ, path: Path, tmp_path: Path
) -> None:
    theirs = embedq.EmbedQ(path, secret_key="another key of some length").connect()
    job = theirs.enqueue(lambda: "theirs")
    assert "is signed with key" in run_until_parked(queue, job)
    assert job.snapshot().attempt == 0
    theirs.start()
    assert job.result(timeout=10) == "theirs"
    theirs.close()


def test_a_parked_row_is_checked_again_at_a_retry_by_hand(queue: embedq.EmbedQ, path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job = queue.enqueue(touch, str(mark))
    alter(path, job, payload=json.dumps([[str(tmp_path / "theirs")], {}]))
    run_until_parked(queue, job)
    job.retry()
    eventually(lambda: len(job.attempts()) == 2)
    eventually(lambda: job.state is JobState.PARKED)
    alter(path, job, payload=json.dumps([[str(mark)], {}], separators=(",", ":")))
    job.retry()
    assert job.result(timeout=10) == "ran"
    assert mark.exists()
    assert not (tmp_path / "theirs").exists()


def test_the_key_file_is_for_its_owner_alone(queue: embedq.EmbedQ, path: Path) -> None:
    queue.enqueue(lambda: 1)
    key = path.with_name("app.db.embedq") / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    other = embedq.EmbedQ(path).connect()
    with pytest.raises(embedq.ConfigurationError, match="chmod 600"):
        other.enqueue(lambda: 1)
    other.close()

"""What a job puts in its meta: stored while it runs, seen from its handle, and there for its next run."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

import embedq
from embedq import Draft, EmbedQ, JobState, Retry
from embedq.tasks.context import MAX_META_BYTES, JobMeta
from embedq.testing import app_under_test
from tests.support import eventually

SECRET = "the key of a test of meta, long enough"
go_on = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    go_on.clear()
    yield
    go_on.set()


def note(**values: Any) -> dict[str, Any]:
    meta = embedq.current_job().meta
    meta.update(values)
    return dict(meta)


async def note_async(**values: Any) -> dict[str, Any]:
    return await asyncio.to_thread(note, **values)


def note_and_wait() -> None:
    embedq.current_job().meta["stage"] = "upload"
    go_on.wait(60)


def count_runs() -> int:
    meta = embedq.current_job().meta
    meta["runs"] = meta.get("runs", 0) + 1
    if meta["runs"] < 3:
        raise ConnectionError("once more")
    return int(meta["runs"])


def stamp(draft: Draft) -> Draft:
    draft.meta["request"] = "r-17"
    return draft


@pytest.fixture
def on(url: str) -> Iterator[EmbedQ]:
    """An app on each database, started."""
    app = EmbedQ(url, secret_key=SECRET, enqueue_middleware=[stamp], processes=1)
    with app:
        yield app
    app.close()


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_what_a_job_puts_in_its_meta_is_seen_from_its_handle(on: EmbedQ, executor: Any) -> None:
    function = note_async if executor == "async" else note
    job = on.options(executor=executor, timeout=50).enqueue(function, pages=[1, 2], name="Zoë \x00", none=None)
    expected = {"request": "r-17", "pages": [1, 2], "name": "Zoë \x00", "none": None}
    assert job.result(60) == expected
    assert job.meta == expected
    # What else is stored beside it is still there.
    again = on.options(executor=executor, retry=Retry(attempts=1), retention=embedq.Retention()).enqueue(function, a=1)
    assert again.result(60) == again.meta == {"request": "r-17", "a": 1}


def test_it_is_seen_while_the_job_runs(on: EmbedQ) -> None:
    job = on.enqueue(note_and_wait)
    eventually(lambda: job.meta.get("stage") == "upload", seconds=60)
    assert job.state is JobState.RUNNING
    go_on.set()
    job.wait(60)
    assert job.meta["stage"] == "upload"


def test_the_next_run_finds_what_the_one_before_has_put_there(on: EmbedQ) -> None:
    retry = Retry(attempts=3, wait=tenacity.wait_none())
    job = on.options(retry=retry).enqueue(count_runs)
    assert (job.result(60), job.meta["runs"]) == (3, 3)


def test_a_test_sees_it_too(tmp_path: Path) -> None:
    with app_under_test(folder=tmp_path) as kit:
        job = embedq.enqueue(note, stage="done")
        assert job.meta == {}
        kit.drain()
        assert job.meta == {"stage": "done"}
        with pytest.raises(embedq.JobNotFoundError):
            _ = embedq.default_app()._parts.stored.handle(99).meta


def test_each_change_is_stored_and_what_json_cannot_hold_is_refused_at_once() -> None:
    saved: list[dict[str, Any]] = []
    meta = JobMeta({"a": 1}, lambda values: saved.append(dict(values)))
    meta["b"] = 2
    meta.update(c=3)
    meta |= {"d": 4}
    assert meta.setdefault("e", 5) == meta.pop("e") == 5
    del meta["d"]
    assert saved[-1] == meta == {"a": 1, "b": 2, "c": 3}
    meta.clear()
    assert saved[-1] == {}
    count = len(saved)
    for key, value, error in (
        ("x", object(), TypeError), ("x", float("nan"), TypeError), (1, "x", TypeError),
        ("x", "y" * 70_000, ValueError),
    ):  # fmt: skip
        with pytest.raises(error, match="meta"):
            meta[key] = value  # type: ignore[index]
    assert (meta, len(saved)) == ({}, count)
    meta["large"] = "y" * (MAX_META_BYTES - 100)
    assert type(pickle.loads(pickle.dumps(meta))) is dict

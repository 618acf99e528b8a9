"""Context variables: each job begins with those of the start, and what it binds is gone with it."""

from __future__ import annotations

import asyncio
import decimal
import locale
import os
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar
from pathlib import Path
from typing import Any

import pytest

import embedq
from embedq import JobHandle
from embedq.testing import AppUnderTest

user: ContextVar[str] = ContextVar("user", default="nobody")
tenant: ContextVar[str] = ContextVar("tenant", default="none")


def bind(name: str) -> list[object]:
    """What was bound before; as `structlog.contextvars.bind_contextvars` does."""
    before = [user.get(), tenant.get(), decimal.getcontext().prec]
    user.set(name)
    decimal.getcontext().prec = 5
    return before


async def bind_later(name: str) -> list[list[object]]:
    before = await asyncio.create_task(asyncio.to_thread(bind, name))
    return [before, bind(name)]


def run_in_the_context_of(start: Callable[[], object]) -> None:
    def begin() -> None:
        tenant.set("acme")
        decimal.getcontext().prec = 20
        start()

    Context().run(begin)


@pytest.fixture
def started(tmp_path: Path) -> Any:
    app = embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db", workers=1, processes=1, stop_timeout=5)
    run_in_the_context_of(app.start)
    yield app
    assert app.stop()
    app.close()


def test_a_job_on_a_thread_does_not_see_what_the_one_before_it_bound(started: embedq.EmbedQ) -> None:
    handles = [started.enqueue(bind, str(n)) for n in range(5)]
    assert [handle.result(10) for handle in handles] == [["nobody", "acme", 20]] * 5
    assert decimal.getcontext().prec == 28


def test_nor_does_one_on_the_event_loop(started: embedq.EmbedQ) -> None:
    handles = [started.enqueue(bind_later, str(n)) for n in range(5)]
    for handle in handles:
        in_thread, in_task = handle.result(10)
        assert in_thread[:2] == in_task[:2] == ["nobody", "acme"]


def change_the_process(folder: str) -> list[str]:
    seen = [locale.setlocale(locale.LC_ALL), os.getcwd(), user.get(), str(os.getpid())]
    user.set("somebody")
    locale.setlocale(locale.LC_ALL, "C")
    locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
    os.chdir(folder)
    return seen


def test_a_process_is_as_it_was_for_its_next_job(started: embedq.EmbedQ, tmp_path: Path) -> None:
    seen = [started.options(executor="process").enqueue(change_the_process, str(tmp_path)).result(30) for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    bound = [started.options(executor="process").enqueue(bind, str(n)).result(30) for n in range(3)]
    assert bound[0] == bound[1] == bound[2]


def test_in_the_testing_kit_jobs_see_what_was_bound_at_the_start_alone(embedq_app: AppUnderTest) -> None:
    user.set("the test")
    handles: list[JobHandle] = [embedq.enqueue(bind, "a"), embedq.enqueue(bind, "b")]
    embedq_app.drain()
    assert [handle.result(0)[:2] for handle in handles] == [["nobody", "none"]] * 2
    run_in_the_context_of(embedq.start)
    handles = [embedq.enqueue(bind, "a"), embedq.enqueue(bind, "b"), embedq.enqueue(bind_later, "c")]
    embedq_app.drain()
    assert [handle.result(0) for handle in handles[:2]] == [["nobody", "acme", 20]] * 2
    assert handles[2].result(0)[1][:2] == ["nobody", "acme"]


def test_a_job_is_not_in_the_transaction_in_which_the_app_was_started(tmp_path: Path) -> None:
    import sqlite3

    app = embedq.EmbedQ(f"sqlite:///{tmp_path}/app.db", workers=1).connect()
    inner: list[object] = []
    done = threading.Event()

    def enqueue_another() -> None:
        inner.append(app.enqueue(int, 1).id)
        done.set()

    connection = sqlite3.connect(tmp_path / "app.db")
    with app.transaction(connection):
        app.start()
    connection.close()
    app.job(name="enqueue another")(enqueue_another).enqueue()
    assert done.wait(10)
    assert inner[0] is not None
    assert app.stop()
    app.close()

"""Pauses while several processes claim at once: nothing is lost, nothing stays held, and no claim deadlocks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from embedq import EmbedQ, JobState
from embedq.flow.holds import is_hold
from embedq.storage import inspect
from tests.support import eventually

KEY = "k" * 40
QUEUES = ("default", "mail", "low")


def one(number: int) -> int:
    return number


def other(number: int) -> int:
    return -number


TARGETS: list[dict[str, Any]] = [{"queue": "mail"}, {"queue": "default"}, {"task": one}, {"task": other}, {}]


@pytest.mark.parametrize("seed", [1])
def test_pausing_and_resuming_under_load_loses_no_job_and_holds_none(url: str, seed: int) -> None:
    luck = random.Random(seed)
    apps = [
        EmbedQ(url, workers=3, secret_key=KEY, queues=queues, stop_timeout=10).start()
        for queues in (None, None, ["low", "mail", "default"])
    ]
    errors: list[BaseException] = []
    ending = threading.Event()

    def repeat(step: Callable[[], object]) -> None:
        try:
            while not ending.is_set():
                step()
        except BaseException as error:
            errors.append(error)

    def toggle() -> None:
        app = luck.choice(apps)
        target = luck.choice(TARGETS)
        if luck.random() < 0.5:
            app.pause(**target)
        else:
            app.resume(**target)

    threads = [threading.Thread(target=repeat, args=(toggle,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        jobs = []
        for _ in range(15):
            app = luck.choice(apps)
            jobs += app.enqueue_many(
                [app.options(queue=luck.choice(QUEUES)).call(luck.choice([one, other]), n) for n in range(100)]
            )
            jobs.append(app.options(queue=luck.choice(QUEUES)).enqueue(one, 1))
        ending.set()
        for thread in threads:
            thread.join()
        for target in TARGETS:
            apps[0].resume(**target)
        eventually(lambda: not unfinished(apps[0]), seconds=90)
        assert apps[0].count_jobs(state=JobState.SUCCEEDED) == len(jobs)
        assert not [need for need in apps[0].database.read(inspect.parked_needs) if is_hold(need)]
        assert errors == []
    finally:
        ending.set()
        for app in apps:
            app.close()


def unfinished(app: EmbedQ) -> int:
    return sum(app.count_jobs(state=state) for state in (JobState.READY, JobState.PARKED, JobState.RUNNING))

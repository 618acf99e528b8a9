"""Unique jobs that several processes enqueue and run at once: never two, never none, and no deadlock."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from tenacity import wait_fixed

import embedq
from embedq import EmbedQ, JobState, Retry
from tests.support import eventually

KEY = "k" * 40
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def apps(url: str) -> Iterator[list[EmbedQ]]:
    """Three apps on one database, each with workers and connections of its own."""
    apps = [EmbedQ(url, workers=3, secret_key=KEY, stop_timeout=10, sigterm=False).start() for _ in range(3)]
    yield apps
    for app in apps:
        app.close()


def in_threads(functions: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Run each in a thread of its own; the errors."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def unfinished(app: EmbedQ) -> int:
    return sum(app.count_jobs(state=state) for state in JobState if not state.ended)


def test_the_last_change_is_seen_whichever_process_makes_and_runs_it(apps: list[EmbedQ]) -> None:
    seen: defaultdict[str, set[int]] = defaultdict(set)
    latest: dict[str, int] = {}
    locks = {name: threading.Lock() for name in NAMES}
    unique = embedq.Unique("waiting", by=("name",), on_conflict="replace")

    def index(name: str, version: int) -> None:
        seen[name].add(version)

    tasks = [app.job(name="unique:index", unique=unique)(index) for app in apps]

    def change(seed: int) -> None:
        luck = random.Random(seed)
        for _ in range(25):
            name = luck.choice(NAMES)
            with locks[name]:
                latest[name] = latest.get(name, 0) + 1
                luck.choice(tasks).enqueue(name, latest[name])

    assert in_threads([partial(change, seed) for seed in range(6)]) == []
    eventually(lambda: not unfinished(apps[0]), seconds=60)
    assert {name: max(seen[name]) for name in latest} == latest


def test_a_call_of_an_unfinished_job_is_that_job_also_while_it_fails_and_in_batches(apps: list[EmbedQ]) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    counting = threading.Lock()
    luck = random.Random(1)

    def sync(name: str) -> None:
        with counting:
            running[name] += 1
            most[name] = max(most[name], running[name])
            fails = luck.random() < 0.3
        try:
            if fails:
                raise ConnectionError("later")
        finally:
            with counting:
                running[name] -= 1

    retry = Retry(attempts=20, wait=wait_fixed(0.01))
    tasks = [app.job(name="unique:sync", unique=embedq.Unique("unfinished"), retry=retry)(sync) for app in apps]

    def call(seed: int) -> None:
        luck = random.Random(seed)
        for _ in range(15):
            number = luck.randrange(len(apps))
            # In any order: they are locked in one.
            names = luck.sample(NAMES, k=3)
            apps[number].enqueue_many([tasks[number].call(name) for name in names])
            luck.choice(tasks).enqueue(luck.choice(NAMES))

    assert in_threads([partial(call, seed) for seed in range(4)]) == []
    eventually(lambda: not unfinished(apps[0]), seconds=60)
    assert most == dict.fromkeys(NAMES, 1)
    assert {job.state for job in apps[0].jobs(limit=1000)} == {JobState.SUCCEEDED}

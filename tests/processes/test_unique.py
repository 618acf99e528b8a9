"""Unique jobs that several processes enqueue and run at once: never two, never none, and no deadlock."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from tenacity import wait_fixed

import embedq
from embedq import EmbedQ, JobState, Retry
from tests.processes.fleet import KILLS, Fleet, all_ended
from tests.processes.jobs import run_index, run_unique
from tests.processes.journal import Span, most_at_once
from tests.support import eventually

# A suspect is tried for a short while; see programs.py.
SETTINGS: dict[str, Any] = {"workers": 4, "max_crashes": 1000, "trial": 0.2}
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


@pytest.fixture
def versions(fleet: Fleet, queue: EmbedQ, dice: random.Random) -> Counter[str]:
    """The latest version that was enqueued of each key, with all work done by processes of which some were killed."""
    versions: Counter[str] = Counter()

    def change(count: int) -> None:
        for key in dice.choices(NAMES, k=count):
            versions[key] += 1
            queue.enqueue(run_index, key, versions[key])

    callers: dict[str, Any] = {"keys": NAMES, "workers": 4, "max_crashes": 1000}
    programs = [fleet.start("work", **SETTINGS), *(fleet.start("work_and_call", **callers) for _ in "ab")]
    for program in programs:
        assert program.read_line() == "ready"
    for number in range(KILLS):
        change(10)
        programs.remove(fleet.kill_busy(programs, dice))
        programs.append(fleet.start("work_and_call", **callers) if number % 2 else fleet.start("work", **SETTINGS))
        change(10)
    fleet.worker(**SETTINGS)
    for program in programs:
        assert program.end() == 0, program.errors
    eventually(lambda: all_ended(queue), seconds=60)
    return versions


def test_a_key_runs_once_at_a_time_and_is_never_left_behind_while_processes_are_killed(
    fleet: Fleet, queue: EmbedQ, versions: Counter[str]
) -> None:
    jobs = {job.id: job for job in queue.jobs(limit=10_000)}
    runs = fleet.runs()
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for job in jobs.values():
        if job.name == "tests:unique":
            spans[json.loads(job.arguments)[0][0]] += runs[job.id]
    assert {key: most_at_once(found) for key, found in spans.items()} == dict.fromkeys(NAMES, 1)
    assert [span for found in spans.values() for span in found if not span.complete], "nobody was killed in a run"
    # Nothing is lost: what was acknowledged has run, and so has the latest version of each key.
    acknowledged = {line["job"] for line in fleet.events("acknowledged")}
    assert {jobs[job_id].state for job_id in acknowledged} == {JobState.SUCCEEDED}
    seen: Counter[str] = Counter()
    for line in fleet.events("seen"):
        seen[line["key"]] = max(seen[line["key"]], line["version"])
    assert seen == versions
    # No key is left behind.
    for key in NAMES:
        calls = [queue.enqueue(run_unique, key, 0.0), queue.enqueue(run_index, key, 0)]
        assert [call.created for call in calls] == [True, True]
        assert [call.wait(timeout=30) for call in calls] == [JobState.SUCCEEDED] * 2

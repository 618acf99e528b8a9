"""A server that stops, crashes and starts again under load: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import threading
import time
from collections import Counter

import embedq
from embedq import JobState
from tests.servers.conftest import Cluster
from tests.support import eventually


def test_a_server_that_restarts_and_crashes_under_load_loses_nothing(cluster: Cluster) -> None:
    app = embedq.EmbedQ(cluster.url, workers=4, sigterm=False)
    runs: Counter[int] = Counter()
    running: set[int] = set()
    lock = threading.Lock()
    twice_at_once: list[int] = []

    @app.job(name="restart:count")
    def count() -> None:
        job = embedq.current_job().id
        with lock:
            if job in running:
                twice_at_once.append(job)
            running.add(job)
            runs[job] += 1
        time.sleep(0.002)
        with lock:
            running.discard(job)

    acknowledged: list[int] = []
    ended = threading.Event()

    def produce() -> None:
        while not ended.is_set():
            acknowledged.append(count.enqueue().id)

    with app:
        producers = [threading.Thread(target=produce) for _ in range(3)]
        for producer in producers:
            producer.start()
        for how in ("fast", "immediate", "fast", "immediate"):
            time.sleep(0.7)
            cluster.stop(how)
            time.sleep(0.5)
            cluster.start()
        time.sleep(0.7)
        ended.set()
        for producer in producers:
            producer.join()
        eventually(lambda: app.count_jobs(state=JobState.SUCCEEDED, cap=10**6) == len(acknowledged), seconds=60)
        total = app.count_jobs(cap=10**6)
    print(f"{len(acknowledged)} jobs over 4 restarts")
    assert total == len(acknowledged) == len(set(acknowledged))
    assert runs == Counter(acknowledged)
    assert twice_at_once == []

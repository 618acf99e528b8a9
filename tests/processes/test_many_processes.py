"""Eight processes on one file: each job runs exactly once, whoever enqueued it (promise G3)."""

from __future__ import annotations

import json
from collections import Counter

import embedq
from embedq import JobState
from tests.processes.fleet import Fleet
from tests.processes.jobs import run
from tests.support import eventually

PROCESSES = 8


def test_eight_processes_run_each_of_five_thousand_jobs_exactly_once(fleet: Fleet, queue: embedq.EmbedQ) -> None:
    programs = [fleet.start("share", jobs=125, workers=4) for _ in range(PROCESSES)]
    for program in programs:
        assert program.read_line() == "ready"

    for program in programs:
        program.write_line("go")
    enqueued = [job.id for job in queue.enqueue_many(queue.call(run) for _ in range(4000))]
    for program in programs:
        enqueued += json.loads(program.read_line())

    assert len(set(enqueued)) == 5000
    eventually(lambda: queue.count_jobs(state=JobState.SUCCEEDED) == 5000, seconds=60)
    assert all(program.end() == 0 for program in programs)
    runs = fleet.runs()
    assert runs.keys() == set(enqueued)
    assert all(len(spans) == 1 and spans[0].complete for spans in runs.values())
    assert Counter(line["event"] for line in fleet.events("end")) == {"end": 5000}
    assert len({spans[0].pid for spans in runs.values()}) == PROCESSES


def test_the_first_start_by_eight_processes_at_once_migrates_once(fleet: Fleet) -> None:
    rounds = 4
    urls = [fleet.home.missing(fleet.folder, f"together{number}") for number in range(rounds)]
    programs = [fleet.start("start_together", urls=urls) for _ in range(PROCESSES)]
    for program in programs:
        assert program.read_line() == "ready"

    for url in urls:
        for program in programs:
            program.write_line("go")
        ran = [int(program.read_line()) for program in programs]

        assert set(ran) <= {program.pid for program in programs}
        applied = fleet.home.applied(url)
        succeeded = fleet.home.execute(url, "SELECT count(*) FROM embedq_jobs WHERE state = 'succeeded'")
        assert applied
        assert len(set(applied)) == len(applied)
        assert succeeded == [(PROCESSES,)]
    assert all(program.end() == 0 for program in programs)
    assert len(fleet.events("end")) == PROCESSES * rounds

"""The log records of jobs: a failure has its error, for those that collect errors; DEBUG tells a job's whole way."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity

import embedq
from embedq import NO_RETRY, EmbedQ, JobState, Retry
from embedq.tasks.options import Executor
from tests.support import eventually
from tests.worker import process_jobs


def divide(by: int) -> float:
    return 1 / by


async def divide_later(by: int) -> float:
    return 1 / by


def cannot_be_formatted() -> None:
    raise SyntaxError("x", ("f", "x", "y", 7))  # type: ignore[arg-type]


def half_a_pair() -> None:
    raise ValueError("half \udcff")


def go_on() -> None:
    while True:
        time.sleep(0.01)


class Collector(logging.Handler):
    """As an error tracker: takes what it needs while the record is handled."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.locals: list[dict[str, object]] = []
        self.threads: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)
        self.records.append(record)
        if record.exc_info and record.exc_info[0] is not None:
            self.kinds.append(record.exc_info[0].__name__)
            self.threads.append(threading.current_thread().name)
            frames = record.exc_info[2]
            while frames is not None and frames.tb_next is not None:
                frames = frames.tb_next
            self.locals.append({} if frames is None else dict(frames.tb_frame.f_locals))


@pytest.fixture
def collector() -> Iterator[Collector]:
    handler = Collector()
    logger = logging.getLogger("embedq")
    logger.addHandler(handler)
    # Some other test's application may have asked for more.
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


@pytest.mark.parametrize("function", [divide, divide_later])
def test_a_dead_jobs_record_has_the_error_itself_with_its_frames(
    app: EmbedQ, collector: Collector, function: Callable[[int], Any]
) -> None:
    app.start()
    job = app.options(retry=NO_RETRY).enqueue(function, 0)
    assert job.wait(20) is JobState.DEAD
    eventually(lambda: collector.kinds == ["ZeroDivisionError"])
    [record] = collector.records
    assert (record.levelno, vars(record)["job_id"]) == (logging.ERROR, job.id)
    assert collector.locals == [{"by": 0}]
    # Where the job ran: what an error tracker knows of a thread is that of the job's.
    assert not collector.threads[0].startswith("embedq-dispatcher")


def test_so_has_that_of_one_that_is_tried_again(app: EmbedQ, collector: Collector) -> None:
    app.start()
    job = app.options(retry=Retry(attempts=2, wait=tenacity.wait_fixed(0))).enqueue(divide, 0)
    assert job.wait(20) is JobState.DEAD
    eventually(lambda: collector.kinds == ["ZeroDivisionError"] * 2)
    assert [record.levelno for record in collector.records] == [logging.WARNING, logging.ERROR]


def test_a_timeout_is_a_timeout_error(app: EmbedQ, collector: Collector) -> None:
    app.start()
    job = app.options(retry=NO_RETRY, timeout=0.1).enqueue(go_on)
    assert job.wait(20) is JobState.DEAD
    eventually(lambda: collector.kinds == ["TimeoutError"])


def test_a_job_in_a_process_has_an_error_of_the_same_name_with_its_traceback(app: EmbedQ, collector: Collector) -> None:
    app.start()
    job = app.options(retry=NO_RETRY, executor="process").enqueue(process_jobs.fail_with, "no such order")
    assert job.wait(60) is JobState.DEAD
    eventually(lambda: collector.kinds == ["ValueError"])
    [record] = collector.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no such order"
    assert record.exc_text is not None
    assert "in fail_with" in record.exc_text


def test_an_error_that_cannot_be_formatted_is_reported_in_words(app: EmbedQ, collector: Collector) -> None:
    app.start()
    job = app.options(retry=NO_RETRY).enqueue(cannot_be_formatted)
    assert job.wait(20) is JobState.DEAD
    eventually(lambda: len(collector.records) == 1)
    assert collector.kinds == ["SyntaxError"]


def test_an_error_with_text_that_no_log_file_takes_is_reported_in_text_that_it_does(
    app: EmbedQ, collector: Collector
) -> None:
    app.start()
    assert app.options(retry=NO_RETRY).enqueue(half_a_pair).wait(20) is JobState.DEAD
    eventually(lambda: collector.kinds == ["ValueError"])
    text = collector.format(collector.records[0])
    assert text.encode()
    assert "half \\udcff" in text


def test_what_went_well_has_no_error(app: EmbedQ, collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="embedq")
    app.start()
    assert app.enqueue(divide, 2).result(20) == 0.5
    eventually(lambda: any("succeeded" in record.getMessage() for record in collector.records))
    assert collector.kinds == []
    assert sys.exc_info() == (None, None, None)


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_debug_logs_every_step_of_a_job(
    app: EmbedQ, collector: Collector, caplog: pytest.LogCaptureFixture, executor: Executor
) -> None:
    caplog.set_level(logging.DEBUG, logger="embedq")
    app.start()
    job = app.options(retry=Retry(attempts=2, wait=tenacity.wait_fixed(0)), executor=executor).enqueue(
        process_jobs.fail_with, "no"
    )
    child = job.then(process_jobs.fail_with, "unseen")
    assert job.wait(60) is JobState.DEAD

    def way(of: embedq.JobHandle) -> list[str]:
        records = [record for record in collector.records if f"job {of.id} " in record.getMessage()]
        steps = ("enqueued", "claimed", "started", "failed")
        return [step for record in records for step in steps if re.search(rf"\).* {step}", record.getMessage())]

    run = ["started", "failed"]
    # An idle worker has the first run without a claim.
    eventually(lambda: [one for one in way(job) if one != "claimed"] == ["enqueued", *run, *run])
    assert "claimed" in way(job)
    assert way(child) == ["enqueued"]

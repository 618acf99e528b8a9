"""An application's logging that raises on embedq's threads: jobs run, and are recorded, all the same."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import embedq
from embedq import NO_RETRY, JobState
from embedq.errors import JobTimeout
from embedq.observability.log import get_logger
from tests.worker import process_jobs

ROOT = logging.getLogger()
OWN = logging.getLogger("embedq")


def refuse(what: str) -> None:
    """Raise, as what knows only the application's own threads does."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"{what}: working outside of request context")


@contextmanager
def raising_filter() -> Iterator[None]:
    def look(record: logging.LogRecord) -> bool:
        refuse("filter")
        return True

    OWN.addFilter(look)
    yield
    OWN.removeFilter(look)


class Handler(logging.Handler):
    """Does something with each record, without the safety net of `logging.StreamHandler`."""

    def __init__(self, do: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self.do = do

    def emit(self, record: logging.LogRecord) -> None:
        self.do(record)


@contextmanager
def handler(do: Callable[[logging.LogRecord], object]) -> Iterator[None]:
    added = Handler(do)
    ROOT.addHandler(added)
    yield
    ROOT.removeHandler(added)


@contextmanager
def raising_formatter() -> Iterator[None]:
    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            refuse("formatter")
            return ""

    with handler(Formatter().format):
        yield


@contextmanager
def leaving_handler() -> Iterator[None]:
    def leave(record: logging.LogRecord) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit(3)

    with handler(leave):
        yield


@contextmanager
def raising_factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()

    def make(*args: object, **kwargs: object) -> logging.LogRecord:
        refuse("factory")
        return before(*args, **kwargs)

    logging.setLogRecordFactory(make)
    yield
    logging.setLogRecordFactory(before)


@contextmanager
def handler_that_logs_again() -> Iterator[None]:
    def again(record: logging.LogRecord) -> None:
        get_logger().warning("handling %s", record.getMessage())
        OWN.handle(record)

    with handler(again):
        yield


@contextmanager
def factory_with_fields_of_its_own() -> Iterator[None]:
    """Its records have an attribute that embedq's have too, which logging does not allow."""
    before = logging.getLogRecordFactory()

    def make(*args: object, **kwargs: object) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.job_id = "the application's"
        return record

    logging.setLogRecordFactory(make)
    yield
    logging.setLogRecordFactory(before)


@pytest.fixture(
    params=[
        raising_filter, raising_formatter, leaving_handler, raising_factory, handler_that_logs_again,
        factory_with_fields_of_its_own,
    ]
)  # fmt: skip
def bad_logging(request: pytest.FixtureRequest, app: embedq.EmbedQ) -> Iterator[None]:
    level = OWN.level
    OWN.setLevel(logging.DEBUG)
    try:
        with request.param():
            yield
            # While it is still bad, and from another thread than the main one, as a server may.
            stopping = threading.Thread(target=app.stop)
            stopping.start()
            stopping.join()
    finally:
        OWN.setLevel(level)


def fail() -> None:
    raise ValueError("no")


async def answer(n: int) -> int:
    return n


def linger(ended: bool = False) -> None:
    while not ended:
        pass


@pytest.mark.usefixtures("bad_logging")
def test_jobs_run_and_are_recorded_where_the_applications_logging_raises(app: embedq.EmbedQ) -> None:
    starting = threading.Thread(target=app.start)
    starting.start()
    starting.join()
    failing = app.enqueue(app.job(retry=NO_RETRY, name="fail")(fail))
    assert failing.wait(10) is JobState.DEAD
    late = app.job(timeout=0.2, retry=NO_RETRY, name="linger")(linger).enqueue()
    assert late.wait(10) is JobState.DEAD
    assert app.enqueue(answer, 1).result(10) == 1
    assert app.enqueue(process_jobs.report, 1, b=2).result(30)["sum"] == 3
    assert [handle.result(10) for handle in [app.enqueue(int, n) for n in range(20)]] == list(range(20))


def test_what_the_applications_logging_raises_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(record: logging.LogRecord) -> None:
        raise LookupError("only once")

    with handler(refuse):
        for number in range(3):
            get_logger().warning("line %d", number)
    told = capsys.readouterr().err
    assert told.count("LookupError: only once") == 1
    assert "line %d (0,)" in told
    assert "test_failing_logging.py" in told


def test_an_interrupt_of_the_job_passes_through_a_log_call() -> None:
    def interrupt(record: logging.LogRecord) -> None:
        raise JobTimeout

    with handler(interrupt), pytest.raises(JobTimeout):
        get_logger().warning("in a job's own thread")


def test_a_record_states_where_it_was_made(caplog: pytest.LogCaptureFixture) -> None:
    get_logger().warning("here")
    try:
        raise ValueError("an error")
    except ValueError:
        get_logger().exception("there")
    here, there = caplog.records
    assert (here.filename, here.funcName) == ("test_failing_logging.py", "test_a_record_states_where_it_was_made")
    assert (there.filename, there.levelname) == ("test_failing_logging.py", "ERROR")
    assert there.exc_info is not None

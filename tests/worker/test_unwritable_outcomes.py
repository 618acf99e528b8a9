"""What a database does not take holds up nothing else: the rest is written, and what is left out says why (G9)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import embedq
from embedq import Ending, JobDeadError, JobState, ResultUnavailableError
from embedq.worker import unwritable
from tests.support import eventually

let_go = threading.Event()


@pytest.fixture(autouse=True)
def _closed() -> None:
    let_go.clear()


@pytest.fixture
def refuse(app: embedq.EmbedQ) -> Callable[[str, str], None]:
    """Make the database refuse rows: `refuse(when, condition)`, a rule such as a user may have made."""

    def refuse(when: str, condition: str) -> None:
        sql = f"CREATE TRIGGER refuse {when} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'not with me'); END"
        app.database.write(lambda tx: tx.select(sql))

    return refuse


def say(text: str) -> str:
    let_go.wait(10)
    embedq.current_job().log(text)
    return text


def finished_together(app: embedq.EmbedQ, *texts: str) -> list[embedq.JobHandle]:
    """The jobs that say these, whose ends come in one turn or two."""
    app.start()
    handles = app.enqueue_many([app.options(retry=embedq.NO_RETRY).call(say, text) for text in texts])
    eventually(lambda: app.count_jobs(state=JobState.RUNNING) == len(texts))
    let_go.set()
    return handles


TEXTS = ("a", "b", "poison", "c", "d", "e")


def test_a_result_that_is_refused_is_left_out_and_the_others_are_kept(
    app: embedq.EmbedQ, refuse: Callable[[str, str], None]
) -> None:
    refuse("BEFORE UPDATE ON embedq_jobs", "NEW.result LIKE '%poison%'")
    for text, job in zip(TEXTS, finished_together(app, *TEXTS), strict=True):
        if text != "poison":
            assert job.result(10) == text
            continue
        with pytest.raises(ResultUnavailableError, match="the result was not stored: StorageRefused"):
            job.result(10)
    assert [line.message for job in app.jobs() for line in app.job(job.id).logs()] == list(reversed(TEXTS))
    assert app.stop()
    assert app.stats().last_hour[Ending.SUCCEEDED] == len(TEXTS)


def test_an_end_that_is_refused_whatever_it_contains_leaves_the_job_dead_with_the_reason(
    app: embedq.EmbedQ, refuse: Callable[[str, str], None]
) -> None:
    refuse("BEFORE UPDATE ON embedq_jobs", "NEW.state = 'succeeded' AND NEW.payload LIKE '%poison%'")
    for text, job in zip(TEXTS, finished_together(app, *TEXTS), strict=True):
        if text != "poison":
            assert job.result(10) == text
            continue
        with pytest.raises(JobDeadError, match=r"how it ended cannot be stored: StorageRefusedError: .*not with me"):
            job.result(10)
        assert [attempt.ending for attempt in job.attempts()] == [Ending.FAILED]
        assert job.snapshot().delete_at is not None


def test_an_end_that_cannot_be_recorded_at_all_is_logged_and_given_up(
    app: embedq.EmbedQ, refuse: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    for text, job in zip(TEXTS, finished_together(app, *TEXTS), strict=True):
        assert job.result(10) == text
    let_go.clear()
    refuse("BEFORE UPDATE ON embedq_jobs", "OLD.state = 'running' AND NEW.payload LIKE '%unending%'")
    stuck = finished_together(app, "unending", "another")
    assert stuck[1].result(10) == "another"
    eventually(lambda: "cannot be written in any way" in caplog.text)
    assert stuck[0].state is JobState.RUNNING
    # It holds up nobody, and not the end of the process.
    assert app.enqueue(say, "later").result(10) == "later"
    assert app.stop(timeout=5)


def test_a_line_of_a_log_that_is_refused_is_left_out(
    app: embedq.EmbedQ, refuse: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    refuse("BEFORE INSERT ON embedq_logs", "NEW.message LIKE '%poison%'")
    for text, job in zip(TEXTS, finished_together(app, *TEXTS), strict=True):
        assert job.result(10) == text
        eventually(lambda job=job, text=text: [line.message for line in job.logs()] == [text] * (text != "poison"))
    assert "a log line, progress or meta of a job cannot be written, and is left out" in caplog.text


def test_one_bad_outcome_among_a_thousand_is_found_in_few_writes() -> None:
    writes = []

    def write(lot: list[int]) -> None:
        writes.append(len(lot))
        if 700 in lot:
            raise OverflowError("too large")

    found = [(lot, error) for lot, error in unwritable._in_lots(range(1000), write) if error is not None]
    assert [lot for lot, _ in found] == [[700]]
    assert len(writes) < 25

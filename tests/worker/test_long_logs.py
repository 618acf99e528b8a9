"""A job that logs a lot: others hardly wait for it, nothing is lost, and its end is not seen before its log."""

from __future__ import annotations

import time

import embedq
from embedq import JobState, current_job
from embedq.clock import SystemClock
from embedq.tasks.context import JobContext
from embedq.worker.notes import MOST_CHARACTERS, MOST_LINES, Notes

LINES = 20_000


@embedq.job
def write_lines(number: int) -> None:
    for line in range(number):
        current_job().log(f"line {line}")


@embedq.job
def nothing() -> None:
    pass


def test_others_hardly_wait_while_a_long_log_is_written(url: str) -> None:
    app = embedq.EmbedQ(url, workers=2)
    with app:
        app.enqueue(nothing).result(30)
        began = time.monotonic()
        talkative = app.enqueue(write_lines, LINES)
        waits = []
        while talkative.state is not JobState.SUCCEEDED:
            enqueued = time.monotonic()
            app.enqueue(nothing).result(30)
            waits.append(time.monotonic() - enqueued)
        took = time.monotonic() - began
        assert [line.message for line in talkative.logs()] == [f"line {line}" for line in range(LINES)]
    # In one transaction, they would have waited for about all of that time.
    assert max(waits) <= max(0.5, took / 4)


def test_a_job_has_not_ended_before_its_log_is_there(url: str) -> None:
    app = embedq.EmbedQ(url, workers=4)
    with app:
        jobs = [app.enqueue(write_lines, 2_000) for _ in range(3)]
        for job in jobs:
            assert job.wait(60) is JobState.SUCCEEDED
            assert len(job.logs()) == 2_000


def test_a_stop_writes_what_is_left_of_a_log(url: str) -> None:
    app = embedq.EmbedQ(url)
    app.start()
    job = app.enqueue(write_lines, 5_000)
    while job.state is JobState.READY:
        time.sleep(0.01)
    assert app.stop(60)
    with embedq.EmbedQ(url):
        pass
    again = embedq.EmbedQ(url).connect()
    assert len(again.job(job.id).logs()) == 5_000
    again.close()


def test_notes_are_taken_in_slices_in_order_and_may_be_put_back() -> None:
    notes = Notes(SystemClock())
    talker, other = _context(1), _context(2)
    for line in range(2 * MOST_LINES):
        notes.log(talker, str(line))
    notes.log(other, "short")
    first = notes.take()
    assert [line[3] for line in first.logs] == [str(line) for line in range(MOST_LINES)]
    assert (notes.behind, notes.is_logged(1), notes.is_logged(2), notes.is_logged(3)) == (True, False, False, True)
    second = notes.take()
    assert (notes.behind, notes.is_logged(1), notes.is_logged(2)) == (True, True, False)
    notes.put_back(second)
    assert (notes.is_logged(1), notes.is_logged(2)) == (False, False)
    assert notes.take().logs == second.logs
    [last] = notes.take().logs
    assert (last[3], notes.behind, notes.is_logged(2)) == ("short", False, True)


def test_a_slice_is_bounded_in_characters_too() -> None:
    notes = Notes(SystemClock())
    for _ in range(5):
        notes.log(_context(1), "x" * MOST_CHARACTERS)
    assert [len(notes.take().logs) for _ in range(6)] == [1, 1, 1, 1, 1, 0]


def _context(job_id: int) -> JobContext:
    return JobContext(
        id=embedq.JobId(job_id), claim=1, attempt=1, name="", queue="", tags=(), meta={},
        save_log=lambda context, text: None, save_progress=lambda context, fraction, note: None,
        load_parent=lambda _: None, save_meta=lambda context, row, meta: None,
    )  # fmt: skip

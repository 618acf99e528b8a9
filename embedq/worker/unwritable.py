"""Bisects a turn that contains something the database refuses, and writes all the rest.

The outcomes are written in ever smaller lots, so that one among a thousand is found in twenty writes. It is then
written without its own texts, or, if that is refused too, as dead, with the reason; see `_amended`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from embedq.config import Settings
from embedq.errors import StorageError, StorageRefusedError
from embedq.job import Ending, JobState
from embedq.observability.log import get_logger
from embedq.storage import finishing
from embedq.storage.base import Database, Transaction
from embedq.storage.finishing import Finished
from embedq.storage.rows import Outcome
from embedq.worker.notes import NoteBatch

logger = get_logger()

T = TypeVar("T")
R = TypeVar("R")

NOTHING_FINISHED = Finished(refused=[], ended=[], woken=False)


def is_unwritable(error: BaseException) -> bool:
    """Whether an error is caused by what was to be written, rather than by the database."""
    return isinstance(error, StorageRefusedError) or (
        isinstance(error, Exception) and not isinstance(error, StorageError)
    )


def is_unreadable(error: BaseException) -> bool:
    """Whether an error in a claim is caused by what was to be read: too much, or a damaged text."""
    return isinstance(error, StorageRefusedError | ValueError)


def why_unreadable(error: BaseException) -> str:
    """Return the error text of a job that cannot be read."""
    return f"it cannot be read, and was set aside: {_reason(error)}"


def write_outcomes(
    database: Database, outcomes: Sequence[Outcome], *, now: int, settings: Settings
) -> Iterator[tuple[list[Outcome], Finished]]:
    """Write outcomes, whatever they contain; yield them lot by lot, in order, as they were written.

    Raises:
        StorageError: the database cannot be used; what was not yielded was not written.
    """

    def write(lot: list[Outcome]) -> Finished:
        return database.write(finishing.finish, lot, now=now, retention=settings.retention)

    for lot, finished in _in_lots(outcomes, write):
        if isinstance(finished, Exception):
            yield _amended(lot[0], finished, write, settings)
        else:
            yield lot, finished


def write_notes(database: Database, notes: Sequence[NoteBatch]) -> Iterator[list[NoteBatch]]:
    """Write notes except those that cannot be written; yield them lot by lot, in order. StorageError as above."""

    def write(lot: list[NoteBatch]) -> None:
        database.write(_write_all, lot)

    for lot, error in _in_lots(notes, write):
        if error is not None:
            logger.error("a log line, progress or meta of a job cannot be written, and is left out: %s", _reason(error))
        yield lot


def _write_all(tx: Transaction, notes: Sequence[NoteBatch]) -> None:
    for batch in notes:
        batch.write(tx)


def _in_lots(items: Sequence[T], write: Callable[[list[T]], R]) -> Iterator[tuple[list[T], R | Exception]]:
    """Write all, halving each lot that cannot be written; yield each with its result, or one item with its error."""
    lots = [list(items)] if items else []
    while lots:
        lot = lots.pop()
        written: R | Exception
        try:
            written = write(lot)
        except Exception as error:
            if not is_unwritable(error):
                raise
            if len(lot) > 1:
                middle = len(lot) // 2
                lots += [lot[middle:], lot[:middle]]
                continue
            written = error
        yield lot, written


def _amended(
    outcome: Outcome, error: Exception, write: Callable[[list[Outcome]], Finished], settings: Settings
) -> tuple[list[Outcome], Finished]:
    """Write as much of an outcome as the database accepts."""
    for attempt in (_without_its_texts(outcome, error), _as_dead(outcome, error, settings)):
        try:
            finished = write([attempt])
        except Exception as again:
            if not is_unwritable(again):
                raise
            error = again
        else:
            logger.error(
                "job %s (%s): its outcome (%s) cannot be written as it is; it is recorded as %s: %s",
                outcome.job_id, outcome.name, outcome.ending, attempt.state.value, _reason(error),
            )  # fmt: skip
            return [attempt], finished
    logger.critical(
        "job %s (%s): its outcome (%s) cannot be written in any way; it stays running until this process ends: %s",
        outcome.job_id, outcome.name, outcome.ending, _reason(error),
    )  # fmt: skip
    return [outcome], NOTHING_FINISHED


def _without_its_texts(outcome: Outcome, error: Exception) -> Outcome:
    what = "the result was not stored" if outcome.state is JobState.SUCCEEDED else "its error cannot be stored"
    return replace(outcome, result=None, error=f"{what}: {_reason(error)}", traceback=None)


def _as_dead(outcome: Outcome, error: Exception, settings: Settings) -> Outcome:
    return replace(
        outcome,
        state=JobState.DEAD,
        ending=Ending.FAILED,
        result=None,
        error=f"how it ended cannot be stored: {_reason(error)}",
        traceback=None,
        needs=None,
        retry_at=None,
        gives_back=0,
        delete_at=settings.retention.for_job(None).delete_at(JobState.DEAD, outcome.finished_at),
    )


def _reason(error: BaseException) -> str:
    """Return the error as a text that every database accepts."""
    text = f"{type(error).__qualname__}: {error}"[:500]
    return text.encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")

"""When a turn holds something that no database takes: find it, and write all the rest.

What is to be written is tried in ever smaller lots, so that of a thousand outcomes the one is found in twenty writes.
That one is then written without its own words, or at last as dead, with the reason; see `unwritable`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from embedq.config import Settings
from embedq.errors import StorageError, StorageRefusedError
from embedq.job import Ending, JobState
from embedq.storage import claims
from embedq.storage.base import Database, Transaction
from embedq.storage.claims import Finished
from embedq.storage.rows import Outcome
from embedq.worker.notes import Batch

logger = logging.getLogger("embedq")

T = TypeVar("T")
R = TypeVar("R")

NOTHING_DONE = Finished(refused=[], ended=[], woken=False)


def unwritable(error: BaseException) -> bool:
    """Whether an error is the fault of what was to be written, rather than the database's trouble."""
    return isinstance(error, StorageRefusedError) or (
        isinstance(error, Exception) and not isinstance(error, StorageError)
    )


def write_outcomes(
    database: Database, outcomes: Sequence[Outcome], *, now: int, settings: Settings
) -> Iterator[tuple[list[Outcome], Finished]]:
    """Write outcomes, whatever is in them; yield them lot by lot, in order, as they were written.

    Raises:
        StorageError: the database is in trouble; what was not yielded was not written.
    """

    def write(lot: list[Outcome]) -> Finished:
        return database.write(claims.finish, lot, now=now, retention=settings.retention)

    for lot, finished in _in_lots(outcomes, write):
        if isinstance(finished, Exception):
            yield _amended(lot[0], finished, write, settings)
        else:
            yield lot, finished


def write_notes(database: Database, notes: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Write notes, and leave out those that cannot be; yield them lot by lot, in order. StorageError as above."""

    def write(lot: list[Batch]) -> None:
        database.write(_write_all, lot)

    for lot, error in _in_lots(notes, write):
        if error is not None:
            logger.error("what a job said cannot be written, and is left out: %s", _reason(error))
        yield lot


def _write_all(tx: Transaction, notes: Sequence[Batch]) -> None:
    for batch in notes:
        batch.write(tx)


def _in_lots(items: Sequence[T], write: Callable[[list[T]], R]) -> Iterator[tuple[list[T], R | Exception]]:
    """Write all, halving what cannot be written; one that cannot be by itself comes with its error."""
    lots = [list(items)] if items else []
    while lots:
        lot = lots.pop()
        written: R | Exception
        try:
            written = write(lot)
        except Exception as error:
            if not unwritable(error):
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
    """Write an outcome as near to the truth as can be."""
    for attempt in (_without_its_words(outcome, error), _as_dead(outcome, error, settings)):
        try:
            finished = write([attempt])
        except Exception as again:
            if not unwritable(again):
                raise
            error = again
        else:
            logger.error(
                "job %s (%s): how it ended (%s) cannot be written as it is; it is recorded as %s: %s",
                outcome.job_id, outcome.name, outcome.ending, attempt.state.value, _reason(error),
            )  # fmt: skip
            return [attempt], finished
    logger.critical(
        "job %s (%s): how it ended (%s) cannot be written in any way; it stays running until this process ends: %s",
        outcome.job_id, outcome.name, outcome.ending, _reason(error),
    )  # fmt: skip
    return [outcome], NOTHING_DONE


def _without_its_words(outcome: Outcome, error: Exception) -> Outcome:
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
    """The error as a text that every database takes."""
    text = f"{type(error).__qualname__}: {error}"[:500]
    return text.encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")

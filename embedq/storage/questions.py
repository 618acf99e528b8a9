"""What one process asks another by way of the database: where a job is that runs there.

The process that runs it looks for questions whenever it looks after its neighbours, every 0.4 s.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from embedq.job import JobState
from embedq.storage.base import Transaction

# A question that is older (microseconds) is of nobody who still waits.
FORGOTTEN = 60_000_000


class Question(NamedTuple):
    """Somebody wants to know where a job is."""

    id: int
    job_id: int


class Answer(NamedTuple):
    """Where it was, and when (microseconds); `text` is empty when it does not run there."""

    at: int
    where: str
    text: str


def ask(tx: Transaction, job_id: int, *, now: int) -> int | None:
    """Ask the process that has the job; the question's number, or None when nobody runs it."""
    row = tx.one("runs_at", (job_id,))
    if row is None or row[0] != JobState.RUNNING or row[1] is None:
        return None
    tx.run("forget_questions", (now - FORGOTTEN,))
    return tx.insert("insert_question", (row[1], job_id, now))


def asked(tx: Transaction, server_id: int) -> list[Question]:
    """What a process is asked."""
    return [Question._make(row) for row in tx.all("open_questions", (server_id,))]


def reply(tx: Transaction, question_id: int, answer: Answer) -> None:
    """Answer a question, if it is still there."""
    tx.run("answer_question", (json.dumps(answer), question_id))


def answer_to(tx: Transaction, question_id: int) -> Answer | None:
    """The answer, once there is one."""
    row = tx.one("question_answer", (question_id,))
    return None if row is None or row[0] is None else Answer(*json.loads(row[0]))


def forget(tx: Transaction, question_id: int) -> None:
    """Nobody waits for the answer any more."""
    tx.run("delete_question", (question_id,))

"""Requests for the current source line of a running job, from one process to another by way of the database.

The process that runs the job reads its requests each time it checks on other processes, every 0.4 s.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from embedq.job import JobState
from embedq.storage.base import Transaction

# A request that is older (microseconds) has no caller that still waits.
REQUEST_TTL = 60_000_000


class LocationRequest(NamedTuple):
    """A request for where a job is."""

    id: int
    job_id: int


class LocationReply(NamedTuple):
    """Where it was, and when (microseconds); `text` is empty when it does not run there."""

    at: int
    where: str
    text: str


def request(tx: Transaction, job_id: int, *, now: int) -> int | None:
    """Send a request to the process that has the job; return its number, or None when no process runs the job."""
    row = tx.one("runs_at", (job_id,))
    if row is None or row[0] != JobState.RUNNING or row[1] is None:
        return None
    tx.run("forget_questions", (now - REQUEST_TTL,))
    return tx.insert("insert_question", (row[1], job_id, now))


def pending(tx: Transaction, server_id: int) -> list[LocationRequest]:
    """Return the requests to a process."""
    return [LocationRequest._make(row) for row in tx.all("open_questions", (server_id,))]


def reply(tx: Transaction, request_id: int, answer: LocationReply) -> None:
    """Answer a request, if it is still there."""
    tx.run("answer_question", (json.dumps(answer), request_id))


def reply_to(tx: Transaction, request_id: int) -> LocationReply | None:
    """Return the reply; None until there is one."""
    row = tx.one("question_answer", (request_id,))
    return None if row is None or row[0] is None else LocationReply(*json.loads(row[0]))


def discard(tx: Transaction, request_id: int) -> None:
    """Delete a request whose reply is not needed any more."""
    tx.run("delete_question", (request_id,))

"""The rows that cross the seam, as the statements order them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.job import Ending, JobState


class NewJob(NamedTuple):
    """A job to insert, column by column (`insert_job`). Instants are microseconds."""

    state: str
    executor: str
    queue: str
    priority: int
    name: str
    payload: str
    code: str | None
    options: str | None
    tags: str | None
    idempotency_key: str | None
    parent_id: int | None
    trigger: str | None
    schedule: str | None
    created_at: int
    run_at: int
    expires_at: int | None

    def with_payload(self, payload: str) -> NewJob:
        """The same job with other arguments."""
        return NewJob._make((*self[:PAYLOAD], payload, *self[PAYLOAD + 1 :]))


PAYLOAD = NewJob._fields.index("payload")


class ClaimedJob(NamedTuple):
    """A job that this process now holds (`ready_jobs`). `claim` is its fencing token."""

    id: int
    claim: int
    attempt: int
    name: str
    payload: str
    code: str | None
    options: str | None
    queue: str
    priority: int
    tags: str | None
    crashes: int
    run_at: int
    expires_at: int | None
    first_started_at: int | None
    parent_id: int | None
    executor: str


def storable(text: str) -> str:
    """The text with what is no Unicode (half of a surrogate pair, as in the name of a badly named file) written out.

    What jobs say goes through here: no database takes such text, and one that is refused holds up all that is written
    with it.
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def json_ids(ids: Sequence[int]) -> str:
    """A JSON list, for `IN (SELECT value FROM json_each(?))`."""
    return f"[{','.join(map(str, ids))}]"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a claim ended, and where the job goes from here.

    Attributes:
        state: the job's next state; READY gives it back to the queue.
        delete_at: set when `state` is an end.
        retry_at: set when it is RETRYING.
        needs: set when it is PARKED.
        gives_back: 1 when the attempt is not counted (released, crashed, parked).
        crashed: 1 when its process died.
        cpu_us: processor time of the run, in microseconds; 0 when it is not known.
        note: why the job is retried or dead, for the log.
    """

    job_id: int
    claim: int
    attempt: int
    name: str
    queue: str
    state: JobState
    ending: Ending
    run_at: int
    started_at: int
    finished_at: int
    server_id: int
    result: str | None = None
    error: str | None = None
    traceback: str | None = None
    delete_at: int | None = None
    retry_at: int | None = None
    needs: str | None = None
    gives_back: int = 0
    crashed: int = 0
    cpu_us: int = 0
    note: str | None = None

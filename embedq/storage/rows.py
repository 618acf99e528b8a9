"""The rows that are exchanged with a database, in the order of the statements' columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from embedq.config import Retention
from embedq.flow.lanes import is_laned
from embedq.flow.unique import may_have_rule
from embedq.job import ENDED, Ending, JobState


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
    lane_key: str | None = None
    weight: int | None = None
    limit_1: str | None = None
    key_1: str | None = None
    limit_2: str | None = None
    key_2: str | None = None

    def with_payload(self, payload: str) -> NewJob:
        """The same job with other arguments."""
        return NewJob._make((*self[:PAYLOAD], payload, *self[PAYLOAD + 1 :]))

    def as_claimed(self, job_id: int) -> ClaimedJob:
        """Return the job as its first claim, after it was inserted as running."""
        return ClaimedJob(
            id=job_id,
            claim=1,
            attempt=1,
            name=self.name,
            payload=self.payload,
            code=self.code,
            options=self.options,
            queue=self.queue,
            priority=self.priority,
            tags=self.tags,
            crashes=0,
            crashes_alone=0,
            trials=0,
            run_at=self.run_at,
            expires_at=self.expires_at,
            first_started_at=self.created_at,
            parent_id=None,
            executor=self.executor,
        )


PAYLOAD = NewJob._fields.index("payload")
KEY = NewJob._fields.index("idempotency_key")
CODE, CREATED_AT = NewJob._fields.index("code"), NewJob._fields.index("created_at")
# The columns of a job with nothing rare about it (`insert_plain`): those between `code` and `created_at` are left out.
PLAIN = (*NewJob._fields[:CODE], "created_at", "run_at")
# The columns that follow those of a new job in `insert_job`, and their values where it does not run yet.
STARTED = ("attempt", "claim", "first_started_at", "started_at", "server_id")
NOT_STARTED = (0, 0, None, None, None)


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
    crashes_alone: int
    trials: int
    run_at: int
    expires_at: int | None
    first_started_at: int | None
    parent_id: int | None
    executor: str


def storable(text: str) -> str:
    """The text with what is no Unicode (half of a surrogate pair, as in the name of a badly named file) written out.

    All text that jobs produce goes through here: no database accepts such text, and a refused text would delay all that
    is written with it.
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
        retry_at: set when it is RETRYING, or SCHEDULED because it put itself off.
        needs: set when it is PARKED.
        gives_back: 1 when the attempt is not counted (released, crashed, parked).
        crashed: 1 when its process died.
        crashed_alone: 1 when no other job ran in that process.
        cpu_us: processor time of the run, in microseconds; 0 when it is not known.
        note: why the job is retried or dead, for the log.
        logged: it has been logged already.
        laned: it stood in a lane, so that others may start now that it has ended.
        snoozes: how often the job may put itself off; None for any number.
        closes: the limit under which nothing starts until `closed_until`; "" for the job's first one.
        unique: the stored options of a job with a unique key.
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
    crashed_alone: int = 0
    cpu_us: int = 0
    note: str | None = None
    logged: bool = False
    laned: bool = False
    snoozes: int | None = None
    closes: str | None = None
    closed_until: int | None = None
    unique: str | None = None

    @classmethod
    def of(
        cls,
        job: ClaimedJob,
        state: JobState,
        ending: Ending,
        *,
        started_at: int,
        finished_at: int,
        server_id: int,
        retention: Retention,
        error: str | None = None,
        needs: str | None = None,
        gives_back: int = 0,
    ) -> Outcome:
        """Return the outcome of a claimed job."""
        if job.options is not None:
            retention = retention.for_job(job.options)
        return cls(
            job_id=job.id,
            claim=job.claim,
            attempt=job.attempt,
            name=job.name,
            queue=job.queue,
            state=state,
            ending=ending,
            run_at=job.run_at,
            started_at=started_at,
            finished_at=finished_at,
            server_id=server_id,
            error=None if error is None else storable(error),
            delete_at=retention.delete_at(state, finished_at) if state in ENDED else None,
            needs=None if needs is None else storable(needs),
            gives_back=gives_back,
            laned=is_laned(job.executor),
            unique=job.options if may_have_rule(job.options) else None,
        )

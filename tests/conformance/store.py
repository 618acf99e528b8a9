"""The storage functions on one database at one clock, with defaults for what a test does not care about."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from embedq import Attempt, Ending, Job, JobId, JobState, LogLine, Retention
from embedq.clock import SECOND
from embedq.flow.unique import may_have_rule
from embedq.storage import claims, continuations, finishing, inspect, jobs, schedules, servers, upkeep
from embedq.storage.base import Database
from embedq.storage.claims import Request
from embedq.storage.finishing import Finished
from embedq.storage.rows import ClaimedJob, NewJob, Outcome
from embedq.storage.schedules import Change, DeclaredSchedule
from embedq.storage.servers import Identity, Lease
from tests.support import FakeClock

T = TypeVar("T")

RETENTION = Retention(succeeded=timedelta(hours=1), dead=timedelta(hours=2), cancelled=timedelta(hours=3))
MAX_CRASHES = 3


class Store:
    """One database as its storage functions show it."""

    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.db = db
        self.clock = clock

    @property
    def now(self) -> int:
        return self.clock.now()

    # -- before a job runs ---------------------------------------------------------------------------------------------

    def draft(self, *, delay: float = 0, expires_in: float | None = None, **columns: Any) -> NewJob:
        """A row to insert; `delay` and `expires_in` in seconds from now."""
        run_at = self.now + round(delay * SECOND)
        row: dict[str, Any] = {
            "state": "ready" if delay <= 0 else "scheduled",
            "executor": "thread",
            "queue": "default",
            "priority": 0,
            "name": "tests:job",
            "payload": "[[],{}]",
            "code": None,
            "options": None,
            "tags": None,
            "idempotency_key": None,
            "parent_id": None,
            "trigger": None,
            "schedule": None,
            "created_at": self.now,
            "run_at": run_at,
            "expires_at": None if expires_in is None else run_at + round(expires_in * SECOND),
        }
        return NewJob(**(row | columns))

    def insert(self, **columns: Any) -> int:
        return self.db.write(jobs.insert, self.draft(**columns)).id

    def insert_many(self, drafts: Sequence[NewJob]) -> list[int]:
        return [inserted.id for inserted in self.db.write(jobs.insert_many, drafts)]

    def then(self, parent: int, on: str = "success", **columns: Any) -> int:
        """Insert a continuation of `parent`."""
        row = self.draft(parent_id=parent, trigger=on, state="awaiting", **columns)
        return self.db.write(jobs.insert_continuation, row, retention=RETENTION).id

    def cancel(self, job_id: int) -> JobState:
        return self.db.write(jobs.cancel, job_id, now=self.now, retention=RETENTION)

    def retry(self, job_id: int) -> None:
        self.db.write(jobs.retry, job_id, now=self.now)

    # -- claiming and finishing ----------------------------------------------------------------------------------------

    def server(self, pid: int = 1) -> int:
        """Register a process and return its number."""
        identity = Identity(
            uuid=str(uuid.uuid4()), host="here", hostname="box", pid=pid, version="1", workers=10, queues=None
        )
        return self.db.write(servers.register, identity, now=self.now)

    def claim(
        self,
        server: int = 1,
        *,
        limit: int = 100,
        executor: str = "thread",
        queues: Sequence[str] | None = None,
        known_needs: Sequence[str] = (),
        suspect: bool = False,
    ) -> list[ClaimedJob]:
        request = Request(
            server_id=server,
            limits={executor: limit},
            queues=None if queues is None else tuple(queues),
            known_needs=tuple(known_needs),
            suspect=suspect,
        )
        return self.claim_for(request).jobs

    def claim_for(self, request: Request) -> claims.Claim:
        return self.db.write(claims.claim, request, now=self.now, retention=RETENTION)

    def outcome(self, job: ClaimedJob, state: JobState, ending: Ending, **given: Any) -> Outcome:
        """How a claim ended, at this moment."""
        return Outcome(
            job_id=job.id,
            claim=job.claim,
            attempt=job.attempt,
            name=job.name,
            queue=job.queue,
            state=state,
            ending=ending,
            run_at=job.run_at,
            started_at=given.pop("started_at", self.now),
            finished_at=self.now,
            server_id=given.pop("server_id", 1),
            delete_at=RETENTION.for_job(job.options).delete_at(state, self.now) if state.ended else None,
            unique=job.options if may_have_rule(job.options) else None,
            **given,
        )

    def succeeded(self, job: ClaimedJob, **given: Any) -> Outcome:
        return self.outcome(job, JobState.SUCCEEDED, Ending.SUCCEEDED, **given)

    def died(self, job: ClaimedJob, error: str = "ValueError: no") -> Outcome:
        return self.outcome(job, JobState.DEAD, Ending.FAILED, error=error, traceback=f"Traceback …\n{error}")

    def failed(self, job: ClaimedJob, *, wait: float = 10, error: str = "OSError: later") -> Outcome:
        """It failed and is tried again in `wait` seconds."""
        retry_at = self.now + round(wait * SECOND)
        return self.outcome(job, JobState.RETRYING, Ending.FAILED, error=error, traceback="…", retry_at=retry_at)

    def released(self, job: ClaimedJob) -> Outcome:
        return self.outcome(job, JobState.READY, Ending.RELEASED, gives_back=1)

    def cancelled(self, job: ClaimedJob) -> Outcome:
        return self.outcome(job, JobState.CANCELLED, Ending.CANCELLED, error="cancelled while it ran")

    def parked(self, job: ClaimedJob, needs: str) -> Outcome:
        return self.outcome(job, JobState.PARKED, Ending.PARKED, error=f"needs {needs}", needs=needs, gives_back=1)

    def finish(self, *outcomes: Outcome) -> Finished:
        return self.db.write(finishing.finish, outcomes, now=self.now, retention=RETENTION)

    def run_one(self, job_id: int, ending: Callable[[ClaimedJob], Outcome] | None = None) -> Outcome:
        """Claim until `job_id` comes, and end it; the others go back."""
        claimed = self.claim()
        [job] = [job for job in claimed if job.id == job_id]
        outcome = (ending or self.succeeded)(job)
        self.finish(outcome, *(self.released(other) for other in claimed if other.id != job_id))
        return outcome

    # -- maintenance ---------------------------------------------------------------------------------------------------

    def rescue(self, server: int, *, started: Collection[int] | None = None) -> list[Outcome]:
        """Take back what a dead process held; `started` are the jobs that it was running."""
        noted = None if started is None else {job: len(started) == 1 for job in started}
        outcomes = self.db.write(
            servers.rescue, server, started=noted, now=self.now, max_crashes=MAX_CRASHES, retention=RETENTION
        )
        return outcomes or []

    def stop_server(self, server: int) -> None:
        self.db.write(servers.mark_stopping, server, now=self.now)

    def take_lease(self, holder: int, *, seconds: float = 30, name: str = "leader") -> Lease | None:
        return self.db.write(servers.take_lease, name, holder, now=self.now, length=round(seconds * SECOND))

    def prune(self, limit: int = 500) -> int:
        """Prune in batches of at most `limit` jobs until all have been looked at; how many were deleted."""
        pruned = upkeep.Pruned(0, upkeep.FROM_START, more=True)
        number = 0
        while pruned.more:
            pruned = self.db.write(upkeep.prune_jobs, now=self.now, limit=limit, cursor=pruned.then)
            number += pruned.number
        return number

    def settle(self) -> bool:
        """Decide what transactions have left to be decided; whether a job became ready."""
        woken = False
        while True:
            advanced = self.db.write(continuations.settle, now=self.now, retention=RETENTION)
            woken = woken or advanced.woken
            if not advanced.unsettled:
                return woken

    def put_schedule(self, name: str = "pulse", **given: Any) -> Change | None:
        """Add a schedule whose first occurrence is a minute from now."""
        values: dict[str, Any] = {
            "spec": '{"every_micros":60000000}',
            "misfire": '{"policy":"once"}',
            "task": "tests:job",
            "template": "{}",
            "overlap": "allow",
            "first_fire": self.now + 60 * SECOND,
        }
        first_fire = (values | given).pop("first_fire")
        wanted = DeclaredSchedule(name, **{column: (values | given)[column] for column in DeclaredSchedule._fields[1:]})
        changes = self.db.write(schedules.put, [wanted], first_fire=lambda _: first_fire, now=self.now)
        return changes.get(name)

    # -- looking -------------------------------------------------------------------------------------------------------

    def job(self, job_id: int) -> Job:
        return self.db.read(inspect.job, job_id)

    def state(self, job_id: int) -> JobState:
        return self.job(job_id).state

    def states(self, *job_ids: int) -> list[JobState]:
        return [self.state(job_id) for job_id in job_ids]

    def exists(self, job_id: int) -> bool:
        return self.db.read(inspect.outcome, job_id) is not None

    def attempts(self, job_id: int) -> list[Attempt]:
        return self.db.read(inspect.attempts, job_id)

    def logs(self, job_id: int) -> list[LogLine]:
        return self.db.read(inspect.logs, job_id)

    def children(self, job_id: int) -> list[JobId]:
        return self.db.read(inspect.children, job_id)

"""Random sequences of storage calls against a model of what they must do.

The model is plain Python and knows every job's state, claims, attempts and children. After each step the database must
agree with it in everything; the database itself refuses a move that `TRANSITIONS` does not have.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from embedq import Ending, Job, JobState, JobStateError, Trigger
from embedq.clock import SECOND, to_datetime
from embedq.process.poison import SUSPECT_AFTER
from embedq.storage import continuations, finishing, inspect, jobs
from embedq.storage.claims import Claim, Request
from embedq.storage.finishing import Finished
from embedq.storage.rows import ClaimedJob, Outcome
from tests.conformance.store import MAX_CRASHES, RETENTION, Store
from tests.databases import Home, open_database
from tests.support import FakeClock

T = TypeVar("T")
S = JobState
NEEDS = ("task a", "task b")
QUEUES = ("default", "mail")


@dataclass
class ModelJob:
    """What the database must say of one job."""

    id: int
    state: JobState
    run_at: int
    priority: int
    queue: str
    expires_at: int | None = None
    key: str | None = None
    parent: int | None = None
    trigger: Trigger | None = None
    claims: int = 0
    attempt: int = 0
    crashes: int = 0
    crashes_alone: int = 0
    trials: int = 0
    needs: str | None = None
    cancel_requested: bool = False
    delete_at: int | None = None
    holder: tuple[int, ClaimedJob] | None = None
    succeeded_on: int | None = None
    history: list[Ending] = field(default_factory=list)

    @property
    def server(self) -> int | None:
        """The process that runs it, or in which it succeeded."""
        return self.succeeded_on if self.holder is None else self.holder[0]


class JobsMachine(RuleBasedStateMachine):
    servers = Bundle("servers")
    claimed = Bundle("claimed")
    ids = Bundle("ids")

    def __init__(self, home: Home, store: type[Store]) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.store = store(open_database(home.fresh(Path(self.folder.name)), durability="normal"), self.clock)
        self.model: dict[int, ModelJob] = {}
        self.accepted: Counter[Ending] = Counter()

    def teardown(self) -> None:
        self.store.db.close()
        self.folder.cleanup()

    @property
    def now(self) -> int:
        return self.clock.now()

    # -- what the model knows of time and families ---------------------------------------------------------------------

    def end(self, job: ModelJob, state: JobState) -> None:
        """The job is over: set its time of deletion, and decide about its children."""
        job.state, job.holder = state, None
        job.delete_at = RETENTION.delete_at(state, self.now)
        job.cancel_requested = job.cancel_requested and state is S.CANCELLED
        for child in self.children_of(job):
            if child.state is not S.AWAITING:
                continue
            assert child.trigger is not None
            if child.trigger.fires_on(state):
                child.state = S.READY if child.run_at <= self.now else S.SCHEDULED
                waited = max(0, self.now - child.run_at)
                child.run_at += waited
                child.expires_at = None if child.expires_at is None else child.expires_at + waited
            else:
                self.decline(child, state)

    def decline(self, child: ModelJob, parent: JobState) -> None:
        """Its time can no longer come. What was to run if its parent failed is not kept when that succeeded."""
        needless = parent is S.SUCCEEDED and child.trigger is Trigger.FAILURE
        awaited = any(not one.state.ended for one in self.children_of(child))
        self.end(child, S.CANCELLED)
        if needless:
            child.delete_at = self.now
            if not awaited and child.id != max(self.model):
                del self.model[child.id]

    def children_of(self, job: ModelJob) -> list[ModelJob]:
        return [child for child in self.model.values() if child.parent == job.id]

    def revive_children_of(self, job: ModelJob) -> None:
        for child in self.children_of(job):
            if child.state is S.CANCELLED and not child.cancel_requested:
                child.state, child.delete_at = S.AWAITING, None
                self.revive_children_of(child)

    def promote(self) -> None:
        for job in self.model.values():
            if job.state in (S.SCHEDULED, S.RETRYING) and job.run_at <= self.now:
                job.state = S.READY

    def candidates(
        self, known_needs: tuple[str, ...], queues: tuple[str, ...] | None, limit: int, *, suspect: bool
    ) -> list[ModelJob]:
        """Whom a claim must choose, in its order."""
        live = [job for job in self.model.values() if queues is None or job.queue in queues]
        place = {queue: place for place, queue in enumerate(queues or ())}
        ready = [job for job in live if job.state is S.READY]
        doubtful = sorted(
            (job for job in ready if job.crashes >= SUSPECT_AFTER),
            key=lambda job: (job.trials + 2 * job.crashes_alone - job.crashes, job.trials, job.id),
        )
        parked = [job for job in live if job.state is S.PARKED and job.needs in known_needs]
        ordinary = [job for job in ready if job.crashes < SUSPECT_AFTER]
        if suspect:
            return doubtful[:1]
        return [
            *sorted(parked, key=lambda job: (job.needs or "", job.id)),
            *sorted(ordinary, key=lambda job: (place.get(job.queue, 0), -job.priority, job.id)),
        ][:limit]

    # -- before jobs run -----------------------------------------------------------------------------------------------

    @initialize(target=servers)
    def first_server(self) -> int:
        return self.store.server()

    @rule(target=servers)
    def another_server(self) -> int:
        return self.store.server()

    @rule(
        target=ids,
        delay=st.sampled_from([0, 0, 0, 5, 3600]),
        priority=st.integers(-1, 1),
        queue=st.sampled_from(QUEUES),
        expires_in=st.sampled_from([None, None, 0, 10]),
        key=st.sampled_from([None, None, None, "k1", "k2"]),
    )
    def insert(self, delay: int, priority: int, queue: str, expires_in: int | None, key: str | None) -> int:
        draft = self.store.draft(
            delay=delay, priority=priority, queue=queue, expires_in=expires_in, idempotency_key=key
        )
        inserted = self.store.db.write(jobs.insert, draft)
        earlier = next((job.id for job in self.model.values() if key is not None and job.key == key), None)
        assert inserted.created is (earlier is None)
        if earlier is not None:
            assert inserted.id == earlier
            return earlier
        # A conflict over a key may have used up a number.
        assert inserted.id > max(self.model, default=0)
        self.model[inserted.id] = ModelJob(
            id=inserted.id, state=S(draft.state), run_at=draft.run_at, priority=priority, queue=queue,
            expires_at=draft.expires_at, key=key,
        )  # fmt: skip
        return inserted.id

    @rule(
        target=ids,
        parent=ids,
        on=st.sampled_from(list(Trigger)),
        delay=st.sampled_from([0, 0, 5]),
        expires_in=st.sampled_from([None, None, 10]),
    )
    def continue_one(self, parent: int, on: Trigger, delay: int, expires_in: int | None) -> object:
        if parent not in self.model:
            return multiple()
        child_id = self.store.then(parent, on, delay=delay, expires_in=expires_in)
        run_at = self.now + delay * SECOND
        child = ModelJob(
            id=child_id, state=S.AWAITING, run_at=run_at, priority=0, queue="default", parent=parent, trigger=on,
            expires_at=None if expires_in is None else run_at + expires_in * SECOND,
        )  # fmt: skip
        self.model[child_id] = child
        parent_job = self.model[parent]
        if parent_job.state.ended:
            if on.fires_on(parent_job.state):
                child.state = S.READY if run_at <= self.now else S.SCHEDULED
            else:
                self.decline(child, parent_job.state)
        return child_id

    @rule(job_id=ids)
    def cancel(self, job_id: int) -> None:
        job = self.model.get(job_id)
        if job is None:
            return
        state = self.store.cancel(job_id)
        if job.state is S.RUNNING:
            job.cancel_requested = True
        elif not job.state.ended:
            job.cancel_requested, job.needs = True, None
            self.end(job, S.CANCELLED)
        assert state is job.state

    @rule(job_id=ids)
    def retry(self, job_id: int) -> None:
        job = self.model.get(job_id)
        if job is None:
            return
        if job.state in (S.SUCCEEDED, S.AWAITING, S.READY, S.RUNNING):
            with pytest.raises(JobStateError):
                self.store.retry(job_id)
            return
        self.store.retry(job_id)
        job.state, job.run_at, job.attempt, job.crashes = S.READY, self.now, 0, 0
        job.crashes_alone = job.trials = 0
        job.delete_at = job.expires_at = job.needs = None
        job.cancel_requested = False
        self.revive_children_of(job)

    # -- while they run ------------------------------------------------------------------------------------------------

    @rule(
        target=claimed,
        server=servers,
        limit=st.integers(1, 4),
        known_needs=st.sets(st.sampled_from(NEEDS)).map(lambda needs: tuple(sorted(needs))),
        queues=st.sampled_from([None, None, QUEUES, QUEUES[::-1], QUEUES[:1]]),
        suspect=st.booleans(),
    )
    def claim(
        self, server: int, limit: int, known_needs: tuple[str, ...], queues: tuple[str, ...] | None, suspect: bool
    ) -> object:
        got = self.store.claim(server, limit=limit, known_needs=known_needs, queues=queues, suspect=suspect)
        self.promote()
        chosen = self.candidates(known_needs, queues, limit, suspect=suspect)
        expired = [
            job
            for job in chosen
            if job.expires_at is not None and job.expires_at <= self.now and job.attempt == job.crashes == 0
        ]
        assert [job.id for job in got] == [job.id for job in chosen if job not in expired]
        for job in expired:
            job.needs = None
            self.end(job, S.CANCELLED)
        for taken in got:
            job = self.model[taken.id]
            assert job.holder is None, "two live claims hold one job"
            job.claims += 1
            job.attempt += 1
            job.needs = None
            assert (taken.claim, taken.attempt, taken.crashes) == (job.claims, job.attempt, job.crashes)
            assert (taken.crashes_alone, taken.trials) == (job.crashes_alone, job.trials)
            job.state, job.holder = S.RUNNING, (server, taken)
        return multiple(*got)

    @rule(claim=claimed, how=st.sampled_from(["succeeded", "died", "failed", "released", "cancelled", "parked"]))
    def finish(self, claim: ClaimedJob, how: str) -> None:
        """By whoever once held the claim, in time or late."""
        store = self.store
        outcome = store.parked(claim, NEEDS[claim.id % 2]) if how == "parked" else getattr(store, how)(claim)
        wanted = outcome.state
        finished = store.finish(outcome)
        job = self.model.get(claim.id)
        holds = job is not None and job.holder is not None and job.holder[1] is claim
        again = wanted is S.SUCCEEDED and job is not None and job.state is S.SUCCEEDED and job.claims == claim.claim
        assert bool(finished.refused) is not (holds or again)
        if not holds and not again:
            return
        self.accepted[outcome.ending] += 1
        if job is None or again:
            return
        if how == "released" or how == "parked":
            job.attempt -= 1
        if how == "succeeded":
            assert job.holder is not None
            job.succeeded_on = job.holder[0]
        if how not in ("succeeded", "released"):
            job.history.append(outcome.ending)
        if not wanted.ended and job.cancel_requested:
            wanted = S.CANCELLED
        if wanted.ended:
            assert finished.ended == [job.id]
            self.end(job, wanted)
            return
        assert finished.ended == []
        job.state, job.holder = wanted, None
        if wanted is S.RETRYING:
            assert outcome.retry_at is not None
            job.run_at = outcome.retry_at
        job.needs = outcome.needs

    @rule(claim=claimed)
    def lives_through_a_trial(self, claim: ClaimedJob) -> None:
        """Claimed still, or not any more."""
        self.store.db.write(finishing.lived_through, [(claim.id, claim.claim)])
        job = self.model.get(claim.id)
        if job is not None and job.holder is not None and job.holder[1] is claim:
            job.trials += 1

    @rule(server=consumes(servers), known=st.booleans(), stopping=st.booleans())
    def a_process_dies(self, server: int, known: bool, stopping: bool) -> None:
        held = [job for job in self.model.values() if job.holder is not None and job.holder[0] == server]
        started = {job.id for job in held if job.id % 2} if known else None
        alone = len(held) == 1
        died_alone = {
            job.id
            for job in self.model.values()
            if job.crashes_alone and (job.holder is not None or (job.state is S.READY and job.crashes >= SUSPECT_AFTER))
        }
        if stopping:
            self.store.stop_server(server)
        outcomes = self.store.rescue(server, started=started)
        assert sorted(outcome.job_id for outcome in outcomes) == sorted(job.id for job in held)
        for job in held:
            crashed = not stopping and (started is None or job.id in started)
            self.accepted[Ending.CRASHED if crashed else Ending.RELEASED] += 1
            job.crashes += crashed
            job.crashes_alone += crashed and alone
            convicted = job.crashes_alone >= MAX_CRASHES * (2 if died_alone - {job.id} else 1)
            job.holder = None
            if crashed:
                job.history.append(Ending.CRASHED)
            if job.cancel_requested:
                self.end(job, S.CANCELLED)
            elif crashed and alone and convicted:
                self.end(job, S.DEAD)
            else:
                job.state = S.READY
                job.attempt -= 1

    # -- time ----------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 10, 60, 1800, 4 * 3600, -30]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule()
    def prune(self) -> None:
        newest = max(self.model, default=0)
        gone = [
            job
            for job in self.model.values()
            if job.delete_at is not None
            and job.delete_at <= self.now
            and job.id < newest
            and all(child.state.ended for child in self.children_of(job))
        ]
        assert self.store.prune() == len(gone)
        for job in gone:
            del self.model[job.id]

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def the_database_agrees_with_the_model(self) -> None:
        stored: dict[int, Job] = {job.id: job for job in self.store.db.read(inspect.jobs, limit=10_000)}
        assert stored.keys() == self.model.keys()
        for job_id, job in self.model.items():
            row = stored[job_id]
            assert (row.state, row.attempt, row.crashes) == (job.state, job.attempt, job.crashes), job_id
            assert row.cancel_requested is job.cancel_requested
            assert row.server == job.server
            assert row.delete_at == (None if job.delete_at is None else to_datetime(job.delete_at))
            assert (row.finished_at is not None) is job.state.ended

    @invariant()
    def counts_add_up(self) -> None:
        stats = self.store.db.read(inspect.stats, now=self.now)
        counts = Counter(job.state for job in self.model.values())
        assert stats.counts == {state: counts[state] for state in S}

    @invariant()
    def totals_are_of_accepted_outcomes_only(self) -> None:
        totals = self.store.db.read(lambda tx: {Ending(row[0]): row[1] for row in tx.all("totals", (0,))})
        assert totals == self.accepted

    @invariant()
    def no_child_waits_for_a_parent_that_has_ended_or_is_gone(self) -> None:
        for job in self.model.values():
            if job.state is S.AWAITING:
                assert job.parent in self.model
                assert not self.model[job.parent].state.ended

    @invariant()
    def every_attempt_is_in_the_history(self) -> None:
        for job in list(self.model.values())[-3:]:
            endings = [attempt.ending for attempt in self.store.attempts(job.id)]
            expected = [*job.history, *([Ending.SUCCEEDED] if job.state is S.SUCCEEDED else [])]
            assert endings == expected


class SettlingStore(Store):
    """Goes on at once with what a transaction has left of a job's children."""

    def finish(self, *outcomes: Outcome) -> Finished:
        return self._settled(super().finish(*outcomes))

    def cancel(self, job_id: int) -> JobState:
        return self._settled(super().cancel(job_id))

    def retry(self, job_id: int) -> None:
        return self._settled(super().retry(job_id))

    def rescue(self, server: int, *, started: Collection[int] | None = None) -> list[Outcome]:
        return self._settled(super().rescue(server, started=started))

    def claim_for(self, request: Request) -> Claim:
        return self._settled(super().claim_for(request))

    def _settled(self, result: T) -> T:
        self.settle()
        return result


def test_random_operations_leave_the_database_as_the_model_has_it(home: Home) -> None:
    run(home, Store, examples=100)


def test_the_same_holds_when_few_children_are_decided_per_transaction(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuations, "SLICE", 1)
    monkeypatch.setattr(continuations, "GENERATIONS", 1)
    run(home, SettlingStore, examples=30)


def run(home: Home, store: type[Store], *, examples: int) -> None:
    run_state_machine_as_test(
        # It takes any factory; its types name only a class.
        cast("type[JobsMachine]", lambda: JobsMachine(home, store)),
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
        ),
    )

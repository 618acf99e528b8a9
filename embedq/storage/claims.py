"""Claiming jobs: choosing due jobs and marking them as running, in one transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from embedq.config import Retention
from embedq.errors import StorageUnavailableError
from embedq.flow.holds import NO_HOLDS, HoldRow, Holds
from embedq.flow.lanes import EXECUTORS, LANE_EXECUTORS, is_laned, laned
from embedq.job import JobState
from embedq.storage import continuations, holds
from embedq.storage.base import Transaction
from embedq.storage.lanes import LaneClaim, LaneNews, LaneRequest, wake_parked
from embedq.storage.rows import ClaimedJob, json_ids

# How many due jobs one transaction moves to ready: enough for every claim, short enough to let others write.
PROMOTE_LIMIT = 1000
# The arguments of one claim may have so many bytes, except for a single job that has more. Those of a few jobs are
# taken unseen; where there may be more the jobs are measured first, some at a time.
CLAIM_BYTES = 16_000_000
UNMEASURED = 16
MEASURED_AT_ONCE = 128
# How many named queues are examined together.
QUEUES_AT_ONCE = 50
# Its jobs are in an index of their own; see the schema.
DEFAULT_QUEUE = "default"
# Where a job may run; each has its own capacity, and its own part of the index of ready jobs.
# (`EXECUTORS`, and `LANE_EXECUTORS` for jobs in lanes.)
ALL_EXECUTORS = (*EXECUTORS, *LANE_EXECUTORS)
# Those where a job that kills its process cannot crash other jobs, so that a suspect is like any other.
ISOLATED_EXECUTORS = frozenset({"process", laned("process")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The jobs that a process requests.

    Attributes:
        server_id: the claiming process.
        limits: how many jobs for each executor; for that of a lane, 0 to learn whether there are any.
        queues: in the order of their urgency, every job of one before any of the next; None for all, by priority.
        known_needs: what parked jobs wait for and this process has.
        suspect: claim one suspect, the most suspicious one, and no other job. (Jobs with processes of their
            own are claimed with the others.)
        blank: without what may be large, or damaged: arguments, code, options, tags.
        lanes: what is known of lanes.
    """

    server_id: int
    limits: dict[str, int]
    queues: tuple[str, ...] | None
    known_needs: tuple[str, ...] = ()
    suspect: bool = False
    blank: bool = False
    lanes: LaneRequest = field(default_factory=LaneRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The jobs that a process received.

    Attributes:
        jobs: to run, most urgent first.
        full: the executors for which more may be waiting: their limits were reached, or none were requested for them
        and
            jobs became due.
        next_due: when the next scheduled job is due, or a pause ends, in microseconds; None if there is neither.
        suspect_waits: a suspect is ready in these queues.
        holds: what is paused.
        lanes: what it learned of lanes.
    """

    jobs: list[ClaimedJob]
    full: frozenset[str]
    next_due: int | None
    suspect_waits: bool
    holds: Holds = NO_HOLDS
    lanes: LaneNews = field(default_factory=LaneNews)


def claim(tx: Transaction, request: Request, *, now: int, retention: Retention) -> Claim:
    """Move due jobs to running, up to the limits, and return them.

    Raises:
        StorageUnavailableError: the server is not registered (any more).
    """
    seen, promoted, released = _promoted(tx, request, now)
    if seen.holds.everything(now):
        return Claim(jobs=[], full=frozenset(), next_due=seen.next_moment(now), suspect_waits=False, holds=seen.holds)
    jobs: list[ClaimedJob] = []
    full = set(ALL_EXECUTORS) if promoted == PROMOTE_LIMIT or (released and released.more) else set()
    if promoted:
        full.update(executor for executor in ALL_EXECUTORS if request.suspect or request.limits.get(executor, 0) <= 0)
    if request.suspect and seen.suspects:
        executors = [executor for executor in request.limits if executor in seen.suspects]
        params = (json.dumps(executors), json_or_none(request.queues), 1, int(not request.blank))
        jobs += _batch(tx, "suspect_jobs", params)
    for executor, limit in request.limits.items():
        if limit > 0 and not request.suspect and not is_laned(executor):
            budget = _Budget(limit, blank=request.blank)
            jobs += _candidates(tx, request, seen, executor, budget)
            if budget.more:
                full.add(executor)
    lanes = _lanes(tx, request, seen, now)
    denied = False
    if lanes is not None:
        if request.suspect:
            chosen = lanes.allowed(jobs)
            jobs, denied = chosen, len(chosen) < len(jobs)
        else:
            jobs = [*lanes.allowed(_isolated_suspects(tx, request, seen)), *lanes.share(jobs, seen.lanes)]
    expired = [job for job in jobs if _expired(job, now)]
    if expired:
        _expire(tx, expired, now, retention)
        jobs = [job for job in jobs if job not in expired]
    if seen.holds:
        # After continuations of what expired, which are locked: rows of holds come after all rows of jobs.
        jobs, met = holds.park(tx, jobs, seen.holds, across=request.queues is None, now=now)
        full.update(met)
    if jobs and not tx.run("claim_jobs", (request.server_id, now, json_ids([job.id for job in jobs]))):
        raise StorageUnavailableError(
            "other processes have declared this process dead; it claims again once it has registered again"
        )
    news = LaneNews() if lanes is None else lanes.finish(jobs)
    full |= news.more
    if expired or request.suspect:
        # A continuation of what expired may be due some time, and the suspect may have been the last.
        seen = _survey(tx, request, now)
    return Claim(
        jobs=jobs,
        full=frozenset(full),
        next_due=seen.next_moment(now, released.look_at if released else None),
        suspect_waits=bool(seen.suspects - ISOLATED_EXECUTORS) and not denied,
        holds=seen.holds,
        lanes=news,
    )


def _promoted(tx: Transaction, request: Request, now: int) -> tuple[_Survey, int, holds.Released | None]:
    """Let be ready what is due, what was parked for pauses that are over, and what waited for this process.

    Returns:
        What is ready then, how many jobs became due, and what was parked for pauses.
    """
    if request.known_needs and any(is_laned(executor) for executor in request.limits):
        wake_parked(tx, request.known_needs)
    seen, promoted = _survey(tx, request, now), 0
    released = holds.release(tx, seen.holds, now=now) if seen.holds else None
    if seen.next_due is not None and seen.next_due <= now:
        promoted = tx.run("promote_due", (now, PROMOTE_LIMIT))
    if promoted or released is not None:
        seen = _survey(tx, request, now)
    return seen, promoted, released


@dataclass(frozen=True, slots=True, kw_only=True)
class _Survey:
    """The jobs that can be claimed, by executor: which of the examined queues have a ready job.

    Attributes:
        queues: of the first `QUEUES_AT_ONCE` named ones; for a claim from all queues, the default one. Without those
            that are paused.
        across: the executors with a ready job in any queue; for a claim from all queues, in any but the default one.
        next_due: when the next scheduled job is due, in microseconds; None if there is none.
        holds: what is paused.
    """

    queues: Mapping[str, frozenset[str]]
    across: frozenset[str]
    suspects: frozenset[str]
    next_due: int | None
    holds: Holds

    @property
    def lanes(self) -> frozenset[str]:
        """The executors of lanes that have a ready job."""
        found = {executor for executor, queues in self.queues.items() if queues} | self.across
        return frozenset(executor for executor in found if is_laned(executor))

    def next_moment(self, now: int, other: int | None = None) -> int | None:
        """Return when the next job is due, or a pause ends, or the other moment; None if there is none of them."""
        moments = (self.next_due, self.holds.next_end(now), other)
        return min((moment for moment in moments if moment is not None), default=None)


def _survey(tx: Transaction, request: Request, now: int) -> _Survey:
    executors = [executor for executor, limit in request.limits.items() if limit > 0 or is_laned(executor)]
    queues, across, suspects, next_due = defaultdict(set), set(), set(), None
    held: list[HoldRow] = []
    named = json_or_none(request.queues)
    first = json_or_none(None if request.queues is None else request.queues[:QUEUES_AT_ONCE])
    for kind, executor, queue, due_at in tx.all("survey", (json.dumps(executors), first, named)):
        if kind == "ready":
            queues[executor].add(queue)
        elif kind in ("across", "any"):
            across.add(executor)
        elif kind == "suspect":
            suspects.add(executor)
        elif kind == "hold":
            held.append(HoldRow(executor, queue, due_at))
        else:
            next_due = due_at
    paused = Holds(held) if held else NO_HOLDS
    left_out = paused.queues(now)
    return _Survey(
        queues={executor: frozenset(found - left_out) for executor, found in queues.items()},
        across=frozenset(across),
        suspects=frozenset(suspects),
        next_due=next_due,
        holds=paused,
    )


def _lanes(tx: Transaction, request: Request, seen: _Survey, now: int) -> LaneClaim | None:
    """Return the part of the claim that takes jobs from lanes; None where no lane has a job."""
    if not (seen.lanes or any(is_laned(executor) for executor in seen.suspects)):
        return None
    return LaneClaim(
        tx, request.lanes, limits=request.limits, queues=request.queues, held=frozenset(seen.holds.queues(now)),
        legible=int(not request.blank), now=now,
    )  # fmt: skip


class _Budget:
    """How many jobs, and bytes of arguments, a claim may still take.

    Attributes:
        full: it takes no more.
        more: others may be waiting.
        legible: 1 to read all of a job, 0 to leave out what may be large.
    """

    __slots__ = ("bytes", "full", "jobs", "legible", "more")

    def __init__(self, jobs: int, *, blank: bool) -> None:
        self.jobs = jobs
        self.legible = int(not blank)
        self.bytes = CLAIM_BYTES
        self.full = self.more = False

    def took(self, found: Sequence[ClaimedJob], *, asked: int) -> None:
        self.jobs -= len(found)
        self.bytes -= sum([len(job.payload) if job.code is None else len(job.payload) + len(job.code) for job in found])
        self.full = self.full or self.jobs <= 0 or self.bytes <= 0
        self.more = self.more or self.full or len(found) >= asked


def _candidates(tx: Transaction, request: Request, seen: _Survey, executor: str, budget: _Budget) -> list[ClaimedJob]:
    queues, named = request.queues, json_or_none(request.queues)
    found: list[ClaimedJob] = []
    if executor in ISOLATED_EXECUTORS and executor in seen.suspects:
        found += _take(tx, "suspect_jobs", (json.dumps([executor]), named), budget)
    if request.known_needs:
        found += _take(tx, "parked_jobs", (json.dumps(request.known_needs), executor, named), budget)
    waiting = seen.queues.get(executor, frozenset())
    if queues is None and executor in seen.across:
        found += _take_across(tx, executor, budget, beside_default=DEFAULT_QUEUE in waiting)
    else:
        more = executor in seen.across
        found += _take_in_turn(tx, executor, queues or (DEFAULT_QUEUE,), waiting, budget, look_on=more)
    return found


def _isolated_suspects(tx: Transaction, request: Request, seen: _Survey) -> list[ClaimedJob]:
    """Return suspects that stand in lanes and have processes of their own: they are claimed like any other job."""
    found: list[ClaimedJob] = []
    for executor in filter(is_laned, ISOLATED_EXECUTORS & seen.suspects):
        most = min(request.limits.get(executor, 0), UNMEASURED)
        if most > 0:
            params = (json.dumps([executor]), json_or_none(request.queues), most, int(not request.blank))
            found += _batch(tx, "suspect_jobs", params)
    return found


def _take_in_turn(
    tx: Transaction, executor: str, queues: Sequence[str], waiting: frozenset[str], budget: _Budget, *, look_on: bool
) -> list[ClaimedJob]:
    """Return the jobs of one queue after another.

    Args:
        waiting: those of the first `QUEUES_AT_ONCE` queues that have any.
        look_on: the others may have some.
    """
    found: list[ClaimedJob] = []
    start, end = 0, QUEUES_AT_ONCE
    while True:
        for queue in queues[start:end]:
            if queue in waiting:
                found += _take(tx, "ready_jobs", (executor, queue), budget)
        if budget.full or end >= len(queues) or not look_on:
            return found
        start, end = end, 4 * end
        seen = tx.all("survey", (json.dumps([executor]), json.dumps(queues[start:end]), "[]"))
        waiting = frozenset(queue for kind, _, queue, _ in seen if kind == "ready")


def _take(tx: Transaction, line: str, params: Sequence[object], budget: _Budget) -> list[ClaimedJob]:
    """Return the first jobs that a statement finds, within the budget; few of those that are rarely many."""
    if budget.full:
        return []
    limit = budget.jobs
    if limit > UNMEASURED:
        limit = UNMEASURED if line != "ready_jobs" else _measured(tx, "measure_queue", params, budget).others
    found = _batch(tx, line, (*params, limit, budget.legible))
    budget.took(found, asked=limit)
    return found


def _take_across(tx: Transaction, executor: str, budget: _Budget, *, beside_default: bool) -> list[ClaimedJob]:
    """Return the first jobs of all queues: of the default one, which has its own index, and of all others."""
    if budget.full:
        return []
    first = _Measure(0, budget.jobs, 0)
    if beside_default or budget.jobs > UNMEASURED:
        first = _measured(tx, "measure_across", (executor,), budget)
    found: list[ClaimedJob] = []
    if first.of_default:
        found += _batch(tx, "ready_jobs", (executor, DEFAULT_QUEUE, first.of_default, budget.legible))
    if first.others:
        found += _batch(tx, "jobs_across", (executor, first.others, budget.legible))
    if first.of_default:
        found.sort(key=lambda job: (-job.priority, job.id))
    budget.took(found, asked=first.of_default + first.others)
    return found


class _Measure(NamedTuple):
    """The first jobs in line: how many are of the default queue, how many are not (or may be), and their bytes."""

    of_default: int
    others: int
    bytes: int


def _measured(tx: Transaction, statement: str, params: Sequence[object], budget: _Budget) -> _Measure:
    """Return how many of the first jobs fit the budget, at least one. A few are measured first."""
    limit, at_once = budget.jobs, MEASURED_AT_ONCE
    while True:
        asked = min(limit, at_once)
        row = tx.one(statement, (*params, asked))
        assert row is not None, "a sum always has a row"
        found = _Measure._make(row)
        if found.bytes > budget.bytes and asked > 1:
            budget.full = True
            limit = at_once = max(1, min(asked // 2, asked * budget.bytes // found.bytes))
        elif asked == limit or found.of_default + found.others < asked:
            return found
        else:
            at_once *= 4


def _batch(tx: Transaction, statement: str, params: Sequence[object]) -> list[ClaimedJob]:
    return [ClaimedJob._make(row) for row in tx.batch(statement, params)]


def json_or_none(names: Sequence[str] | None) -> str | None:
    """Return names as a JSON list; None, which means all of them, for None."""
    return None if names is None else json.dumps(names)


def _expired(job: ClaimedJob, now: int) -> bool:
    """Return whether its first start would be too late. A job that waits for a retry has started already."""
    return job.expires_at is not None and job.expires_at <= now and job.attempt == 1 and job.crashes == 0


def _expire(tx: Transaction, jobs: list[ClaimedJob], now: int, retention: Retention) -> None:
    by_delete_at = defaultdict(list)
    for job in jobs:
        by_delete_at[retention.for_job(job.options).delete_at(JobState.CANCELLED, now)].append(job.id)
    for delete_at, ids in by_delete_at.items():
        tx.run("expired_jobs", (now, delete_at, json_ids(ids)))
    continuations.advance(tx, dict.fromkeys((job.id for job in jobs), JobState.CANCELLED), now=now, retention=retention)

"""Random sequences of storage calls against what flow control promises: limits, rates, fair turns and unique keys.

The states of jobs are read from the database, and test_state_machine.py shows that they are right. The model knows what
each job is under and says, for each claim, what it may take, what it must take, and whose turn it is.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run

from embedq import Ending, JobState, JobStateError, Unique
from embedq.clock import SECOND
from embedq.flow.lanes import Pair, lane_key
from embedq.flow.limits import Limit, LimitValues, Rate
from embedq.flow.unique import UNFINISHED, WAITING
from embedq.process.poison import SUSPECT_AFTER
from embedq.storage import jobs, permits, unique
from embedq.storage.rows import ClaimedJob, Outcome
from tests.conformance.lanes import LANES, Worker
from tests.conformance.store import Store
from tests.databases import Home, open_database
from tests.support import FakeClock

EXAMPLES = int(os.environ.get("EMBEDQ_TEST_EXAMPLES", "15"))
RATE = Rate(4, per=10, burst=2)
LIMITS = {
    "each": Limit(2, per="key"),
    "both": Limit(2, per="key", total=3),
    "one": Limit(1),
    "rated": Limit(rate=RATE),
}


@dataclass(frozen=True)
class Line:
    """What jobs are enqueued with: their lane, weight and limits; none of them for plain jobs."""

    fair: str | None
    pairs: tuple[Pair, ...]
    weight: int | None = None

    @property
    def lane(self) -> str | None:
        return lane_key(self.fair, self.pairs) if self.fair or self.pairs else None


PLAIN = Line(None, ())
LINES = (
    Line(None, (("each", "x"),)),
    Line(None, (("each", "y"),), weight=3),
    Line(None, (("both", "x"),)),
    Line(None, (("both", "y"),)),
    Line(None, (("both", "z"),), weight=2),
    Line("fair", (("one", ""), ("each", "x"))),
    Line("other", (("one", ""), ("both", "x"))),
    Line(None, (("rated", ""),)),
    Line("rated too", (("rated", ""), ("each", "y"))),
    Line("free", ()),
    PLAIN,
)
RULES = {
    "keep": Unique("waiting"),
    "replace": Unique("waiting", on_conflict="replace"),
    "unfinished": Unique("unfinished"),
}
# Of one place, the most that others may start before it is a lane's turn: once theirs each, and the rest of one turn.
TURNS = sum(line.weight or 1 for line in LINES) + 3


@dataclass
class Row:
    """A job as it is stored."""

    id: int
    state: str
    priority: int
    crashes: int
    line: Line

    @property
    def claimable(self) -> bool:
        return self.state == JobState.READY and self.crashes < SUSPECT_AFTER


class FlowMachine(RuleBasedStateMachine):
    workers = Bundle("workers")
    claimed = Bundle("claimed")
    ids = Bundle("ids")

    def __init__(self, home: Home) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(open_database(home.fresh(Path(self.folder.name)), durability="normal"), FakeClock())
        self.values: dict[str, LimitValues] = {name: limit.values() for name, limit in LIMITS.items()}
        self.store.db.write(permits.declare, self.values, now=self.store.now)
        self.closed_until: dict[str, int] = {}
        self.starts: list[int] = []
        self.lines: dict[int, Line] = {}
        self.keys: dict[int, str] = {}
        self.versions = itertools.count(1)
        # Of jobs with keys: the arguments that they must have.
        self.payloads: dict[int, str] = {}
        self.latest: dict[str, str] = {}
        # How many others each process has started while a lane could have had its turn.
        self.passed: Counter[tuple[int, int, str]] = Counter()

    def teardown(self) -> None:
        self.store.db.close()
        self.folder.cleanup()

    # -- what the model knows ------------------------------------------------------------------------------------------

    def rows(self) -> dict[int, Row]:
        found = self.store.db.read(
            lambda tx: tx.select("SELECT id, state, priority, crashes FROM embedq_jobs ORDER BY id")
        )
        return {at: Row(at, state, priority, crashes, self.lines[at]) for at, state, priority, crashes in found}

    def running(self, rows: dict[int, Row]) -> Counter[tuple[str, ...]]:
        count: Counter[tuple[str, ...]] = Counter()
        for row in rows.values():
            if row.state == JobState.RUNNING:
                for limit, key in row.line.pairs:
                    count[limit,] += 1
                    count[limit, key] += 1
        return count

    def open(self, limit: str) -> bool:
        """Whether a rate or a cool-down lets one more start."""
        if self.closed_until.get(limit, 0) > self.store.now:
            return False
        if limit != "rated":
            return True
        interval, tat = self.values[limit].rates[0].interval, 0
        for start in self.starts:
            tat = max(tat, start) + interval
        return tat - self.store.now <= (RATE.burst - 1) * interval

    def room(self, line: Line, running: Counter[tuple[str, ...]]) -> bool:
        """Whether one more job of a line may start."""
        for limit, key in line.pairs:
            values = self.values[limit]
            if values.total is not None and running[limit,] >= values.total:
                return False
            if values.each is not None and key and running[limit, key] >= values.each:
                return False
            if not self.open(limit):
                return False
        return True

    def heads(self, rows: dict[int, Row]) -> Iterator[tuple[int, Line]]:
        """The priorities and lines of lanes with a job that could start."""
        running = self.running(rows)
        places = {(row.priority, row.line) for row in rows.values() if row.claimable and row.line.lane}
        yield from (place for place in places if self.room(place[1], running))

    # -- before jobs run -----------------------------------------------------------------------------------------------

    @initialize(target=workers)
    def first_worker(self) -> Worker:
        return Worker(self.store, self.store.server(), **LIMITS)

    @rule(target=workers)
    def another_worker(self) -> Worker:
        return Worker(self.store, self.store.server(), **LIMITS)

    def draft_columns(self, line: Line) -> dict[str, Any]:
        (limit_1, key_1), (limit_2, key_2) = [*line.pairs, (None, None), (None, None)][:2]
        return {
            "executor": "thread" if line.lane is None else LANES, "lane_key": line.lane, "weight": line.weight,
            "limit_1": limit_1, "key_1": key_1, "limit_2": limit_2, "key_2": key_2,
        }  # fmt: skip

    @rule(
        target=ids,
        lines=st.lists(st.sampled_from(LINES), min_size=1, max_size=5),
        number=st.integers(1, 5),
        priority=st.sampled_from([0, 0, 1]),
        delay=st.sampled_from([0, 0, 0, 5]),
    )
    def enqueue(self, lines: list[Line], number: int, priority: int, delay: int) -> object:
        lines = lines * number
        drafts = [self.store.draft(delay=delay, priority=priority, **self.draft_columns(line)) for line in lines]
        made = self.store.insert_many(drafts)
        self.lines |= zip(made, lines, strict=True)
        return multiple(*made)

    @rule(target=ids, line=st.sampled_from(LINES[:4]), name=st.sampled_from(sorted(RULES)), key=st.sampled_from("ab"))
    def enqueue_unique(self, line: Line, name: str, key: str) -> object:
        key = f"{name} {key}"
        states = {job_id: self.store.state(job_id) for job_id, other in self.keys.items() if other == key}
        counts = UNFINISHED if name == "unfinished" else WAITING
        equal = [job_id for job_id, state in states.items() if state in counts]
        payload = f"[[{next(self.versions)}],{{}}]"
        options = RULES[name].rule(key).stored_in(None)
        draft = self.store.draft(payload=payload, options=options, **self.draft_columns(line))
        made = self.store.db.write(jobs.insert, draft)
        assert made.created is (not equal)
        if made.created:
            self.lines[made.id], self.keys[made.id] = line, key
        else:
            assert [made.id] == equal
        if made.created or name == "replace":
            self.payloads[made.id] = self.latest[key] = payload
        return made.id if made.created else multiple()

    @rule(
        name=st.sampled_from(["each", "both", "one"]),
        total=st.sampled_from([None, 0, 1, 4]),
        each=st.sampled_from([None, 1, 3]),
    )
    def set_limit(self, name: str, total: int | None, each: int | None) -> None:
        self.store.db.write(permits.set_values, name, total=total, each=each, now=self.store.now)
        code = LIMITS[name].values()
        self.values[name] = LimitValues(
            total=code.total if total is None else total, each=code.each if each is None else each
        )

    # -- while they run ------------------------------------------------------------------------------------------------

    @rule(target=claimed, worker=workers, wanted=st.integers(1, 6), plain=st.booleans())
    def claim(self, worker: Worker, wanted: int, plain: bool) -> object:
        return multiple(*self.claim_for(worker, wanted, plain=plain))

    @rule(worker=workers, wanted=st.integers(1, 3), times=st.integers(2, 8), plain=st.booleans())
    def take_turns(self, worker: Worker, wanted: int, times: int, plain: bool) -> None:
        """Claim and succeed again and again."""
        for _ in range(times):
            self.store.finish(*map(self.store.succeeded, self.claim_for(worker, wanted, plain=plain)))

    def claim_for(self, worker: Worker, wanted: int, *, plain: bool) -> list[ClaimedJob]:
        now = self.store.now
        self.store.db.write(lambda tx: tx.run("promote_due", (now, 1000)))
        before = self.rows()
        able = set(self.heads(before))
        got = worker.claim(wanted, plain=wanted if plain else 0)
        self.check_claim(before, got)
        after = self.rows()
        left = set(self.heads(after))
        if len(got) < wanted:
            assert not left, "a job that could start was left beside a free worker"
            assert not plain or not any(row.claimable and row.line.lane is None for row in after.values())
        least = min((before[job.id].priority for job in got if before[job.id].line.lane), default=None)
        # What is met for the first time gets its row of permits first; until then others may start.
        ordered = worker.prepared or least is None or all(priority <= least for priority, _ in left)
        assert ordered, "a lower priority went first"
        self.check_turns(worker.server, able, [before[job.id] for job in got], left)
        return got

    @rule(target=claimed, worker=workers)
    def claim_suspect(self, worker: Worker) -> object:
        before = self.rows()
        got = worker.claim(1, plain=1, suspect=True)
        assert all(before[job.id].crashes >= SUSPECT_AFTER for job in got)
        self.check_claim(before, got)
        return multiple(*got)

    def check_claim(self, before: dict[int, Row], got: Sequence[ClaimedJob]) -> None:
        assert len({job.id for job in got}) == len(got)
        by_line: defaultdict[tuple[int, Line], list[int]] = defaultdict(list)
        for job in got:
            row = before[job.id]
            assert row.state == JobState.READY
            if row.crashes < SUSPECT_AFTER:
                by_line[row.priority, row.line].append(job.id)
            assert job.payload == self.payloads.get(job.id, job.payload), "not the latest arguments"
            for limit, _ in row.line.pairs:
                assert self.open(limit), f"{limit} was shut"
                if limit == "rated":
                    self.starts.append(self.store.now)
        for (priority, line), started in by_line.items():
            waited = [
                row.id for row in before.values() if row.claimable and (row.priority, row.line) == (priority, line)
            ]
            assert sorted(started) == waited[: len(started)], "a later job went first in its lane"
        running = self.running(self.rows())
        for limit, key in {pair for job in got for pair in before[job.id].line.pairs}:
            values = self.values[limit]
            assert values.total is None or running[limit,] <= values.total
            assert values.each is None or not key or running[limit, key] <= values.each
        window = [start for start in self.starts if start > self.store.now - 10 * SECOND]
        assert len(window) <= RATE.count + RATE.burst - 1

    def check_turns(
        self, server: int, able: set[tuple[int, Line]], started: Sequence[Row], left: set[tuple[int, Line]]
    ) -> None:
        """No lane that could start a job is passed over for longer than the others take for their turns."""
        served = {(row.priority, row.line) for row in started}
        for priority, line in {(row.priority, row.line) for row in self.rows().values() if row.line.lane}:
            seat = server, priority, cast(str, line.lane)
            place = priority, line
            if place in served or place not in able or place not in left:
                # Not in `left`: what it shares with other lanes went to those; see test_limits.py of the conformance.
                self.passed.pop(seat, None)
            else:
                self.passed[seat] += sum(row.priority == priority and row.line.lane is not None for row in started)
                assert self.passed[seat] <= TURNS, f"{line} is passed over"

    @rule(
        claim=claimed,
        how=st.sampled_from(["succeeded", "failed", "died", "released", "snoozed", "rate limited", "parked"]),
        seconds=st.sampled_from([1, 10]),
        limit=st.sampled_from(["", *LIMITS]),
    )
    def finish(self, claim: ClaimedJob, how: str, seconds: int, limit: str) -> None:
        """By whoever once held the claim, in time or late."""
        store, at = self.store, self.store.now + seconds * SECOND
        outcome: Outcome
        if how == "snoozed":
            outcome = store.outcome(
                claim, JobState.SCHEDULED, Ending.SNOOZED, gives_back=1, retry_at=at, snoozes=2, laned=True
            )
        elif how == "rate limited":
            outcome = store.outcome(
                claim, JobState.RETRYING, Ending.RELEASED, gives_back=1, retry_at=at, closes=limit, closed_until=at
            )
        elif how == "parked":
            outcome = store.parked(claim, "task x")
        else:
            outcome = getattr(store, how)(claim)
        if not store.finish(outcome).refused and how == "rate limited":
            first = next((name for name, _ in self.lines[claim.id].pairs), None)
            if shut := limit or first:
                self.closed_until[shut] = max(at, self.closed_until.get(shut, 0))

    @rule(worker=workers, crashed=st.booleans())
    def a_process_dies(self, worker: Worker, crashed: bool) -> None:
        """And another one takes its place."""
        self.store.rescue(worker.server, started=None if crashed else set())
        worker.server = self.store.server()

    @rule(job_id=ids)
    def retry(self, job_id: int) -> None:
        with suppress(JobStateError):
            self.store.retry(job_id)

    @rule(worker=workers)
    def learn(self, worker: Worker) -> None:
        """What is parked can run now."""
        got = worker.claim(0, known_needs=("task x",))
        assert got == []

    # -- time ----------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 3, 10, 7200]))
    def time_passes(self, seconds: int) -> None:
        self.store.clock.advance(seconds=seconds)

    @rule()
    def prune(self) -> None:
        self.store.db.write(permits.prune, now=self.store.now)
        self.store.db.write(unique.prune, now=self.store.now, limit=10)

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def a_key_has_one_holder_and_its_latest_call_is_not_lost(self) -> None:
        states = {job_id: row.state for job_id, row in self.rows().items() if job_id in self.keys}
        for key, latest in self.latest.items():
            mine = {job_id: state for job_id, state in states.items() if self.keys[job_id] == key}
            holders = [job_id for job_id, state in mine.items() if state in WAITING]
            assert len(holders) <= 1, key
            if key.startswith("unfinished"):
                assert sum(state in UNFINISHED for state in mine.values()) <= 1, key
            assert any(self.payloads[job_id] == latest and state != "cancelled" for job_id, state in mine.items()), key


def test_random_operations_keep_limits_rates_turns_and_unique_keys(home: Home) -> None:
    run(
        # It takes any factory; its types name only a class.
        cast("type[FlowMachine]", lambda: FlowMachine(home)),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
        ),
    )

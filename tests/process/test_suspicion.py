"""Which job killed its process: the rules of poison.py and quarantine.py, played through in simulated time.

Processes with workers die of jobs that kill, or from outside, and are started again. What starts where is asked of the
`Quarantine` that a dispatcher asks; what a death means, of the functions that a rescue asks. The databases' part of it,
the order of suspects, is in tests/storage/test_state_machine.py.
"""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from embedq import Ending, JobState
from embedq.process.liveness import RunningJobsFile, read_running_jobs
from embedq.process.poison import FIRST_TRIAL_SECONDS, SUSPECT_AFTER, is_poison, jobs_that_ran_alone, trial_seconds
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.quarantine import CALM_SECONDS, Quarantine

MAX_CRASHES = 3
TICK = 0.25
WORKERS = 5
Seconds = Callable[[], float]


@dataclass(eq=False)
class SimulatedJob:
    """A job that takes `lasts` seconds, and kills its process after `kills`, if that is sooner."""

    id: int
    lasts: float
    kills: Seconds = lambda: math.inf
    state: str = "ready"
    crashes: int = 0
    crashes_alone: int = 0
    trials: int = 0

    @property
    def suspect(self) -> bool:
        return self.crashes >= SUSPECT_AFTER

    def claimed(self) -> ClaimedJob:
        return ClaimedJob(
            id=self.id, claim=1, attempt=1, name="", payload="", code=None, options=None, queue="", priority=0,
            tags=None, crashes=self.crashes, crashes_alone=self.crashes_alone, trials=self.trials, run_at=0,
            expires_at=None, first_started_at=None, parent_id=None, executor="thread",
        )  # fmt: skip


@dataclass
class SimulatedProcess:
    """What runs in it: each job with when it started and when it kills."""

    quarantine: Quarantine
    started_at: float
    running: dict[SimulatedJob, tuple[float, float]] = field(default_factory=dict)
    last_end: float = 0.0
    on_trial: SimulatedJob | None = None


class Simulation:
    """Some processes, and all their jobs.

    Attributes:
        deaths: of processes, so far.
        longest_closure: for how many seconds, at most, a process let no ordinary job start though one was ready and a
            worker was free.
    """

    def __init__(self, jobs: Iterable[SimulatedJob], *, processes: int = 1, restart: float = 2.0) -> None:
        self.now = 1000.0
        self.jobs = list(jobs)
        self.deaths = 0
        self.longest_closure = self._closure = 0.0
        self._restart = restart
        self._processes = [self._fresh() for _ in range(processes)]

    def _fresh(self) -> SimulatedProcess:
        return SimulatedProcess(Quarantine(lambda: self.now), self.now)

    def ready(self, *, suspects: bool) -> list[SimulatedJob]:
        found = [job for job in self.jobs if job.state == "ready" and job.suspect is suspects]
        if suspects:
            found.sort(key=lambda job: (job.trials + 2 * job.crashes_alone - job.crashes, job.trials, job.id))
        return found

    def run(self, seconds: float) -> Iterator[float]:
        """Let time pass; the time so far after each step."""
        began, until = self.now, self.now + seconds
        while self.now < until:
            self.now += TICK
            for process in list(self._processes):
                self._step(process)
            yield self.now - began

    def _step(self, process: SimulatedProcess) -> None:
        if self.now < process.started_at:
            return
        self._end_what_is_over(process)
        if any(at <= self.now for _, at in process.running.values()):
            self.kill(process)
            return
        if process.quarantine.survived() and process.on_trial is not None:
            process.on_trial.trials += 1
        self._start_jobs(process)

    def _end_what_is_over(self, process: SimulatedProcess) -> None:
        for job, (start, _) in list(process.running.items()):
            if start + job.lasts <= self.now:
                job.state = "succeeded"
                del process.running[job]
                process.last_end = self.now
                process.quarantine.ended([_outcome(job)])

    def _start_jobs(self, process: SimulatedProcess) -> None:
        quarantine, ordinary, suspects = process.quarantine, self.ready(suspects=False), self.ready(suspects=True)
        quarantine.waiting = bool(suspects)
        closed = quarantine.closed
        latest = max((start for start, _ in process.running.values()), default=0.0)
        free = WORKERS - len(process.running)
        if suspects and free and quarantine.admits(latest, others_wait=bool(ordinary) and not closed):
            quarantine.started([suspects[0].claimed()])
            process.on_trial = suspects[0]
            ordinary = suspects[:1]
        elif closed:
            self._closure = self._closure + TICK if ordinary and free else 0.0
            self.longest_closure = max(self.longest_closure, self._closure)
            return
        self._closure = 0.0
        for job in ordinary[:free]:
            job.state = "running"
            process.running[job] = (self.now, self.now + job.kills())

    def kill(self, process: SimulatedProcess | None = None) -> None:
        """A process dies, and is started again."""
        process = process or self._processes[0]
        self.deaths += 1
        alone = jobs_that_ran_alone({job.id: start for job, (start, _) in process.running.items()}, process.last_end)
        for job in process.running:
            job.crashes += 1
            job.crashes_alone += job.id in alone
            others = any(other.crashes_alone for other in self.jobs if other is not job and other.state in LIVE)
            convicted = is_poison(crashes_alone=job.crashes_alone, max_crashes=MAX_CRASHES, others_died_alone=others)
            job.state = "dead" if job.id in alone and convicted else "ready"
        self._processes.remove(process)
        self._processes.append(self._fresh())
        self._processes[-1].started_at = self.now + self._restart

    @property
    def busy(self) -> bool:
        """Whether the next process to be killed runs anything."""
        return bool(self._processes[0].running)


LIVE = ("ready", "running")


def _outcome(job: SimulatedJob) -> Outcome:
    return Outcome(
        job_id=job.id, claim=1, attempt=1, name="", queue="", state=JobState.SUCCEEDED, ending=Ending.SUCCEEDED,
        run_at=0, started_at=0, finished_at=0, server_id=1,
    )  # fmt: skip


def long_jobs(count: int) -> list[SimulatedJob]:
    return [SimulatedJob(number, lasts=3600.0) for number in range(1, count + 1)]


def deaths_until_dead(kills: Seconds, *, among: int, processes: int, restart: float, seed: int) -> int:
    """How many processes a job that kills takes with it until it is dead; no other may be."""
    chance = random.Random(seed)
    killer = SimulatedJob(chance.randrange(2) * 1000, lasts=math.inf, kills=kills)
    short = [SimulatedJob(100 + number, lasts=chance.uniform(0.3, 3.0)) for number in range(chance.choice([0, 40]))]
    jobs = [killer, *long_jobs(among), *short]
    chance.shuffle(jobs)
    simulation = Simulation(jobs, processes=processes, restart=restart)
    for _ in simulation.run(20_000):
        if killer.state == "dead":
            break
    assert [job for job in jobs if job.state == "dead"] == [killer], simulation.deaths
    return simulation.deaths


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("seconds", [1.0, 12.0, 30.0, 100.0])
def test_a_job_that_kills_beside_long_ones_is_dead_after_so_many_deaths(seconds: float, processes: int) -> None:
    # A trial of 10 s, which is doubled until the job does not live through it. The figure is that of guarantees.md.
    doublings = max(0, math.ceil(math.log2(seconds / 10)))
    for seed, among, restart in itertools.product(range(3), [0, 1, 4], [1.0, 20.0]):
        deaths = deaths_until_dead(lambda: seconds, among=among, processes=processes, restart=restart, seed=seed)
        assert deaths <= MAX_CRASHES + 5 + doublings + 2 * (processes - 1), (seed, among, restart)


@pytest.mark.parametrize("mean", [3.0, 30.0])
def test_one_that_kills_at_random_is_dead_after_about_as_many(mean: float) -> None:
    chance = random.Random(1)
    deaths = [
        deaths_until_dead(lambda: chance.expovariate(1 / mean), among=4, processes=1 + seed % 3, restart=2.0, seed=seed)
        for seed in range(12)
    ]
    assert max(deaths) <= 20
    assert sum(deaths) / len(deaths) <= 12


def test_several_such_jobs_are_dead_after_a_dozen_deaths_for_each() -> None:
    for seed in range(6):
        killers = [SimulatedJob(1000 + number, lasts=math.inf, kills=lambda: 1.0) for number in range(4)]
        jobs = [*killers, *long_jobs(4)]
        random.Random(seed).shuffle(jobs)
        simulation = Simulation(jobs, processes=1 + seed % 3)
        for _ in simulation.run(100_000):
            if all(job.state == "dead" for job in killers):
                break
        assert {job.id for job in jobs if job.state == "dead"} == {job.id for job in killers}, seed
        assert simulation.deaths <= len(killers) * 12


def dead_after_ten_kills(jobs: int, after: Seconds) -> int:
    """How many jobs are dead when their process was killed ten times, each time so long after it began to run some."""
    simulation = Simulation(long_jobs(jobs))
    kill_at = math.inf
    for _ in simulation.run(100_000):
        if not simulation.busy:
            kill_at = math.inf
        elif kill_at == math.inf:
            kill_at = simulation.now + after()
        elif simulation.now >= kill_at:
            simulation.kill()
        if simulation.deaths == 10:
            break
    return sum(job.state == "dead" for job in simulation.jobs)


@pytest.mark.parametrize("jobs", [2, 3, 5, 20])
def test_ten_kills_from_outside_leave_no_bystander_dead(jobs: int) -> None:
    for seconds in (0.5, 5.0, 11.0, 15.0, 30.0, 100.0):
        assert dead_after_ten_kills(jobs, partial(float, seconds)) == 0, seconds


def test_nor_do_ten_at_random_but_for_one_round_in_a_hundred() -> None:
    chance = random.Random(3)
    rounds = [
        dead_after_ten_kills(jobs, partial(chance.expovariate, 1 / mean))
        for jobs, mean, _ in itertools.product([2, 3, 5], [5.0, 20.0, 60.0], range(12))
    ]
    assert sum(rounds) <= len(rounds) / 100


def test_a_suspect_that_succeeds_delays_no_other_job_afterwards() -> None:
    jobs = [SimulatedJob(number, lasts=5.0, crashes=2) for number in range(3)]
    ordinary = [SimulatedJob(100 + number, lasts=2.0) for number in range(30)]
    simulation = Simulation([*jobs, *ordinary])
    took = next(t for t in simulation.run(1000) if all(job.state == "succeeded" for job in simulation.jobs))
    assert took < 90
    # Until the others have run for a while, and its own five seconds.
    assert simulation.longest_closure <= CALM_SECONDS + 5.0 + 1.0


def test_between_trials_others_start_for_as_long_as_a_trial_took() -> None:
    suspects = [SimulatedJob(number, lasts=3600.0, crashes=2) for number in range(4)]
    ordinary = [SimulatedJob(100 + number, lasts=0.5) for number in range(100)]
    simulation = Simulation([*suspects, *ordinary])
    for _ in simulation.run(150):
        pass
    assert all(job.trials == 1 for job in suspects)
    assert simulation.longest_closure <= CALM_SECONDS + FIRST_TRIAL_SECONDS + 1.0
    assert all(job.state == "succeeded" for job in ordinary)


def test_a_job_that_never_ends_keeps_no_suspect_from_its_trial() -> None:
    stuck = SimulatedJob(1, lasts=math.inf)
    suspect = SimulatedJob(2, lasts=1.0, crashes=2, state="not yet")
    simulation = Simulation([stuck, suspect])
    for seconds in simulation.run(60):
        if seconds == 30.0:
            suspect.state = "ready"
    assert (stuck.state, suspect.state) == ("running", "succeeded")


def test_trials_grow_to_a_quarter_of_an_hour() -> None:
    assert [trial_seconds(lived) for lived in (0, 1, 2, 6, 7, 50)] == [10, 20, 40, 640, 900, 900]


def test_which_job_ran_alone_follows_from_starts_and_the_last_end() -> None:
    assert jobs_that_ran_alone({5: 10.0}, 9.0) == {5}
    assert jobs_that_ran_alone({5: 10.0}, 0.0) == {5}
    # Another has ended since.
    assert jobs_that_ran_alone({5: 10.0}, 11.0) == frozenset()
    assert jobs_that_ran_alone({5: 10.0, 6: 12.0}, 9.0) == frozenset()
    assert jobs_that_ran_alone({}, 9.0) == frozenset()


def test_notes_show_what_ran_when_a_process_died_and_whether_it_ran_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    notes = RunningJobsFile(path, slots=4)
    first, second, elsewhere = notes.take_slot(), notes.take_slot(), notes.take_slot()
    assert read_running_jobs(path) == {}
    notes.note(first, 7)
    notes.note_elsewhere(elsewhere, 9)
    assert read_running_jobs(path) == {7: True, 9: False}
    notes.note(second, 8)
    assert read_running_jobs(path) == {7: False, 8: False, 9: False}
    notes.note(first, 0)
    notes.note_elsewhere(elsewhere, 0)
    notes.free_slot(elsewhere)
    # It had company.
    assert read_running_jobs(path) == {8: False}
    notes.note(second, 10)
    assert read_running_jobs(path) == {10: True}
    notes.free_slot(second)
    assert read_running_jobs(path) == {}
    assert read_running_jobs(tmp_path / "missing") is None


def test_notes_of_an_older_version_show_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(struct.pack("=4q", 0, 7, 8, 0))
    assert read_running_jobs(path) == {7: False, 8: False}

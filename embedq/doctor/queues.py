"""Jobs: queues without a process, late jobs, parked jobs, and failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedq.clock import SECOND
from embedq.display.units import counted, span
from embedq.doctor import checks
from embedq.doctor.findings import Section, Severity
from embedq.doctor.processes import ObservedProcess, ProcessState, in_folders
from embedq.flow.holds import Holds
from embedq.job import Ending, JobState
from embedq.storage import health, holds, inspect
from embedq.storage.base import Transaction
from embedq.storage.damage import member
from embedq.storage.health import CAP, SHOWN, Deaths, Parked, QueueBacklog

DAY_MICROS = 86_400 * SECOND
# The share of failures is only checked from this number of attempts in the last hour on.
MIN_ATTEMPTS, FAILED_SHARE = 20, 0.5
_FAILURES = (Ending.FAILED, Ending.TIMED_OUT, Ending.CRASHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What the database contains about jobs; read in one transaction."""

    paused: Holds
    ready: dict[str, QueueBacklog]
    delayed: dict[str, QueueBacklog]
    parked: list[Parked]
    overdue: list[tuple[int, str]]
    suspects: int
    deaths: list[Deaths]
    dead: int
    last_hour: dict[Ending, int]


def read(tx: Transaction, *, now: int) -> JobFacts:
    """Read the facts, each counted up to a limit."""
    totals = {member(Ending, row[0]): int(row[1]) for row in tx.all("totals", (now // 60_000_000 - 60,))}
    return JobFacts(
        paused=holds.snapshot(tx),
        ready=health.ready(tx),
        delayed=health.delayed(tx),
        parked=health.parked(tx),
        overdue=health.overdue(tx),
        suspects=health.suspects(tx),
        deaths=health.deaths(tx, since=now - DAY_MICROS),
        dead=inspect.count(tx, JobState.DEAD),
        last_hour=totals,
    )


def check(facts: JobFacts, observed: Sequence[ObservedProcess], *, max_wait: float, now: int) -> Section:
    """Check the jobs, given the processes.

    Args:
        max_wait: seconds that a job may be due before there is a warning.
    """
    section = Section("Jobs")
    waits = {queue: (now - line.oldest) / SECOND for queue, line in facts.ready.items()}
    if not any(one.state is not ProcessState.DEAD for one in observed):
        _check_without_process(section, facts, now)
    else:
        _check_unserved(section, facts, observed)
        late = {
            queue: wait
            for queue, wait in waits.items()
            if wait > max_wait and _is_served(queue, observed) and not facts.paused.of_queue(queue, now)
        }
        for queue, wait in sorted(late.items(), key=lambda item: -item[1])[:SHOWN]:
            section.add(checks.QUEUE_LATE, queue=queue, wait=span(wait), jobs=_jobs(facts.ready[queue].jobs))
    _check_parked(section, facts.parked, observed)
    _check_runs(section, facts)
    _check_dead(section, facts)
    if not section.findings:
        waiting = counted(sum(line.jobs for line in facts.ready.values()), "job")
        oldest = f", the oldest for {span(max(waits.values()))}" if waits else ""
        section.fine.append(f"{waiting} waiting{oldest}; none parked, none dead")
    return section


def _jobs(number: int) -> str:
    return counted(number, "job", cap=CAP)


def _is_served(queue: str, observed: Sequence[ObservedProcess]) -> bool:
    return any(
        one.server.queues is None or queue in one.server.queues
        for one in observed
        if one.state is not ProcessState.DEAD and not one.server.stopping
    )


def _check_without_process(section: Section, facts: JobFacts, now: int) -> None:
    overdue = {queue: line for queue, line in facts.delayed.items() if line.oldest <= now}
    due = sum(line.jobs for line in (*facts.ready.values(), *overdue.values()))
    later = sum(line.jobs for queue, line in facts.delayed.items() if queue not in overdue)
    if due:
        section.add(checks.NO_PROCESS_DUE, jobs=_jobs(due))
    elif later:
        section.add(checks.NO_PROCESS_LATER, jobs=_jobs(later))
    else:
        section.add(checks.NO_PROCESS)


def _check_unserved(section: Section, facts: JobFacts, observed: Sequence[ObservedProcess]) -> None:
    worked = ", ".join(sorted({name for one in observed for name in one.server.queues or ()}))
    for queue in sorted({*facts.ready, *facts.delayed}):
        if not _is_served(queue, observed):
            ready, later = facts.ready.get(queue), facts.delayed.get(queue)
            jobs = sum(line.jobs for line in (ready, later) if line is not None)
            found = checks.QUEUE_UNSERVED_LATER if ready is None else checks.QUEUE_UNSERVED
            section.add(found, queue=queue, jobs=_jobs(jobs), worked=worked)


def _check_parked(section: Section, parked: Sequence[Parked], observed: Sequence[ObservedProcess]) -> None:
    alive = any(one.state is ProcessState.ALIVE for one in observed)
    lacking = "which no live process has" if alive else "which no process has had so far"
    for one in parked[:SHOWN]:
        _add_parked(section, one, lacking, Severity.ERROR if alive else Severity.WARNING)
    if len(parked) > SHOWN:
        section.add(checks.JOBS_PARKED_MORE, more=len(parked) - SHOWN)
    if any(one.needs.startswith(("task ", "type ", "module ")) for one in parked) and (apps := in_folders(observed)):
        section.add(checks.TWO_APPS_PARKED, details=apps)


def _add_parked(section: Section, parked: Parked, lacking: str, severity: Severity) -> None:
    section.add(
        checks.JOBS_PARKED,
        severity=severity,
        jobs=_jobs(parked.jobs),
        needs=parked.needs,
        lacking=lacking,
        remedy=checks.REMEDIES.get(parked.needs.partition(" ")[0], checks.OTHER_REMEDY),
        details=(f"for example job {parked.example}: embedq show {parked.example}",),
    )


def read_parked(tx: Transaction, queues: Sequence[str] | None) -> list[Parked]:
    """Return some requirements of parked jobs in these queues (None: in all), most jobs first."""
    found = health.parked(tx, most=SHOWN)
    return [one for one in found if queues is None or inspect.job(tx, one.example).queue in queues]


def check_parked_here(parked: Sequence[Parked], has: Callable[[str], bool]) -> Section:
    """Check for parked jobs that this process cannot run; other processes may still be starting."""
    section = Section("Jobs")
    for one in parked:
        if not has(one.needs):
            _add_parked(section, one, "which this process does not have", Severity.WARNING)
    return section


def _check_runs(section: Section, facts: JobFacts) -> None:
    if facts.overdue:
        jobs = counted(len(facts.overdue), "job", cap=SHOWN)
        details = tuple(f"job {job_id}: {name}" for job_id, name in facts.overdue[:5])
        section.add(checks.JOBS_OVERDUE, jobs=jobs, details=details)
    if facts.suspects:
        section.add(checks.JOBS_SUSPECT, jobs=_jobs(facts.suspects))
    attempts = sum(facts.last_hour.values())
    failed = sum(facts.last_hour.get(ending, 0) for ending in _FAILURES)
    if attempts >= MIN_ATTEMPTS and failed > attempts * FAILED_SHARE:
        section.add(checks.ATTEMPTS_FAIL, attempts=counted(attempts, "attempt"), failed=failed)


def _check_dead(section: Section, facts: JobFacts) -> None:
    if facts.deaths:
        details = tuple(f"{one.jobs:,} of {one.name}, the latest job {one.latest}" for one in facts.deaths[:5])
        section.add(checks.JOBS_DIED, jobs=_jobs(sum(one.jobs for one in facts.deaths)), details=details)
    elif facts.dead:
        section.add(checks.JOBS_DEAD, jobs=_jobs(facts.dead))

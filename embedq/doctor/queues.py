"""The jobs themselves: what waits for whom, what cannot run, and what has failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedq.clock import SECOND
from embedq.doctor.findings import Section
from embedq.doctor.processes import Life, Seen, in_folders
from embedq.job import Ending, JobState
from embedq.storage import health, inspect
from embedq.storage.base import Transaction
from embedq.storage.health import CAP, SHOWN, Deaths, Line, Parked
from embedq.wording import counted, span

DAY_MICROS = 86_400 * SECOND
# Of the attempts of the last hour, from how many on their share of failures says something.
MANY_ATTEMPTS, FAILED_SHARE = 20, 0.5
_FAILURES = (Ending.FAILED, Ending.TIMED_OUT, Ending.CRASHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the database says of jobs; read in one transaction."""

    ready: dict[str, Line]
    delayed: dict[str, Line]
    parked: list[Parked]
    overdue: list[tuple[int, str]]
    suspects: int
    deaths: list[Deaths]
    dead: int
    last_hour: dict[Ending, int]


def read(tx: Transaction, *, now: int) -> Facts:
    """The facts, each counted up to a limit."""
    totals = {Ending(row[0]): int(row[1]) for row in tx.all("totals", (now // 60_000_000 - 60,))}
    return Facts(
        ready=health.ready(tx),
        delayed=health.delayed(tx),
        parked=health.parked(tx),
        overdue=health.overdue(tx),
        suspects=health.suspects(tx),
        deaths=health.deaths(tx, since=now - DAY_MICROS),
        dead=inspect.count(tx, JobState.DEAD),
        last_hour=totals,
    )


def check(facts: Facts, seen: Sequence[Seen], *, max_wait: float, now: int) -> Section:
    """What the facts mean, given the processes.

    Args:
        max_wait: seconds that a job may be due before that is worth a warning.
    """
    section = Section("Jobs")
    late = {queue: (now - line.oldest) / SECOND for queue, line in facts.ready.items()}
    waiting = sum(line.jobs for line in facts.ready.values())
    if not any(one.life is not Life.DEAD for one in seen):
        _nobody(section, facts, now)
    else:
        _unserved(section, facts, seen)
        served = {queue: age for queue, age in late.items() if _is_served(queue, seen)}
        _waiting(section, served, facts, max_wait)
    _parked(section, facts.parked, seen)
    _trouble(section, facts)
    _dead(section, facts)
    if not section.findings:
        oldest = f", the oldest for {span(max(late.values()))}" if late else ""
        section.fine.append(f"{counted(waiting, 'job')} waiting{oldest}; none parked, none dead")
    return section


def _is_served(queue: str, seen: Sequence[Seen]) -> bool:
    return any(
        one.server.queues is None or queue in one.server.queues
        for one in seen
        if one.life is not Life.DEAD and not one.server.stopping
    )


def _nobody(section: Section, facts: Facts, now: int) -> None:
    """No process is alive."""
    overdue = {queue: line for queue, line in facts.delayed.items() if line.oldest <= now}
    due = sum(line.jobs for line in (*facts.ready.values(), *overdue.values()))
    later = sum(line.jobs for queue, line in facts.delayed.items() if queue not in overdue)
    advice = "start the application that calls embedq.start(), or: embedq worker --app MODULE"
    if due:
        section.error("no-process", f"no process runs jobs, with {counted(due, 'job', cap=CAP)} due", advice)
    elif later:
        section.warning(
            "no-process", f"no process runs jobs, with {counted(later, 'job', cap=CAP)} waiting for their time", advice
        )
    else:
        section.note("no-process", "no process runs jobs, and none waits", advice)


def _unserved(section: Section, facts: Facts, seen: Sequence[Seen]) -> None:
    for queue in sorted({*facts.ready, *facts.delayed}):
        if _is_served(queue, seen):
            continue
        ready, later = facts.ready.get(queue), facts.delayed.get(queue)
        jobs = sum(line.jobs for line in (ready, later) if line is not None)
        worked = sorted({name for one in seen for name in one.server.queues or ()})
        advice = f"name it where the queues are set (queues=[…], --queues), which are: {', '.join(worked)}"
        problem = f"no live process works the queue {queue!r}, with {counted(jobs, 'job', cap=CAP)} waiting"
        if ready is not None:
            section.error("queue-unserved", problem, advice)
        else:
            section.warning("queue-unserved", f"{problem} for their time", advice)


def _waiting(section: Section, late: dict[str, float], facts: Facts, max_wait: float) -> None:
    for queue, seconds in sorted(late.items(), key=lambda item: -item[1])[:SHOWN]:
        if seconds > max_wait:
            section.warning(
                "queue-late",
                f"in the queue {queue!r} a job has been due for {span(seconds)}, of "
                f"{counted(facts.ready[queue].jobs, 'job', cap=CAP)} waiting",
                "more workers or processes, shorter jobs, or a queue of its own for what is urgent: embedq stats",
            )


def _parked(section: Section, parked: Sequence[Parked], seen: Sequence[Seen]) -> None:
    alive = any(one.life is Life.ALIVE for one in seen)
    for one in parked[:SHOWN]:
        who = "which no live process has" if alive else "which no process had so far"
        add = section.error if alive else section.warning
        add(
            "jobs-parked",
            f"{counted(one.jobs, 'job', cap=CAP)} parked for want of {one.needs}, {who}",
            _remedy(one.needs),
            (f"for example job {one.example}: embedq show {one.example}",),
        )
    if len(parked) > SHOWN:
        section.error("jobs-parked", f"and {len(parked) - SHOWN} more needs", "embedq jobs --state parked")
    apps = in_folders(seen) if any(one.needs.startswith(("task ", "type ", "module ")) for one in parked) else ()
    if apps:
        section.warning(
            "two-apps",
            "jobs wait for functions that nobody here has, and the processes run in different folders: two apps may "
            "share this database by accident",
            "give each app a database of its own, or each a queue that only its processes work",
            apps,
        )


def read_parked(tx: Transaction, queues: Sequence[str] | None) -> list[Parked]:
    """Some of what parked jobs of these queues (None: of all) wait for, most jobs first."""
    found = health.parked(tx, most=SHOWN)
    return [one for one in found if queues is None or inspect.job(tx, one.example).queue in queues]


def check_unrunnable(parked: Sequence[Parked], has: Callable[[str], bool]) -> Section:
    """Parked jobs that this process cannot run, as it starts: others may still be on their way."""
    section = Section("Jobs")
    for one in parked:
        if not has(one.needs):
            section.warning(
                "jobs-parked",
                f"{counted(one.jobs, 'job', cap=CAP)} parked for want of {one.needs}, which this process does not have",
                _remedy(one.needs),
                (f"for example job {one.example}: embedq show {one.example}",),
            )
    return section


def _remedy(needs: str) -> str:
    kind = needs.partition(" ")[0]
    return {
        "task": "import the module that defines it before embedq.start(); if it was renamed, keep the old name: "
        "@embedq.job(aliases=[…]); if it is gone for good: embedq cancel",
        "type": "import the module that defines it before embedq.start(), in the version that stored it",
        "module": "install it where the jobs run, or cancel these jobs: embedq cancel",
        "python": "run a worker on that version of Python until they are done, or cancel them: embedq cancel",
        "key": "give every process the same secret_key (EMBEDQ_SECRET_KEY), or the same key file",
        "stored": "upgrade embedq where the jobs run: a newer one wrote them",
        "time": "install the package tzdata where the jobs run",
    }.get(kind, "look at one of them, then enqueue it anew or cancel it: embedq show, embedq cancel")


def _trouble(section: Section, facts: Facts) -> None:
    if facts.overdue:
        more = "+" if len(facts.overdue) >= SHOWN else ""
        section.warning(
            "jobs-overdue",
            f"{len(facts.overdue)}{more} running past their timeout, and not to be interrupted",
            "they hold a thread each. Give the calls in them timeouts of their own (sockets, locks), or let them run "
            'with executor="process"',
            tuple(f"job {job_id}: {name}" for job_id, name in facts.overdue[:5]),
        )
    if facts.suspects:
        section.warning(
            "jobs-suspect",
            f"{counted(facts.suspects, 'job', cap=CAP)} may be killing their process: it died under them twice",
            "they run apart, and after max_crashes they are dead. Look for the kernel's out-of-memory killer and "
            "crashing C extensions",
        )
    attempts = sum(facts.last_hour.values())
    failed = sum(facts.last_hour.get(ending, 0) for ending in _FAILURES)
    if attempts >= MANY_ATTEMPTS and failed > attempts * FAILED_SHARE:
        section.warning(
            "attempts-fail",
            f"of {counted(attempts, 'attempt')} in the last hour {failed:,} failed",
            "something that jobs need is away? embedq jobs --state retrying",
        )


def _dead(section: Section, facts: Facts) -> None:
    advice = "look at one, mend the cause, then: embedq retry --all --name NAME"
    if facts.deaths:
        total = sum(one.jobs for one in facts.deaths)
        section.warning(
            "jobs-died",
            f"{counted(total, 'job', cap=CAP)} failed for good in the last 24 hours",
            advice,
            tuple(f"{one.jobs:,} of {one.name}, the latest job {one.latest}" for one in facts.deaths[:5]),
        )
    elif facts.dead:
        section.note(
            "jobs-dead", f"{counted(facts.dead, 'job', cap=CAP)} failed for good, before the last 24 hours", advice
        )

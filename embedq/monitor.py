"""What there is to see of a queue: the ground of the dashboard, and of anything else that shows one.

    page = app.monitor.search(state="dead", error="Timeout")
    page = app.monitor.search(state="dead", error="Timeout", cursor=page.next)
    for group in app.monitor.overview().failures.groups: …

No call here costs more with more stored jobs: pages go by key, counts stop, scans and samples have bounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack
from zoneinfo import ZoneInfo

from embedq.clock import to_datetime, to_micros
from embedq.control import as_state
from embedq.engine import Engine
from embedq.errors import ConfigurationError, WaitTimeoutError
from embedq.job import Attempt, Job, JobId, JobState
from embedq.recurring import RecurringJobs
from embedq.redaction import Hidden
from embedq.schedule import Cron
from embedq.storage import inspect, questions
from embedq.storage.base import Transaction
from embedq.storage.inspect.details import Family, LogPage, Moment, family, last_logs, log_page, timeline
from embedq.storage.inspect.durations import TaskType, task_type, task_types
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.glance import COUNT_CAP, Count
from embedq.storage.inspect.history import History, history
from embedq.storage.inspect.processes import RunningJob, Server, running
from embedq.storage.inspect.queueing import Queue, queues
from embedq.storage.inspect.searching import JobPage, looks
from embedq.storage.inspect.trouble import ErrorGroups, Overview, dead_letters, failures, overview
from embedq.storage.questions import Answer

# How often an answer is looked for.
ANSWER_POLL_SECONDS = 0.05


class SearchKeywords(TypedDict, total=False):
    """The filters of a search; all that is given must match. See `embedq.storage.inspect.filters.Search`.

    Attributes:
        state: one, or several; by name or as `JobState`.
        ids: any of these.
        hidden: what of the arguments is not shown to who searches, and so matches nothing; see `embedq.redaction`.
    """

    state: JobState | str | Iterable[JobState | str] | None
    queue: str | None
    name: str | None
    tag: str | None
    schedule: str | None
    error: str | None
    error_group: str | None
    argument: str | None
    hidden: Hidden | None
    ids: Iterable[int] | None
    parent: int | None
    created_from: datetime | None
    created_to: datetime | None
    finished_from: datetime | None
    finished_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """One job with all that is stored about it, but for its log lines.

    Attributes:
        moments: its life so far, in order.
        family: the jobs before and after it.
    """

    job: Job
    attempts: list[Attempt]
    moments: list[Moment]
    family: Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """An occurrence of a schedule that lies ahead.

    Attributes:
        local: in the schedule's own time zone: what the clock there will show; `at` is the same moment in UTC.
    """

    schedule: str
    task: str
    at: datetime
    local: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Occurrences in order.

    Attributes:
        dense: the schedules that have more of them than are shown, with the moment up to which theirs are.
    """

    occurrences: list[Coming]
    dense: dict[str, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDetails:
    """A process, and the jobs that it holds."""

    server: Server
    silent_seconds: float
    jobs: list[RunningJob]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStack:
    """Where a job was when its process was asked.

    Attributes:
        text: as a traceback shows it, the innermost call last.
        thread: the name of its thread, or "process 4711", or "event loop".
    """

    job_id: JobId
    at: datetime
    thread: str
    text: str


class Monitor:
    """Answers for one app. Reads, and changes nothing."""

    def __init__(self, engine: Engine, recurring: RecurringJobs) -> None:
        self.engine = engine
        self._recurring = recurring

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def wanted(self, **filters: Unpack[SearchKeywords]) -> Search:
        """The filters as a `Search`. ConfigurationError for one that is unknown, or cannot be."""
        return as_search(filters)

    def search(self, *, cursor: str | None = None, limit: int = 50, **filters: Unpack[SearchKeywords]) -> JobPage:
        """One page of the jobs that match.

        Args:
            cursor: `next` or `previous` of another page of the same search.
        Raises:
            ConfigurationError: a filter that makes no sense, or a cursor of another search.
        """
        wanted = as_search(filters)
        return self.engine.database.read(inspect.search, wanted, cursor=cursor, limit=limit)

    def count(self, *, cap: int = COUNT_CAP, **filters: Unpack[SearchKeywords]) -> Count:
        """How many jobs match: up to `cap` of them, and of what a bounded look can see."""
        return self.engine.database.read(inspect.count_search, as_search(filters), cap=cap)

    def looks(self, **filters: Unpack[SearchKeywords]) -> int:
        """At how many jobs a page of this search, or its count, looks at most."""
        return looks(as_search(filters))

    def job(self, job_id: int) -> JobDetails:
        """One job. JobNotFoundError if it is not there."""

        def everything(tx: Transaction) -> JobDetails:
            return JobDetails(
                job=inspect.job(tx, job_id),
                attempts=inspect.attempts(tx, job_id),
                moments=timeline(tx, job_id),
                family=family(tx, job_id),
            )

        return self.engine.database.read(everything)

    def logs(self, job_id: int, *, after: int | None = None, limit: int = 200) -> LogPage:
        """Lines that a job wrote: behind the cursor `after`, or the latest."""
        if after is None:
            return self.engine.database.read(last_logs, job_id, limit=limit)
        return self.engine.database.read(log_page, job_id, after=after, limit=limit)

    def stack(self, job_id: int, *, timeout: float = 2.0) -> LiveStack | None:
        """Where a running job is at this moment, in whichever process it runs; None when it does not run (any more).

        Its process answers within half a second or so.
        Raises:
            WaitTimeoutError: the process does not answer: it hangs, or runs an embedq that cannot.
        """
        engine = self.engine
        found = None if engine.runtime is None else engine.runtime.dispatcher.stack_of(job_id)
        if found is not None:
            return LiveStack(job_id=JobId(job_id), at=to_datetime(self._now()), thread=found.where, text=found.text)
        question = engine.database.write(questions.ask, job_id, now=self._now())
        if question is None:
            return None
        try:
            answer = self._answer_to(question, job_id, timeout)
        finally:
            engine.database.write(questions.forget, question)
        if not answer.text:
            return None
        return LiveStack(job_id=JobId(job_id), at=to_datetime(answer.at), thread=answer.where, text=answer.text)

    def _answer_to(self, question: int, job_id: int, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        while (answer := self.engine.database.read(questions.answer_to, question)) is None:
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"the process that runs job {job_id} did not say within {timeout:g} s where it is"
                )
            time.sleep(ANSWER_POLL_SECONDS)
        return answer

    # -- all together --------------------------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """What is broken, and how much there is of everything."""
        return self.engine.database.read(overview, now=self._now(), lease=self.engine.settings.lease)

    def failures(self, seconds: float = 86_400) -> ErrorGroups:
        """Failed attempts of the last `seconds`, by error; of the newest few thousand."""
        return self.engine.database.read(failures, now=self._now(), seconds=seconds)

    def dead_letters(self) -> ErrorGroups:
        """Dead jobs by error; the newest few thousand."""
        return self.engine.database.read(dead_letters, now=self._now())

    def history(self, span: str = "hour", *, name: str | None = None, queue: str | None = None) -> History:
        """What ended in the last "hour" (by minute), "day" (by quarter of an hour) or "week" (by three hours).

        ConfigurationError for another span.
        """
        return self.engine.database.read(history, span, now=self._now(), name=name, queue=queue)

    def queues(self) -> list[Queue]:
        """Every queue, by name."""
        return self.engine.database.read(queues, now=self._now())

    def task_types(self, span: str = "day") -> list[TaskType]:
        """Every function that ran in the last "hour", "day" or "week", by name."""
        return self.engine.database.read(task_types, now=self._now(), span=span)

    def task_type(self, name: str, span: str = "day") -> TaskType:
        """One function."""
        return self.engine.database.read(task_type, name, now=self._now(), span=span)

    def servers(self) -> list[ServerDetails]:
        """The processes, and what each holds; of all together up to 1,000 jobs, those that have run longest."""
        now = to_datetime(self._now())

        def both(tx: Transaction) -> tuple[list[Server], list[RunningJob]]:
            return inspect.servers(tx), running(tx, limit=1_000)

        servers, held = self.engine.database.read(both)
        return [
            ServerDetails(
                server=server,
                silent_seconds=max(0.0, (now - server.heartbeat_at).total_seconds()),
                jobs=[job for job in held if job.server == server.id],
            )
            for server in servers
        ]

    def _now(self) -> int:
        return self.engine.clock.now()

    def calendar(self, start: datetime, end: datetime, *, each: int = 100) -> Calendar:
        """When the schedules that are not paused fire between two aware moments.

        Args:
            each: how many occurrences of one schedule are given at most.
        Raises:
            ConfigurationError: a moment without a time zone, or a span that is none.
        """
        for moment in (start, end):
            if moment.utcoffset() is None:
                raise ConfigurationError(f"{moment!r} must be an aware datetime, such as datetime.now(UTC)")
        first, last = to_micros(start), to_micros(end)
        if last < first:
            raise ConfigurationError("the calendar's end must not be before its start")
        found: list[Coming] = []
        dense: dict[str, datetime] = {}
        for schedule in self._recurring.all():
            if schedule.paused or schedule.when is None:
                continue
            zone = ZoneInfo(schedule.when.timezone) if isinstance(schedule.when, Cron) else UTC
            # What is due already comes with its own moment; the rest follows from it.
            at = max(to_micros(schedule.next_fire_at), schedule.when.next_micros(first - 1))
            number = 0
            while at < last:
                if number == each:
                    dense[schedule.name] = to_datetime(at)
                    break
                moment = to_datetime(at)
                found.append(
                    Coming(schedule=schedule.name, task=schedule.task, at=moment, local=moment.astimezone(zone))
                )
                at, number = schedule.when.next_micros(at), number + 1
        found.sort(key=lambda coming: (coming.at, coming.schedule))
        return Calendar(occurrences=found, dense=dense)


def as_search(filters: SearchKeywords) -> Search:
    """Keywords as a `Search`. ConfigurationError for one that is unknown, or cannot be."""
    given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    unknown = sorted(set(given) - SearchKeywords.__annotations__.keys())
    if unknown:
        known = ", ".join(sorted(SearchKeywords.__annotations__))
        raise ConfigurationError(f"unknown filter {', '.join(unknown)}; there are: {known}")
    states = given.pop("state", ())
    names = [states] if isinstance(states, str) else list(states)
    found = [state for state in map(as_state, names) if state is not None]
    if "ids" in given:
        given["ids"] = tuple(int(job_id) for job_id in given["ids"])
    for name in ("created_from", "created_to", "finished_from", "finished_to"):
        moment = given.get(name)
        if moment is not None and (not isinstance(moment, datetime) or moment.utcoffset() is None):
            raise ConfigurationError(f"{name}={moment!r} must be an aware datetime, such as datetime.now(UTC)")
    return Search(states=tuple(dict.fromkeys(found)), **given)

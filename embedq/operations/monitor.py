"""Everything that can be read of a queue, for the dashboard and other monitoring.

    page = app.monitor.search(state="dead", error="Timeout")
    page = app.monitor.search(state="dead", error="Timeout", cursor=page.next)
    for group in app.monitor.overview().failures.groups: …

The cost of a call does not grow with the number of jobs: pages use keys, and counts, scans and samples are limited.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypedDict, Unpack

from embedq.clock import to_datetime, to_micros
from embedq.config import refuse_unknown
from embedq.display.redaction import Hidden
from embedq.engine.lifecycle import Engine
from embedq.engine.recurring import RecurringJobs, Schedule
from embedq.engine.stored_jobs import as_state
from embedq.errors import ConfigurationError, WaitTimeoutError
from embedq.flow.unique import rule_of
from embedq.job import ENDED, Attempt, Job, JobId, JobState
from embedq.operations.upcoming import Calendar, calendar_of
from embedq.storage import holds, inspect, location_requests
from embedq.storage.base import Transaction
from embedq.storage.holds import Hold
from embedq.storage.inspect.details import Family, LogPage, Moment, family, last_logs, log_page, timeline
from embedq.storage.inspect.durations import TaskType, task_type, task_types
from embedq.storage.inspect.filters import Search
from embedq.storage.inspect.glance import COUNT_CAP, Count
from embedq.storage.inspect.history import History, history
from embedq.storage.inspect.processes import RunningJob, Server, running
from embedq.storage.inspect.queueing import Queue, queues
from embedq.storage.inspect.recurrences import ScheduleState, coming
from embedq.storage.inspect.searching import JobPage, scan_limit
from embedq.storage.inspect.trouble import (
    ErrorGroups,
    Overview,
    ScheduleTrouble,
    dead_letters,
    failures,
    overview,
    parked_for_holds,
    trouble_of,
)
from embedq.storage.limit_use import LimitUse, limits_in_use
from embedq.storage.location_requests import LocationReply
from embedq.storage.schedules import named
from embedq.storage.why_waiting import why_waiting
from embedq.tasks.options import meta_of

# The interval at which a response is read.
RESPONSE_POLL_SECONDS = 0.05


class SearchKeywords(TypedDict, total=False):
    """The filters of a search; all given filters must match. See `embedq.storage.inspect.filters.Search`.

    Attributes:
        state: one, or several; by name or as `JobState`.
        ids: any of these.
        hidden: arguments that are redacted for this user and therefore never match; see
            `embedq.display.redaction`.
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
    """One job with everything that is stored about it, except its log lines.

    Attributes:
        meta: values that enqueue middleware and the job have stored; JSON values by name.
        unique_key: of a unique, debounced or throttled job; None for others.
        moments: its timeline, in order.
        family: the jobs before and after it.
    """

    job: Job
    meta: dict[str, Any]
    unique_key: str | None
    attempts: list[Attempt]
    moments: list[Moment]
    family: Family


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePage:
    """Recurring jobs by name.

    Attributes:
        next: for `after`, the next page; None if there is none. `previous`: for `before`.
    """

    schedules: list[Schedule]
    next: str | None
    previous: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDetails:
    """A process and its running jobs."""

    server: Server
    silent_seconds: float
    jobs: list[RunningJob]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStack:
    """The call stack of a running job.

    Attributes:
        text: as in a traceback, the innermost call last.
        thread: the name of its thread, or "process 4711", or "event loop".
    """

    job_id: JobId
    at: datetime
    thread: str
    text: str


class Monitor:
    """Reads the queue of one app. Changes nothing."""

    def __init__(self, engine: Engine, recurring: RecurringJobs) -> None:
        self.engine = engine
        self._recurring = recurring

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def query(self, **filters: Unpack[SearchKeywords]) -> Search:
        """Return the filters as a `Search`. ConfigurationError for an unknown or invalid filter."""
        return as_search(filters)

    def search(self, *, cursor: str | None = None, limit: int = 50, **filters: Unpack[SearchKeywords]) -> JobPage:
        """Return one page of the matching jobs.

        Args:
            cursor: `next` or `previous` of another page of the same search.
        Raises:
            ConfigurationError: an invalid filter, or the cursor of another search.
        """
        search = as_search(filters)
        return self.engine.database.read(inspect.search, search, cursor=cursor, limit=limit)

    def count(self, *, cap: int = COUNT_CAP, **filters: Unpack[SearchKeywords]) -> Count:
        """Count the matching jobs, up to `cap`, within the limits of a search."""
        return self.engine.database.read(inspect.count_search, as_search(filters), cap=cap)

    def scan_limit(self, **filters: Unpack[SearchKeywords]) -> int:
        """Return how many jobs a page or a count of this search reads at most."""
        return scan_limit(as_search(filters))

    def job(self, job_id: int) -> JobDetails:
        """Return one job. JobNotFoundError if it does not exist."""

        def everything(tx: Transaction) -> JobDetails:
            options = inspect.options(tx, job_id)
            rule = rule_of(options)
            return JobDetails(
                job=inspect.job(tx, job_id),
                meta=meta_of(options),
                unique_key=None if rule is None else rule.key,
                attempts=inspect.attempts(tx, job_id),
                moments=timeline(tx, job_id),
                family=family(tx, job_id),
            )

        return self.engine.database.read(everything)

    def logs(self, job_id: int, *, after: int | None = None, limit: int = 200) -> LogPage:
        """Return log lines of a job: those after the cursor `after`, or the latest."""
        if after is None:
            return self.engine.database.read(last_logs, job_id, limit=limit)
        return self.engine.database.read(log_page, job_id, after=after, limit=limit)

    def stack(self, job_id: int, *, timeout: float = 2.0) -> LiveStack | None:
        """Return the current call stack of a running job, in any process; None if the job is not running.

        Another process responds within about half a second.
        Raises:
            WaitTimeoutError: the process did not respond: it hangs, or its version of embedq cannot.
        """
        engine = self.engine
        found = None if engine.runtime is None else engine.runtime.dispatcher.stack_of(job_id)
        if found is not None:
            return LiveStack(job_id=JobId(job_id), at=to_datetime(self._now()), thread=found.where, text=found.text)
        question = engine.database.write(location_requests.request, job_id, now=self._now())
        if question is None:
            return None
        try:
            answer = self._answer_to(question, job_id, timeout)
        finally:
            engine.database.write(location_requests.discard, question)
        if not answer.text:
            return None
        return LiveStack(job_id=JobId(job_id), at=to_datetime(answer.at), thread=answer.where, text=answer.text)

    def _answer_to(self, question: int, job_id: int, timeout: float) -> LocationReply:
        deadline = time.monotonic() + timeout
        while (answer := self.engine.database.read(location_requests.reply_to, question)) is None:
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(f"the process that runs job {job_id} did not respond within {timeout:g} s")
            time.sleep(RESPONSE_POLL_SECONDS)
        return answer

    # -- the queue as a whole ------------------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """Return the current problems and the counts of jobs."""
        return self.engine.database.read(overview, now=self._now(), lease=self.engine.settings.lease)

    def failures(self, seconds: float = 86_400) -> ErrorGroups:
        """Return the failed attempts of the last `seconds`, by error; of the newest few thousand."""
        return self.engine.database.read(failures, now=self._now(), seconds=seconds)

    def dead_letters(self) -> ErrorGroups:
        """Return the dead jobs by error; the newest few thousand."""
        return self.engine.database.read(dead_letters, now=self._now())

    def history(self, span: str = "hour", *, name: str | None = None, queue: str | None = None) -> History:
        """Return the runs of the last "hour" (by minute), "day" (by quarter of an hour) or "week" (by three hours).

        ConfigurationError for another span.
        """
        return self.engine.database.read(history, span, now=self._now(), name=name, queue=queue)

    def holds(self) -> list[Hold]:
        """Return what is paused; as `app.holds`."""
        return self.engine.database.read(holds.in_force, now=self._now())

    def hold_on(self, job: Job) -> Hold | None:
        """Return the pause that keeps a waiting job from being claimed; None if there is none."""
        if job.state in ENDED or job.state is JobState.RUNNING:
            return None
        return next((hold for hold in self.holds() if hold.covers(job.queue, job.name)), None)

    def held_jobs(self) -> dict[Hold, Count]:
        """Return what is paused, with how many jobs each pause has parked so far; others of them may still be ready."""
        return self.engine.database.read(parked_for_holds, now=self._now())

    def limits(self) -> list[LimitUse]:
        """Return the limits, by name; as `app.limits`."""
        return self.engine.database.read(limits_in_use, now=self._now())

    def why_waiting(self, job_id: int, *, pauses: bool = True) -> list[str]:
        """Return why a job that is due does not start, in words; nothing if it lacks only a worker.

        Args:
            pauses: name those too; `hold_on` returns them.
        """
        return self.engine.database.read(why_waiting, job_id, now=self._now(), pauses=pauses)

    def queues(self) -> list[Queue]:
        """Return the queues, by name."""
        return self.engine.database.read(queues, now=self._now())

    def task_types(self, span: str = "day") -> list[TaskType]:
        """Return the functions that ran in the last "hour", "day" or "week", by name."""
        return self.engine.database.read(task_types, now=self._now(), span=span)

    def task_type(self, name: str, span: str = "day") -> TaskType:
        """Return the statistics of one function."""
        return self.engine.database.read(task_type, name, now=self._now(), span=span)

    def servers(self) -> list[ServerDetails]:
        """Return the processes and their running jobs: in total the 1,000 jobs that have run longest."""
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

    def schedules(
        self,
        *,
        name: str | None = None,
        state: ScheduleState | str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> SchedulePage:
        """Return one page of the recurring jobs, by name.

        Args:
            name, state: as for `EmbedQ.schedules`.
            after, before: `next` or `previous` of another page.
        """
        find = partial(self._recurring.find, name=name, state=state)
        found = find(after=after, before=before, limit=limit + 1)
        more = len(found) > limit
        if before is not None:
            if not more:
                # Near the beginning: the whole first page rather than a part of it.
                return self.schedules(name=name, state=state, limit=limit)
            page = found[1:]
            return SchedulePage(schedules=page, next=page[-1].name, previous=page[0].name)
        page = found[:limit]
        return SchedulePage(
            schedules=page,
            next=page[-1].name if more and page else None,
            previous=page[0].name if after is not None and page else None,
        )

    def trouble_of(self, schedules: Iterable[Schedule]) -> dict[str, ScheduleTrouble]:
        """Return the problems of some recurring jobs, by name; those without problems are omitted."""
        names = [schedule.name for schedule in schedules]

        def read(tx: Transaction) -> list[ScheduleTrouble]:
            return trouble_of(tx, named(tx, names), now=self._now())

        return {trouble.name: trouble for trouble in self.engine.database.read(read)} if names else {}

    def calendar(
        self,
        start: datetime,
        end: datetime,
        *,
        each: int = 100,
        most: int = 10_000,
        schedule: str | None = None,
        name: str | None = None,
    ) -> Calendar:
        """Return when active schedules fire between two aware moments.

        Args:
            each: the maximum number of occurrences of one schedule.
            most: the maximum number of occurrences in total, and of schedules that are read.
            schedule: only the one of this name.
            name: only those with this in their names.
        Raises:
            ConfigurationError: a moment without a time zone, or an end before the start.
        """
        for moment in (start, end):
            if moment.utcoffset() is None:
                raise ConfigurationError(f"{moment!r} must be an aware datetime, such as datetime.now(UTC)")
        first, last = to_micros(start), to_micros(end)
        if last < first:
            raise ConfigurationError("the calendar's end must not be before its start")
        rows = self.engine.database.read(coming, before=last, name=schedule, part=name or None, limit=most + 1)
        return calendar_of(
            rows[:most], first, last, each=each, most=most, unseen_from=rows[most].due_at if rows[most:] else None
        )


def as_search(filters: SearchKeywords) -> Search:
    """Convert keywords to a `Search`. ConfigurationError for an unknown or invalid filter."""
    given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    refuse_unknown("filter", given, SearchKeywords.__annotations__)
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

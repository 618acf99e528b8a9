"""The app under test: what the fixture `embedq_app` is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from functools import cache, partial
from pathlib import Path
from typing import Any

import embedq
from embedq.app import EmbedQ
from embedq.clock import SystemClock, to_micros, to_seconds
from embedq.flow.limits import Limit
from embedq.job import JobId
from embedq.scheduling.misfire import Misfire
from embedq.scheduling.schedule import Cron, Every
from embedq.storage import inspect
from embedq.testing import matching, schedules
from embedq.testing.clock import TravelClock
from embedq.testing.enqueued import EnqueuedJob, Journal, KeptOutCall
from embedq.testing.errors import EndlessJobsError
from embedq.testing.reports import Report, join, trimmed
from embedq.testing.running import Runner
from embedq.testing.standin import StandIn, StandInThere

# The most jobs, and the most moments with nothing to run, of one advance of the clock.
MOST_ON_THE_WAY = 10_000
FILE_NAME = "embedq_app.db"


class AppUnderTest:
    """An app on a database of the test's own, where nothing runs by itself and the clock is stopped.

    Attributes:
        app: the app itself; the default app unless another was given.
        clock: the source of its time: `clock.advance(days=3)`.
    """

    def __init__(self, app: EmbedQ, stand_in: StandIn, clock: TravelClock) -> None:
        self.app = app
        self.clock = clock
        self._stand_in = stand_in
        self._journal = Journal(stand_in.database, lambda job_id: stand_in._parts.stored.handle(JobId(job_id)))
        self._runner = Runner(stand_in.engine, self._journal)
        stand_in.engine.taken_back = self._journal.forget
        stand_in._parts.enqueueing.keep_out = self._journal.keep_out

    # -- running -------------------------------------------------------------------------------------------------------

    def drain(self, *, queue: str | None = None, limit: int | None = None, raise_errors: bool = True) -> Report:
        """Run everything that is due now, and what that enqueues, in this thread, until nothing is left.

        In the order in which one worker would take them: by queue if the app has an order of queues, then by priority,
        then as they were enqueued.

        Args:
            queue: only jobs of this queue.
            limit: stop after this many runs; without it more than 1,000 are an EndlessJobsError.
            raise_errors: whether a job that fails, or cannot run here, is the test's failure. The others run first.
        Raises:
            JobFailedError: a job failed; its own exception is the cause.
            EndlessJobsError: jobs keep enqueueing each other.
        """
        __tracebackhide__ = True
        if queue is not None and not isinstance(queue, str):
            raise TypeError(f"queue={queue!r} must be the name of one queue, or None for all")
        if limit is not None and limit < 1:
            raise ValueError(f"limit={limit!r} must be 1 or more, or None to run all")
        report = self._told(self._runner.run_due(queue=queue, limit=limit), queue)
        if raise_errors:
            report.raise_errors()
        return report

    def _told(self, report: Report, queue: str | None = None) -> Report:
        return replace(report, waiting=self._runner.waiting(queue))

    def crash_next(self, *, queue: str | None = None) -> EnqueuedJob:
        """Let another process claim the next job that is due, and die while it runs.

        As when a machine is lost: the job is rescued once the lease is over (`lease`, 30 seconds unless set), and runs
        again: `clock.advance(seconds=31)`. The test has to do what the job had done by then.

        Args:
            queue: only a job of this queue.
        Raises:
            LookupError: none is due.
        """
        return self._runner.crash_next(queue)

    @contextmanager
    def inline(self, *, raise_errors: bool = True) -> Iterator[None]:
        """Inside, a job runs in its own `enqueue`, in the thread that enqueues, with what it enqueues itself.

        It is stored, claimed, run and recorded as usual. One that is due later waits for the clock.

        Args:
            raise_errors: whether `enqueue` raises what the job raises. If not, it is only recorded, and the job is
                retried according to its policy.
        """
        before = self._stand_in.engine.written
        self._stand_in.engine.written = partial(self._run_inline, raise_errors)
        try:
            yield
        finally:
            self._stand_in.engine.written = before

    def _run_inline(self, raise_errors: bool) -> None:
        __tracebackhide__ = True
        report = self._runner.run_due()
        if raise_errors:
            for run in report.failed:
                if run.exception is not None:
                    raise trimmed(run.exception)
            report.raise_errors()

    def _travel(self, target: int, jump: bool, raise_errors: bool) -> Report:
        __tracebackhide__ = True
        reports = [] if jump else list(self._stops(target))
        self.clock.set(target)
        reports.append(self._told(self._runner.run_due()))
        self._runner.prune()
        report = join(reports)
        if raise_errors:
            report.raise_errors()
        return report

    def _stops(self, target: int) -> Iterator[Report]:
        """Run what is due now, then at each moment until `target` at which something is."""
        ran = moments = 0
        moment: int | None = self.clock.now()
        while moment is not None and moment <= target:
            self.clock.set(max(moment, self.clock.now()))
            report = self._runner.run_due()
            self._runner.prune()
            yield report
            ran, moments = ran + len(report), moments + 1
            if max(ran, moments) > MOST_ON_THE_WAY:
                raise EndlessJobsError(
                    f"{ran:,} jobs ran on the way to {self.clock.moment:%Y-%m-%d %H:%M:%S} UTC, where more are due. "
                    "Advance in smaller steps, pause what recurs so often, or skip the way: advance(…, jump=True)"
                )
            moment = self._runner.next_moment()

    # -- what was enqueued ---------------------------------------------------------------------------------------------

    @property
    def enqueued(self) -> list[EnqueuedJob]:
        """Every job that was enqueued in this test, in order, in any state now."""
        return self._journal.read()

    def find(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> list[EnqueuedJob]:
        """The jobs that match: `find(send_mail, 7)` are those of `enqueue(send_mail, 7, …)`.

        Args:
            function: a function, a task, `task.options(queue=…)` to match options too, an `embedq.call`, or a job's
                name.
            args, kwargs: arguments that the job must have; it may have others.
        Raises:
            TypeError: the arguments do not fit the function, so no job can have them.
        """
        expected = matching.expected_job(self.app.engine.registry, function, args, kwargs)
        return self._matching(expected)

    def assert_enqueued(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> list[EnqueuedJob]:
        """Fail unless a matching job was enqueued; arguments as for `find`.

        Returns:
            All that match: `[job] = embedq_app.assert_enqueued(send_mail, 7)` also checks that there is exactly one.
        """
        __tracebackhide__ = True
        return self._assert(matching.expected_job(self.app.engine.registry, function, args, kwargs))

    def assert_enqueued_in(
        self, delay: timedelta | float, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> list[EnqueuedJob]:
        """`assert_enqueued` of a job that is due `delay` (a timedelta, or seconds) after its enqueue, to the second."""
        __tracebackhide__ = True
        later = timedelta(seconds=to_seconds(delay))
        return self._assert(matching.expected_job(self.app.engine.registry, function, args, kwargs, delay=later))

    def assert_enqueued_at(
        self, moment: datetime, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> list[EnqueuedJob]:
        """`assert_enqueued` of a job that is due at `moment`, an aware datetime, to the second."""
        __tracebackhide__ = True
        to_micros(moment)
        return self._assert(matching.expected_job(self.app.engine.registry, function, args, kwargs, moment=moment))

    @property
    def kept_out(self) -> list[KeptOutCall]:
        """Every call of this test that made no job of its own, since one with its key was there already, in order.

        Those of recurring jobs are not among them.
        """
        return self._journal.kept_out()

    def assert_kept_out(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> list[KeptOutCall]:
        """Fail unless a matching call made no job of its own: by `unique`, `debounce`, `throttle` or idempotency key.

        Arguments as for `find`; they are those of the call, not of the job that stands for it.
        Returns:
            All that match; `call.job` is the job that stands for it.
        """
        __tracebackhide__ = True
        expected = matching.expected_job(self.app.engine.registry, function, args, kwargs)
        calls = self.kept_out
        found = [call for call in calls if expected.differences(call) == []]
        if not found:
            raise AssertionError(matching.not_kept_out(expected, self.enqueued, calls))
        return found

    def assert_waits_for(
        self, limit: Limit | str | None, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> list[EnqueuedJob]:
        """Fail unless a matching job is due and waits for a limit: for its number, for a rate, or after RateLimited.

        Args:
            limit: one made by `embedq.limit`, or its name; a function's own has the job's name. None for any limit.
            function, args, kwargs: as for `find`.
        Returns:
            Those that wait for it.
        """
        __tracebackhide__ = True
        name = limit.name if isinstance(limit, Limit) else limit
        if isinstance(limit, Limit) and name is None:
            raise ValueError("a limit of one function has the function's job name: give that, or None for any limit")
        expected = matching.expected_job(self.app.engine.registry, function, args, kwargs)
        found = [(job, *self._runner.situation(job.id)) for job in self._assert(expected)]
        waiting = [job for job, limits, _ in found if (limits if name is None else name in limits)]
        if not waiting:
            told = [line for job, _, doing in found for line in (f"  {job.id}  {job}", f"       {doing}")]
            wanted = "a limit" if name is None else f"the limit {name}"
            raise AssertionError("\n".join([f"no job {expected} waits for {wanted}. These were enqueued:", *told]))
        return waiting

    def assert_not_enqueued(self, function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> None:
        """Fail if a matching job was enqueued; arguments as for `find`."""
        __tracebackhide__ = True
        expected = matching.expected_job(self.app.engine.registry, function, args, kwargs)
        if found := self._matching(expected):
            raise AssertionError(matching.unwelcome(expected, found))

    def assert_nothing_enqueued(self) -> None:
        """Fail if any job was enqueued."""
        __tracebackhide__ = True
        if jobs := self.enqueued:
            raise AssertionError("\n".join(["jobs were enqueued:", *matching.listing(jobs)]))

    def assert_scheduled(
        self,
        name: str,
        when: str | Cron | Every | timedelta | None = None,
        function: Callable[..., Any] | str | None = None,
        /,
        *args: Any,
        timezone: str | tzinfo | None = None,
        misfire: str | Misfire | None = None,
        overlap: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Fail unless there is a recurring job of that name, as given: `assert_scheduled("cleanup", "0 2 * * *")`.

        What is not given may be anything; the rest is as for `embedq.recurring`, and arguments as for `find`.
        """
        __tracebackhide__ = True
        rows = {row.name: row for row in self._stand_in.database.read(inspect.schedules)}
        if name not in rows:
            others = [f"  {schedules.describe(row)}" for row in rows.values()]
            there = ["there are:", *others] if others else ["there is none at all"]
            raise AssertionError("\n".join([f"no recurring job is named {name!r}; {there[0]}", *there[1:]]))
        differences = schedules.differences(
            rows[name], self.app.engine.registry,
            when=when, timezone=timezone, misfire=misfire, overlap=overlap, function=function, args=args, kwargs=kwargs,
        )  # fmt: skip
        if differences:
            raise AssertionError(f"the recurring job {name!r} is otherwise: {', '.join(differences)}")

    def _matching(self, expected: matching.ExpectedJob) -> list[EnqueuedJob]:
        return [job for job in self.enqueued if expected.differences(job) == []]

    def _assert(self, expected: matching.ExpectedJob) -> list[EnqueuedJob]:
        __tracebackhide__ = True
        found = self._matching(expected)
        if not found:
            raise AssertionError(matching.missing(expected, self.enqueued, self.kept_out))
        return found

    def close(self) -> None:
        """Stop everything that was started for the test."""
        self._runner.close()

    def __repr__(self) -> str:
        return f"<AppUnderTest {self._stand_in.settings.database} at {self.clock.moment.isoformat()}>"


@contextmanager
def app_under_test(
    *,
    app: EmbedQ | None = None,
    folder: Path | None = None,
    url: str | None = None,
    now: datetime | None = None,
    inline: bool = False,
    **settings: Any,
) -> Iterator[AppUnderTest]:
    """Inside, the app works on a database of the test's own; afterwards it is as before.

    Calls of the program inside, including `embedq.start(url)`, start no threads and open no other database.

    Args:
        app: the default app when None.
        folder: where the SQLite file is made; a temporary folder when None.
        url: another database instead: an empty one, which the caller removes. With the application's own, jobs that are
            enqueued in its transactions are a part of them.
        now: the time at the start of the test, an aware datetime; the real time when None. The clock is stopped there.
        inline: run each job in its own enqueue; see `AppUnderTest.inline`.
        settings: as for `embedq.start`; else those that the app has.
    """
    app = app or embedq.default_app()
    with ExitStack() as stack:
        if url is None:
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embedq-")))
            file = folder / FILE_NAME
            file.write_bytes(_empty_database())
        clock = TravelClock(SystemClock().now() if now is None else to_micros(now), lambda *to: kit._travel(*to))
        stand_in = (StandIn if url is None else StandInThere).like(app, url or file, clock, settings)
        stack.callback(stand_in.engine.dispose)
        stand_in.connect()
        kit = AppUnderTest(app, stand_in, clock)
        stack.callback(kit.close)
        stack.enter_context(stand_in.in_the_place_of(app))
        if inline:
            stack.enter_context(kit.inline())
        yield kit


@cache
def _empty_database() -> bytes:
    """Return a migrated SQLite file: copying it takes a fifth of the time of creating one."""
    with tempfile.TemporaryDirectory(prefix="embedq-") as folder:
        file = Path(folder) / FILE_NAME
        EmbedQ(file).connect().close()
        return file.read_bytes()

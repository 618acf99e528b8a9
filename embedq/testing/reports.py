"""The jobs that ran, and their outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from embedq.job import Ending, JobState
from embedq.testing.enqueued import EnqueuedJob

FAILURES = (Ending.FAILED, Ending.TIMED_OUT, Ending.PARKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One run of one job.

    Attributes:
        at: when, by the test's clock.
        ending: how it ended.
        state: the job's state after that: a failed one may be RETRYING or DEAD.
        error: type and message; None after a success.
        traceback: of the job's own code, as text.
        exception: what the job raised, if known.
        retry_at: when it runs again: a failed job, and one that put itself off or was refused for now.
    """

    job: EnqueuedJob
    attempt: int
    at: datetime
    ending: Ending
    state: JobState
    error: str | None
    traceback: str | None = field(repr=False)
    exception: BaseException | None = field(repr=False)
    retry_at: datetime | None

    @property
    def failed(self) -> bool:
        """Whether it failed, or cannot run here because its function, or something that it needs, is missing."""
        return self.ending in FAILURES

    def __str__(self) -> str:
        if self.ending is Ending.PARKED:
            after = "it cannot run here"
        elif self.retry_at is not None:
            after = f"to {'be tried' if self.failed else 'run'} again {self.retry_at:%Y-%m-%d %H:%M:%S} UTC"
        else:
            after = self.state.value
        told = f"{self.job.call}: attempt {self.attempt} {self.ending.value}"
        return told if after == self.ending.value else f"{told}, {after}"


class JobFailedError(AssertionError):
    """A job failed. Its exception is the cause; `report` has everything that ran."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that was due at the end, and did not start.

    Attributes:
        reason: such as "limit openai: 0 run, 0 may", or "queue mail is paused (migration)".
        limits: the names of those that keep it from starting; empty for a pause.
    """

    job: EnqueuedJob
    reason: str
    limits: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.job.call}: waits; {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """The runs, in order. Its length is their number.

    Attributes:
        waiting: jobs that are due and did not start, since a limit is reached or they are paused; 20 at most.
    """

    ran: tuple[JobRun, ...]
    waiting: tuple[WaitingJob, ...] = ()

    @property
    def succeeded(self) -> tuple[JobRun, ...]:
        """The runs that succeeded."""
        return tuple(run for run in self.ran if run.ending is Ending.SUCCEEDED)

    @property
    def failed(self) -> tuple[JobRun, ...]:
        """The runs that failed, whether the job is retried or not, and those of jobs that cannot run here."""
        return tuple(run for run in self.ran if run.failed)

    @property
    def retried(self) -> tuple[JobRun, ...]:
        """The failed runs of jobs that are retried."""
        return tuple(run for run in self.failed if run.state is JobState.RETRYING)

    @property
    def put_off(self) -> tuple[JobRun, ...]:
        """The runs of jobs that put themselves off (Snooze), or were refused for now (RateLimited)."""
        return tuple(run for run in self.ran if run.retry_at is not None and not run.failed)

    def __len__(self) -> int:
        return len(self.ran)

    def __str__(self) -> str:
        return "\n".join([*(map(str, self.ran) if self.ran else ["nothing ran"]), *map(str, self.waiting)])

    def raise_errors(self) -> None:
        """Raise a JobFailedError that shows every job that failed; the first one's exception is its cause."""
        __tracebackhide__ = True
        if self.failed:
            raise_failure(self)


def join(reports: Iterable[Report]) -> Report:
    """One report of all, in order; what waits is what waited at the end of the last."""
    reports = list(reports)
    waiting = reports[-1].waiting if reports else ()
    return Report(tuple(run for report in reports for run in report.ran), waiting)


def raise_failure(report: Report) -> NoReturn:
    """Raise the JobFailedError of a report with failures."""
    __tracebackhide__ = True
    first = report.failed[0]
    lines = [f"{len(report.failed)} of {len(report)} job runs failed:"]
    for run in report.failed:
        lines += ["", f"  {run}"]
        # The cause, which follows, has the first one's traceback.
        shown = run.error if run is first and run.exception is not None else run.traceback or run.error
        lines += [f"    {line}" for line in (shown or "").rstrip().splitlines()]
    raise JobFailedError("\n".join(lines), report) from (first.exception and trimmed(first.exception))


def trimmed(error: BaseException) -> BaseException:
    """The exception with a traceback that begins in the job's own code."""
    frames = error.__traceback__
    while frames is not None and str(frames.tb_frame.f_globals.get("__name__")).startswith("embedq."):
        frames = frames.tb_next
    return error if frames is None else error.with_traceback(frames)

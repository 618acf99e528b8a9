"""What the testing kit raises. Failures of a test are `AssertionError`s, so that every test runner shows them as such.

AssertionError
    JobFailedError          a job failed, or cannot run here
    EndlessJobsError        jobs keep enqueueing each other
embedq.WaitTimeoutError
    JobNotRunError          somebody waits for a job that nothing will run
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedq.errors import ConfigurationError, WaitTimeoutError

if TYPE_CHECKING:
    from embedq.testing.reports import Report


class JobFailedError(AssertionError):
    """A job failed. Its exception is the cause; `report` has everything that ran."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


class EndlessJobsError(AssertionError):
    """More jobs ran than anybody would expect: they probably enqueue each other without end."""


class JobNotRunError(WaitTimeoutError):
    """Somebody waits for a job that has not run, and in a test none runs by itself."""


class ForgottenFixtureError(ConfigurationError):
    """A test uses the default app without the fixture that gives it a database of its own."""

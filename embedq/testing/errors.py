"""The errors of the testing kit. Failures of a test are `AssertionError`s, so every test runner shows them as such.

AssertionError
    JobFailedError          a job failed, or cannot run here (in `reports`, which raises it)
    EndlessJobsError        jobs keep enqueueing each other
embedq.WaitTimeoutError
    JobNotRunError          the test waits for a job that nothing will run
"""

from __future__ import annotations

from embedq.errors import ConfigurationError, WaitTimeoutError


class EndlessJobsError(AssertionError):
    """More jobs ran than expected: they probably enqueue each other without end."""


class JobNotRunError(WaitTimeoutError):
    """The test waits for a job that has not run, and in a test no job runs by itself."""


class ForgottenFixtureError(ConfigurationError):
    """A test uses the default app without the fixture that gives it a database of its own."""

"""Testing apps that use embedq. Nothing here is for production.

    def test_a_signup_sends_a_mail(embedq_app):          # the fixture; pytest finds it by itself
        client.post("/signup", data={"user": 7})
        embedq_app.assert_enqueued(send_mail, 7)
        embedq_app.drain()
        assert outbox == ["welcome, user 7"]

The same without pytest: `with app_under_test() as embedq_app: …`, or `EmbedqTestMixin`. See docs/testing.md.

In here, `standin` puts an app with a database of its own in the place of another, `running` runs its jobs in the order
in which `claiming` takes them, `waiting` knows why others do not start, and `calls` reports calls that made no job.
May import `embedq` and all below, and not `dashboard`. Start reading in `kit.py`.
"""

from embedq.testing.case import EmbedqTestMixin
from embedq.testing.clock import TravelClock
from embedq.testing.contexts import RecordedContext, job_context
from embedq.testing.enqueued import EnqueuedJob, KeptOutCall
from embedq.testing.errors import EndlessJobsError, ForgottenFixtureError, JobNotRunError
from embedq.testing.kit import AppUnderTest, app_under_test
from embedq.testing.reports import JobFailedError, JobRun, Report, WaitingJob

__all__ = [
    "AppUnderTest",
    "EmbedqTestMixin",
    "EndlessJobsError",
    "EnqueuedJob",
    "ForgottenFixtureError",
    "JobFailedError",
    "JobNotRunError",
    "JobRun",
    "KeptOutCall",
    "RecordedContext",
    "Report",
    "TravelClock",
    "WaitingJob",
    "app_under_test",
    "job_context",
]

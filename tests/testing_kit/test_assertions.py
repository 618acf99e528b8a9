"""What a test can say of the jobs that were enqueued, and what it is told when that is not so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest

import embedq
from embedq import PARENT_RESULT
from embedq.testing import AppUnderTest

pytest_plugins = ["pytest_embedq"]

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.embedq(now=NOON)


def send_mail(user_id: int, template: str = "welcome", *copies: str, **extra: object) -> None:
    """A job."""


def cleanup(folder: str) -> None:
    """Another."""


def test_what_was_enqueued_can_be_read(embedq_app: AppUnderTest) -> None:
    urgent = embedq.options(queue="mail", priority=5, tags=["billing"], idempotency_key="k")
    mail = urgent.enqueue_in(3600, send_mail, 7, template="x")
    mail.then(cleanup, PARENT_RESULT)
    first, second = embedq_app.enqueued
    assert (first.id, first.name, first.args, first.kwargs) == (
        mail.id,
        f"{__name__}:send_mail",
        (7,),
        {"template": "x"},
    )
    assert (first.queue, first.priority, first.tags, first.idempotency_key) == ("mail", 5, ("billing",), "k")
    assert (first.enqueued_at, first.run_at) == (NOON, NOON + timedelta(hours=1))
    assert (second.args, second.parent_id, second.state) == ((PARENT_RESULT,), mail.id, "awaiting")
    assert str(first) == (
        "send_mail(7, template='x')  queue 'mail'  priority 5  tags billing  "
        "due 1:00:00 later, at 2027-01-01 13:00:00 UTC"
    )
    embedq_app.clock.advance(hours=1, raise_errors=False)
    assert embedq_app.enqueued[0].state == "succeeded"


def test_arguments_match_in_part_and_however_they_were_passed(embedq_app: AppUnderTest) -> None:
    embedq.enqueue(send_mail, 7, "invoice", "boss", "archive", lang="de")
    for args, kwargs in [
        ((), {}), ((7,), {}), ((ANY, "invoice"), {}), ((), {"template": "invoice", "lang": "de"}),
        ((7, "invoice", "boss"), {}),
    ]:  # fmt: skip
        [job] = embedq_app.assert_enqueued(send_mail, *args, **kwargs)
        assert job.args[0] == 7
    for args, kwargs in [((8,), {}), ((7, "invoice", "archive"), {}), ((), {"lang": "en"}), ((), {"colour": "red"})]:
        embedq_app.assert_not_enqueued(send_mail, *args, **kwargs)
    embedq_app.assert_not_enqueued(cleanup)
    embedq_app.assert_enqueued(f"{__name__}:send_mail", 7)


def test_a_default_counts_as_given(embedq_app: AppUnderTest) -> None:
    embedq.enqueue(send_mail, 7)
    embedq_app.assert_enqueued(send_mail, template="welcome")


def test_options_and_times_are_asserted_as_they_are_given(embedq_app: AppUnderTest) -> None:
    low = embedq.options(queue="low", tags=["a", "b"]).task(send_mail)
    embedq.enqueue_in(timedelta(minutes=5), low, 1)
    embedq_app.assert_enqueued(embedq.options(queue="low", tags=["b"]).task(send_mail), 1)
    embedq_app.assert_not_enqueued(embedq.options(tags=["c"]).task(send_mail))
    embedq_app.assert_enqueued_in(300, send_mail, 1)
    embedq_app.assert_enqueued_at(NOON + timedelta(minutes=5), send_mail)
    with pytest.raises(AssertionError, match=r"due 1:00:00 later was enqueued(.|\n)*it is due 0:05:00 later"):
        embedq_app.assert_enqueued_in(3600, send_mail, 1)
    with pytest.raises(ValueError, match="timeout cannot be compared; these can: queue, priority"):
        embedq_app.find(embedq.options(timeout=5).task(send_mail))


def test_a_failure_shows_what_was_enqueued_instead_and_in_what_it_differs(embedq_app: AppUnderTest) -> None:
    with pytest.raises(AssertionError, match=r"^no job send_mail\(1\) was enqueued; none was at all$"):
        embedq_app.assert_enqueued(send_mail, 1)
    embedq.enqueue(cleanup, "uploads")
    embedq.options(queue="mail").enqueue(send_mail, 2)
    with pytest.raises(AssertionError) as caught:
        embedq_app.assert_enqueued(send_mail, 1, template="x")
    assert str(caught.value).splitlines() == [
        "no job send_mail(1, template='x') was enqueued.",
        "These are other jobs of that function:",
        "  2  send_mail(2)  queue 'mail'",
        "       user_id is 2, template is 'welcome'",
        "These were enqueued besides:",
        "  1  cleanup('uploads')",
    ]
    with pytest.raises(AssertionError) as caught:
        embedq_app.assert_not_enqueued(cleanup, "uploads")
    assert str(caught.value).splitlines() == [
        "cleanup('uploads') was enqueued, and should not have been:",
        "  1  cleanup('uploads')",
    ]
    with pytest.raises(AssertionError, match=r"^jobs were enqueued:\n  1  cleanup\('uploads'\)\n  2  send_mail"):
        embedq_app.assert_nothing_enqueued()


def test_a_search_that_no_job_can_match_is_a_mistake(embedq_app: AppUnderTest) -> None:
    with pytest.raises(TypeError, match=r"no job can be cleanup\(foldr='x'\): got an unexpected keyword argument"):
        embedq_app.assert_not_enqueued(cleanup, foldr="x")


def test_nothing_is_nothing(embedq_app: AppUnderTest) -> None:
    embedq_app.assert_nothing_enqueued()


def test_recurring_jobs_are_asserted_as_they_are_added(embedq_app: AppUnderTest) -> None:
    with pytest.raises(AssertionError, match="no recurring job is named 'nightly'; there is none at all"):
        embedq_app.assert_scheduled("nightly")
    embedq.recurring("nightly", "0 2 * * *", send_mail, 7, timezone="Europe/Berlin", misfire="skip")
    embedq.recurring("pulse", embedq.every(hours=6), cleanup, "x")
    embedq_app.assert_scheduled("nightly")
    embedq_app.assert_scheduled("nightly", "0 2 * * *", send_mail, user_id=7)
    embedq_app.assert_scheduled("nightly", "0 2 * * *", timezone="Europe/Berlin", misfire="skip")
    embedq_app.assert_scheduled("pulse", timedelta(hours=6))
    for when, function, args, options, told in [
        ("0 3 * * *", None, (), {}, "it is due by .*0 2.*, not by .*0 3"),
        (None, cleanup, (), {}, "it runs .*:send_mail, not .*:cleanup"),
        (None, send_mail, (8,), {}, "user_id is 7"),
        (None, None, (), {"timezone": "UTC"}, "it is due by .*Berlin.*, not in UTC"),
        (None, None, (), {"misfire": "once"}, "its misfire policy is .*skip"),
    ]:
        with pytest.raises(AssertionError, match=f"the recurring job 'nightly' is otherwise: {told}"):
            embedq_app.assert_scheduled("nightly", when, function, *args, **options)
    with pytest.raises(AssertionError, match=r"there are:\n  'nightly': Cron.*Berlin.*mail\(7\)\n  'pulse': every"):
        embedq_app.assert_scheduled("nightlie")
    embedq_app.clock.travel_to(datetime(2027, 1, 2, 2, tzinfo=UTC))
    [job] = embedq_app.assert_enqueued(send_mail, 7)
    assert "by the recurring job 'nightly' for 2027-01-02 01:00:00 UTC" in str(job)

"""Moments and durations that no calendar has are refused where they come in, and listings show all there is."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from embedq import ConfigurationError, EmbedQ, EmbedqError, Retry, every
from embedq.clock import FIRST_MICROS, LAST, LAST_MICROS, DamagedMoment, later, to_datetime, to_micros
from embedq.display.units import brief, relative
from embedq.errors import EnqueueError, JobNotFoundError, ScheduleError
from embedq.job import JobId
from embedq.tasks.handle import JobHandle
from embedq.tasks.middleware import Draft
from embedq.tasks.retry import decide
from tests.support import START, cli_runner

EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@pytest.mark.parametrize(
    "moment",
    [datetime.max.replace(tzinfo=WEST), datetime(9999, 12, 31, 23, 59, 59, tzinfo=WEST),
     datetime.min.replace(tzinfo=EAST), datetime(1, 1, 1, 1, tzinfo=EAST)],
)  # fmt: skip
def test_a_moment_that_is_none_in_utc_is_refused(app: EmbedQ, moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"year (9999|1), in UTC"):
        app.enqueue_at(moment, print)
    assert app.count_jobs() == 0


def test_the_last_moments_of_all_can_be_waited_for_and_seen(app: EmbedQ) -> None:
    moments = [LAST, datetime(9999, 12, 31, 23, 59, tzinfo=UTC), datetime.max.replace(tzinfo=EAST)]
    for moment in moments:
        app.enqueue_at(moment, print)
    assert [job.run_at for job in app.jobs()] == moments[::-1]
    assert app.monitor.search(state="scheduled").jobs
    done = cli_runner().invoke(_cli(), ["--url", app.settings.url, "jobs"], env={"TZ": "Asia/Tokyo"})
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "delay",
    [1e12, 10**400, -(10**400), timedelta.max, timedelta.min, math.inf, -math.inf, math.nan, 1e300, 2.6e11, True, "5"],
    ids=brief,
)
def test_a_delay_that_leads_nowhere_is_refused(app: EmbedQ, delay: Any) -> None:
    with pytest.raises(ValueError, match="delay"):
        app.enqueue_in(delay, print)
    task = app.job(name="t")(print)
    with pytest.raises(ValueError, match="delay"):
        task.enqueue_in(delay)
    assert app.count_jobs() == 0


def test_what_would_expire_after_all_calendars_is_refused(app: EmbedQ) -> None:
    options = app.options(expires_in=1e9)
    with pytest.raises(EnqueueError, match="expires is after the year 9999"):
        options.enqueue_at(datetime(9999, 12, 1, tzinfo=UTC), print)
    options.enqueue_at(datetime(9900, 12, 1, tzinfo=UTC), print)
    assert [job.expires_at for job in app.jobs()] == [datetime(9932, 8, 9, 1, 46, 40, tzinfo=UTC)]


@pytest.mark.parametrize("name", ["timeout", "expires_in"])
@pytest.mark.parametrize(
    "value", [10**400, 10**5000, math.inf, math.nan, -1, -math.inf, timedelta.max, 1e10, True, "5"], ids=brief
)
def test_durations_in_options_are_finite_and_not_negative(app: EmbedQ, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        app.options(**{name: value})


@pytest.mark.parametrize("due", [LAST_MICROS + 1, FIRST_MICROS - 1, 2**80, 1.5, "now", None, True])
def test_what_enqueue_middleware_sets_is_checked_too(app: EmbedQ, due: Any) -> None:
    def late(draft: Draft) -> Draft:
        draft.run_at = due
        return draft

    other = EmbedQ(app.settings.url, enqueue_middleware=[late]).connect()
    with pytest.raises(EmbedqError, match="due"):
        other.enqueue(print)
    other.close()
    assert app.count_jobs() == 0


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e300, 0, -5, 1e-9, 3.2e9])
def test_an_interval_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ScheduleError):
        every(seconds=seconds)


@pytest.mark.parametrize("wait", [math.inf, -math.inf, math.nan, 1e300, -5, timedelta.max, timedelta.min, 10**400, "x"])
def test_a_retry_that_waits_forever_comes_within_a_year(wait: Any) -> None:
    decision = decide(
        Retry(attempts=3, wait=lambda state: wait),
        attempt=1,
        first_started_at=START,
        now=START,
        error=OSError(),
        slept=0.0,
    )
    assert decision.retry_at is not None
    assert START <= decision.retry_at <= START + 367 * 86_400 * 10**6


def test_instants_go_in_and_out_by_one_way(app: EmbedQ) -> None:
    for moment in (LAST, datetime.min.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)):
        assert to_datetime(to_micros(moment)) == moment
    for micros in (LAST_MICROS + 1, FIRST_MICROS - 1, 2**63 - 1, -(2**63), 2**200):
        shown = to_datetime(micros)
        assert isinstance(shown, DamagedMoment)
        assert "damaged" in f"{shown}"
        assert shown.isoformat() == f"damaged: {micros}"
        assert relative(shown, to_datetime(START)) == "damaged"
        # It is compared like any other, and stands in cursors as it is stored.
        assert (shown > to_datetime(START)) is (micros > START)
        assert to_micros(shown) == micros
    assert later(START, 1.5) == START + 1_500_000
    with pytest.raises(ValueError, match="not a number of seconds"):
        later(START, math.nan)
    assert "cannot be shown" in brief(10**5000)


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**30, -(10**30)])
def test_a_number_that_no_job_can_have_is_that_of_no_job(app: EmbedQ, number: int) -> None:
    job = JobHandle(app._parts.stored, JobId(number))
    for look in (
        lambda: app.job(number),
        job.snapshot,
        lambda: job.state,
        job.attempts,
        job.cancel,
        job.retry,
        lambda: app.monitor.job(number),
    ):
        with pytest.raises(JobNotFoundError):
            look()
    assert job.logs() == []
    assert app.jobs(before=number) == []
    assert app.monitor.search(ids=[number]).jobs == []


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
def test_a_text_that_no_database_holds_is_refused_by_searches_and_enqueues(app: EmbedQ, text: str) -> None:
    for name in ("queue", "name", "tag", "schedule", "error", "argument"):
        with pytest.raises(ConfigurationError, match=f"^{name}="):
            app.monitor.search(**{name: text})  # type: ignore[arg-type]
    if "\0" in text:
        # SQLite holds it.
        return
    for options in ({"queue": text}, {"idempotency_key": text}, {"tags": [text]}):
        with pytest.raises(EnqueueError):
            app.options(**options).enqueue(print)
    assert app.count_jobs() == 0


def _cli() -> Any:
    from embedq.cli import main

    return main

"""What holds inside a Django project. `tests/contrib/test_django.py` runs this file by itself, on each database."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import override_settings
from django.utils import timezone
from django.utils.safestring import mark_safe
from tenacity import wait_none

import embedq
from embedq import EmbedQ, JobNotFoundError, JobState
from embedq.contrib.django import guard_requests
from embedq.contrib.django.checks import check_project
from embedq.contrib.django.conf import ProjectSettings
from embedq.contrib.django.framework import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from embedq.contrib.django.job_environment import job_environment
from embedq.contrib.django.tasks import job_of
from embedq.testing import app_under_test
from tests.contrib.django_site import TASKS_FRAMEWORK
from tests.contrib.django_site.shop import jobs, tasks
from tests.contrib.django_site.shop.models import Order
from tests.support import eventually

READY, SUCCESSFUL, FAILED = TaskResultStatus.READY, TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED


def ended(result: Any) -> Any:
    """The result, once it is finished."""

    def is_finished() -> bool:
        result.refresh()
        return bool(result.is_finished)

    eventually(is_finished, message=f"{result.status}: {result.errors}")
    return result


# -- the database ------------------------------------------------------------------------------------------------------


def test_jobs_are_in_the_test_database() -> None:
    job = jobs.note.enqueue("where am I?")
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM embedq_jobs")
        assert list(cursor.fetchall()) == [(job.id,)]
    assert "test" in str(connection.settings_dict["NAME"])


def test_a_job_uses_the_orm_and_leaves_its_thread_no_connection(workers: EmbedQ) -> None:
    assert Order.objects.get(pk=jobs.note.enqueue("tea").result(10)).name == "tea"
    assert [jobs.has_connection.enqueue().result(10) for _ in range(12)] == [False] * 12


def test_a_transaction_that_a_job_leaves_open_is_not_the_next_jobs(workers: EmbedQ) -> None:
    for handle in [jobs.leave_transaction_open.enqueue() for _ in range(12)]:
        handle.wait(10)
    for name in "abcdefghijkl":
        jobs.note.enqueue(name).result(10)
    assert {order.name for order in Order.objects.all()} == set("abcdefghijkl")


def test_a_job_that_is_run_in_the_callers_transaction_leaves_it_open() -> None:
    with transaction.atomic():
        Order.objects.create(name="mine")
        with job_environment(cast(embedq.JobContext, None)):
            Order.objects.create(name="the job's")
        assert not transaction.get_rollback()
    assert Order.objects.count() == 2


def test_an_async_job_uses_the_orm_and_leaves_no_connection(workers: EmbedQ) -> None:
    handles = [jobs.anote.enqueue(f"cup {number}") for number in range(5)]
    assert {Order.objects.get(pk=handle.result(10)).name for handle in handles} == {f"cup {n}" for n in range(5)}


def test_language_and_time_zone_are_the_projects_whatever_the_job_before_left(workers: EmbedQ) -> None:
    assert [jobs.look_around.enqueue().result(10) for _ in range(12)] == [["en", "UTC"]] * 12


# -- transactions ------------------------------------------------------------------------------------------------------


def test_a_job_enqueued_in_atomic_is_committed_with_the_rest_and_starts_then(workers: EmbedQ) -> None:
    with transaction.atomic():
        Order.objects.create(name="first")
        job = jobs.note.enqueue("second")
        with pytest.raises(JobNotFoundError):
            _ = job.state
    assert job.wait(10) is JobState.SUCCEEDED
    assert Order.objects.count() == 2


def test_a_job_enqueued_in_a_transaction_that_is_rolled_back_never_was() -> None:
    with transaction.atomic():
        jobs.note.enqueue("never")
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = jobs.note.enqueue("kept")
        with transaction.atomic():
            jobs.note.enqueue("of a savepoint")
            transaction.set_rollback(True)
    assert [found.id for found in embedq.default_app().jobs()] == [kept.id]


def test_a_transaction_may_enqueue_many_jobs_and_continuations(workers: EmbedQ) -> None:
    with transaction.atomic():
        first, _ = embedq.enqueue_many([jobs.note.call("one"), jobs.note.call("two")])
        last = first.then(jobs.note, "three")
    assert last.wait(10) is JobState.SUCCEEDED
    eventually(lambda: Order.objects.count() == 3)


def test_a_schedule_that_is_declared_inside_a_transaction_is_a_part_of_it() -> None:
    app = embedq.default_app()
    with transaction.atomic():
        Order.objects.create(name="holds SQLite's lock")
        embedq.recurring("nightly", "@daily", jobs.note, "x")
        transaction.set_rollback(True)
    assert app.schedules() == []
    with transaction.atomic():
        embedq.recurring("nightly", "@daily", jobs.note, "x")
    assert [schedule.name for schedule in app.schedules()] == ["nightly"]
    app.remove_recurring("nightly")


def test_a_lambda_is_signed_with_the_projects_secret(workers: EmbedQ) -> None:
    assert workers.settings.secret_key
    assert embedq.enqueue(lambda: 3).result(10) == 3


@override_settings(EMBEDQ={"atomic": "on_commit"})
def test_on_commit_holds_jobs_back_until_the_commit() -> None:
    with transaction.atomic():
        job = jobs.note.enqueue("later")
        result = tasks.add.enqueue(1)
    with transaction.atomic():
        jobs.note.enqueue("never")
        transaction.set_rollback(True)
    assert job.state is JobState.READY
    result.refresh()
    assert result.status == READY
    assert len(embedq.default_app().jobs()) == 2
    assert tasks.add.get_result(result.id).args == [1]


@override_settings(MIDDLEWARE=["embedq.contrib.django.guard_requests"], EMBEDQ={})
def test_its_middleware_switches_the_guard_on_and_watches_requests() -> None:
    assert jobs.note.enqueue("bind anew").state is JobState.READY
    guard = embedq.default_app().settings.guard
    assert guard is not None
    seen: list[int] = []

    def answer(request: Any) -> None:
        seen.append(guard.requests.in_flight)

    async def answer_later(request: Any) -> None:
        answer(request)

    guard_requests(answer)(None)
    asyncio.run(guard_requests(answer_later)(None))
    assert seen == [1, 1]
    assert guard.requests.in_flight == 0


# -- django.tasks ------------------------------------------------------------------------------------------------------


def test_the_backend_can_do_all_that_the_framework_knows() -> None:
    backend = task_backends["default"]
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority
    assert backend.check() == []


def test_a_task_runs_and_its_result_can_be_had_from_anywhere(workers: EmbedQ) -> None:
    result = ended(tasks.add.enqueue(2, b=3))
    assert (result.status, result.return_value, result.attempts, result.errors) == (SUCCESSFUL, 5, 1, [])
    again = tasks.add.get_result(result.id)
    assert (again.return_value, again.args, again.kwargs, again.backend) == (5, [2], {"b": 3}, "default")
    assert again.task == tasks.add
    assert again.enqueued_at <= again.started_at <= again.finished_at
    assert again.last_attempted_at == again.started_at
    assert result.worker_ids == [str(one.id) for one in workers.servers()]
    assert embedq.default_app().jobs(name="tests.contrib.django_site.shop.tasks:add")


def test_an_async_task_runs_on_its_own_queue(workers: EmbedQ) -> None:
    result = ended(asyncio.run(tasks.aorder.aenqueue("by await")))
    assert result.return_value == "by await"
    assert asyncio.run(tasks.aorder.aget_result(result.id)).return_value == "by await"
    [job] = embedq.default_app().jobs()
    assert (job.queue, job.priority, job.executor) == ("mail", 5, "async")


def test_a_task_that_raises_has_failed_at_once_with_its_error(workers: EmbedQ) -> None:
    result = ended(tasks.refuse.enqueue("no tea left"))
    assert result.status == FAILED
    [error] = result.errors
    assert error.exception_class.__name__ == "ValidationError"
    assert "no tea left" in error.traceback
    assert (result.attempts, len(result.worker_ids)) == (1, 1)
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_what_is_not_json_is_refused_as_an_argument_and_fails_the_task_as_a_result(workers: EmbedQ) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.add.enqueue(timezone.now())
    with pytest.raises(TypeError, match=r"Unsupported type: .*ParentResult"):
        tasks.add.enqueue(1, embedq.PARENT_RESULT)
    assert embedq.default_app().count_jobs() == 0
    with pytest.raises(TypeError, match="add"):
        tasks.add.enqueue()
    [error] = ended(tasks.unstorable.enqueue()).errors
    assert error.exception_class is TypeError


def test_a_task_that_takes_its_context_finds_its_own_result_there(workers: EmbedQ) -> None:
    for refresh in (False, True):
        result = ended(tasks.introspect.enqueue(refresh=refresh))
        assert result.return_value == {"id": result.id, "attempt": 1, "status": "RUNNING", "workers": 1}


def test_a_task_is_retried_when_its_policy_has_retries(workers: EmbedQ) -> None:
    result = ended(tasks.stubborn.enqueue())
    assert (result.return_value, result.attempts) == (3, 3)
    assert [error.exception_class for error in result.errors] == [ConnectionError] * 2
    assert result.started_at < result.last_attempted_at


def fails_twice() -> None:
    raise ConnectionError


@pytest.mark.skipif(TASKS_FRAMEWORK == "django.tasks", reason="Django's own decorator takes nothing of a backend's")
def test_the_decorator_takes_what_embedqs_own_does(workers: EmbedQ) -> None:
    retry = embedq.Retry(attempts=2, wait=wait_none())
    task = tasks.task(retry=retry, tags=["twice"], executor="thread")(fails_twice)
    result = ended(task.enqueue())
    assert (result.status, result.attempts, len(result.errors)) == (FAILED, 2, 2)
    [job] = workers.jobs(tag="twice")
    assert job.attempt == 2


def test_a_task_can_be_a_recurring_job(workers: EmbedQ) -> None:
    embedq.recurring("sums", "@daily", job_of(tasks.add.using(queue_name="mail")), 1, b=2)
    assert embedq.trigger_recurring("sums").result(10) == 3
    assert [job.queue for job in workers.jobs(schedule="sums")] == ["mail"]
    embedq.remove_recurring("sums")


def test_embedqs_own_verbs_take_a_task(workers: EmbedQ) -> None:
    assert embedq.enqueue(tasks.add, 1, b=2).result(10) == 3
    assert embedq.options(tags=["by hand"]).enqueue(tasks.add.using(queue_name="mail"), 1).result(10) == 2
    [job] = workers.jobs(tag="by hand")
    assert job.queue == "mail"
    embedq.recurring("more sums", "@daily", tasks.add, 1, b=4)
    first = embedq.trigger_recurring("more sums")
    assert (first.result(10), first.then(tasks.add, 7).result(10)) == (5, 8)
    embedq.remove_recurring("more sums")
    with pytest.raises(embedq.ConfigurationError, match=r"elsewhere runs on 'at_once'.*task\.using\(backend="):
        embedq.enqueue(tasks.elsewhere, "x")


def test_a_test_asserts_on_tasks_and_drains_them(tmp_path: Path) -> None:
    with app_under_test(folder=tmp_path) as kit:
        result = tasks.add.enqueue(1, b=2)
        kit.assert_enqueued(tasks.add, 1, b=2)
        kit.assert_enqueued(tasks.add, b=2)
        kit.assert_not_enqueued(tasks.add.using(queue_name="mail"))
        kit.assert_not_enqueued(tasks.refuse)
        kit.drain()
        assert tasks.add.get_result(result.id).return_value == 3


def test_using_changes_queue_priority_time_and_backend() -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    result = tasks.add.using(run_after=tomorrow, priority=7, queue_name="mail").enqueue(1)
    other = tasks.add.using(backend="other").enqueue(1)
    job, other_job = (embedq.default_app().job(int(one.id.split("-")[0])).snapshot() for one in (result, other))
    assert (job.state, job.run_at, job.priority, job.queue) == (JobState.SCHEDULED, tomorrow, 7, "mail")
    assert tasks.add.get_result(result.id).task.run_after == tomorrow
    assert tasks.add.get_result(result.id).status == READY
    assert tasks.add.get_result(other.id).backend == "other"
    assert other_job.state is JobState.READY


def test_a_result_that_is_missing_or_of_another_task_is_an_error() -> None:
    result = tasks.add.enqueue(1)
    number = result.id.split("-")[0]
    no_task = f"{jobs.note.enqueue('no task').id}"
    for unknown in ("no-such-id", number, f"{number}-{'0' * 32}", no_task, "held-nothing", 3, None):
        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(unknown)
    with pytest.raises(Exception, match="Task does not match"):
        tasks.refuse.get_result(result.id)


@pytest.mark.parametrize(
    "change",
    [{"queue_name": "nowhere"}, {"priority": 101}, {"run_after": datetime(2030, 1, 1)}],  # noqa: DTZ001
)
def test_what_django_does_not_allow_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"not valid for backend|whole number between|aware datetime"):
        tasks.add.using(**change)


def test_a_result_can_be_refreshed_in_the_transaction_that_enqueued_it() -> None:
    with transaction.atomic():
        result = tasks.add.enqueue(1)
        result.refresh()
        assert result.status == READY


def test_the_signals_are_sent_and_a_broken_receiver_harms_nothing(workers: EmbedQ) -> None:
    seen: list[tuple[str, str]] = []

    def hear(signal: Any, task_result: Any, **_: Any) -> None:
        name = {id(task_enqueued): "enqueued", id(task_started): "started", id(task_finished): "finished"}[id(signal)]
        seen.append((name, str(task_result.status)))
        if name != "enqueued":
            raise ZeroDivisionError

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(hear)
    try:
        ended(tasks.add.enqueue(1))
        assert sorted(seen) == [("enqueued", "READY"), ("finished", "SUCCESSFUL"), ("started", "RUNNING")]
        seen.clear()
        ended(tasks.refuse.enqueue("no"))
        assert ("finished", "FAILED") in seen
        seen.clear()
        ended(tasks.stubborn.enqueue())
        assert [name for name, _ in seen].count("finished") == 1
        seen.clear()
        ended(tasks.aorder.enqueue("async"))
        assert ("finished", "SUCCESSFUL") in seen
    finally:
        for signal in (task_enqueued, task_started, task_finished):
            signal.disconnect(hear)


def test_a_task_that_outruns_its_timeout_has_failed_and_reports_it(workers: EmbedQ) -> None:
    finished: list[str] = []

    def hear(task_result: Any, **_: Any) -> None:
        finished.append(task_result.errors[-1].exception_class_path)

    task_finished.connect(hear)
    try:
        results = [ended(task.enqueue()) for task in (tasks.linger, tasks.alinger)]
    finally:
        task_finished.disconnect(hear)
    assert [result.status for result in results] == [FAILED, FAILED]
    assert [result.errors[0].exception_class for result in results] == [TimeoutError, TimeoutError]
    assert finished == ["builtins.TimeoutError"] * 2


# What Django's own tests ask of a backend that keeps results, with no worker running.


def _all_fields(result: Any) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


@pytest.mark.parametrize("run_after", [None, -60, 0, 60])
@pytest.mark.parametrize("atomic", [False, True])
def test_what_enqueue_returns_equals_what_is_found_by_its_id(run_after: int | None, atomic: bool) -> None:
    moment = None if run_after is None else timezone.now() + timedelta(seconds=run_after)
    task = tasks.add.using(run_after=moment, priority=3)
    with transaction.atomic() if atomic else contextlib.nullcontext():
        result = task.enqueue(1, b=2)
        found = task.get_result(result.id)
    assert found == result
    assert _all_fields(found) == _all_fields(result)
    assert (result.status, result.task, result.args, result.kwargs) == (READY, task, [1], {"b": 2})
    assert (result.started_at, result.finished_at, result.is_finished, result.errors) == (None, None, False, [])
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value


def test_a_result_is_the_same_when_it_is_refreshed_and_from_the_backend_and_by_await() -> None:
    result = asyncio.run(tasks.aorder.aenqueue("by await"))
    before = dataclasses.asdict(result)
    result.refresh()
    assert dataclasses.asdict(result) == before
    asyncio.run(result.arefresh())
    assert dataclasses.asdict(result) == before
    backend = task_backends["default"]
    assert backend.get_result(result.id) == result
    assert asyncio.run(backend.aget_result(result.id)) == result
    assert asyncio.run(tasks.aorder.aget_result(result.id)) == result
    with pytest.raises(TaskResultDoesNotExist):
        asyncio.run(tasks.aorder.aget_result("123"))
    with pytest.raises(Exception, match="Task does not match"):
        asyncio.run(tasks.add.aget_result(result.id))


def test_a_result_that_was_held_back_until_the_commit_is_equal_too() -> None:
    with embedq.hold():
        result = tasks.add.enqueue(1)
    assert tasks.add.get_result(result.id) == result


def test_a_task_is_validated_when_it_is_enqueued() -> None:
    task = tasks.add.using(queue_name="mail")
    entry = {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend", "QUEUES": ["other"]}
    with override_settings(TASKS={"default": entry}):
        with pytest.raises(Exception, match="Queue 'mail' is not valid for backend"):
            task.enqueue(1)
        with pytest.raises(Exception, match="Queue 'mail' is not valid for backend"):
            asyncio.run(task.aenqueue(1))


def test_an_enqueue_is_logged_with_the_results_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger=TASKS_FRAMEWORK):
        result = tasks.add.enqueue(1)
    assert [record.name for record in caplog.records if result.id in record.getMessage()]


def test_a_failed_task_states_everything_of_its_error(workers: EmbedQ) -> None:
    result = ended(tasks.refuse_with_a_cause.enqueue())
    assert (result.status, result.is_finished) == (FAILED, True)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    [error] = result.errors
    assert error.exception_class is ValueError
    assert error.traceback.rstrip().endswith("ValueError: no more tea")
    assert "ConnectionError: the shop is closed" in error.traceback


def test_a_safe_string_is_stored_as_text(workers: EmbedQ) -> None:
    result = ended(tasks.markup.enqueue(mark_safe("Zoë")))
    assert (result.status, result.return_value, result.args) == (SUCCESSFUL, "<b>Zoë</b>", ["Zoë"])
    found = tasks.markup.get_result(result.id)
    assert {type(text) for text in (found.return_value, *found.args)} == {str}


def test_a_projects_options_hold_for_its_jobs() -> None:
    app = embedq.default_app()
    with override_settings(EMBEDQ={**settings.EMBEDQ, "default_options": {"queue": "mail"}}):
        fields = ProjectSettings.read().fields
        assert (check_project(), fields["default_options"]) == ([], {"queue": "mail"})
        other = EmbedQ(app.settings.url, **fields).connect()
        assert other.enqueue(jobs.note, "x").snapshot().queue == "mail"
        other.close()
    with override_settings(EMBEDQ={"default_options": {"quue": "mail"}}):
        assert "unknown default option quue; did you mean queue" in str(check_project()[0].msg)


@override_settings(USE_TZ=False, TIME_ZONE="America/New_York")
def test_without_time_zones_times_are_naive_and_the_projects() -> None:
    tomorrow = datetime.now().replace(microsecond=0) + timedelta(days=1)  # noqa: DTZ005
    result = tasks.add.using(run_after=tomorrow).enqueue(1)
    again = tasks.add.get_result(result.id)
    assert again.task.run_after == tomorrow
    assert again == result
    passed = tasks.add.using(run_after=datetime.now()).enqueue(1)  # noqa: DTZ005
    assert tasks.add.get_result(passed.id) == passed


def test_a_cancelled_task_has_failed() -> None:
    result = tasks.add.enqueue(1)
    embedq.default_app().job(int(result.id.split("-")[0])).cancel()
    result.refresh()
    assert result.status == FAILED
    assert result.errors[0].exception_class is embedq.JobCancelledError

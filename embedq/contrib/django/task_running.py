"""Runs the function of a Django task as a job, between Django's signals, with Django's context.

`task_started` and `task_finished` are sent where the task runs; an error of a receiver is logged, with no other effect.
`task_finished` comes when the task has ended for good, a moment before that is recorded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone

from embedq import JobCancelled, JobStopped, Options, StorageError, current_job, default_app
from embedq import Task as EmbedqTask
from embedq.clock import to_micros
from embedq.contrib.django import task_results
from embedq.contrib.django.framework import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from embedq.observability.log import get_logger
from embedq.process import faults
from embedq.tasks.functions import module_name
from embedq.tasks.registry import REGISTRY
from embedq.tasks.retry import Retry, decide
from embedq.worker.error_text import traceback_text

logger = get_logger()


def register(task: Task, options: Options) -> None:
    """Register a task's function under its name, once; `options` are what its jobs run by."""
    name = name_of(task)
    known = REGISTRY.registered(name)
    if known is not None and getattr(known.function, "func", None) is task.func:
        return
    function = _async_runner(task) if inspect.iscoroutinefunction(task.func) else _runner(task)
    # A copy made by `using()` may be the first that is seen here; what it was used with is not the task's own.
    function.__dict__.update(func=task.func, django_task=task)
    signature = inspect.signature(task.func)
    if task.takes_context:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    function.__dict__["__signature__"] = signature
    runner: EmbedqTask[..., Any] = EmbedqTask(
        function, name=name, registered=True, defaults=options, enqueuer=default_app
    )
    REGISTRY.add(runner)


def registered_job(task: Task) -> EmbedqTask[..., Any]:
    """The job of a task that has been registered."""
    found = REGISTRY.registered(name_of(task))
    assert found is not None, "a task is registered when it is made"
    return found


def name_of(task: Task) -> str:
    """The name of a task's jobs."""
    return f"{module_name(task.func)}:{task.func.__qualname__}"


def _runner(task: Task) -> Callable[..., Any]:
    function, takes_context = task.func, task.takes_context

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = _begin(task, args, kwargs)
        task_started.send_robust(_sender(result), task_result=result)
        try:
            value = normalize_json(function(*_context(result, takes_context), *args, **kwargs))
        except BaseException as error:
            if _has_failed(result, error):
                task_finished.send_robust(_sender(result), task_result=result)
            raise
        task_finished.send_robust(_sender(result), task_result=_has_succeeded(result, value))
        return value

    return run


def _async_runner(task: Task) -> Callable[..., Any]:
    function, takes_context = task.func, task.takes_context

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        result = await sync_to_async(_begin)(task, args, kwargs)
        await task_started.asend_robust(_sender(result), task_result=result)
        try:
            value = normalize_json(await function(*_context(result, takes_context), *args, **kwargs))
        except BaseException as error:
            if _has_failed(result, error):
                await task_finished.asend_robust(_sender(result), task_result=result)
            raise
        await task_finished.asend_robust(_sender(result), task_result=_has_succeeded(result, value))
        return value

    return run


def _begin(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
    job = current_job()
    try:
        return task_results.running(job.id)
    except StorageError as error:
        # The task itself may not need the database at all.
        logger.warning("job %s (%s) runs with the little that is known of it: %s", job.id, job.name, error)
        return task_results.guessed(task, job, args, kwargs)


def _context(result: TaskResult, takes_context: bool) -> tuple[TaskContext, ...]:
    return (TaskContext(task_result=result),) if takes_context else ()


def _sender(result: TaskResult) -> type:
    return type(result.task.get_backend())


def _has_succeeded(result: TaskResult, value: Any) -> TaskResult:
    _set(result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=value)
    return result


def _has_failed(result: TaskResult, error: BaseException) -> bool:
    """Write the error down; whether the task has failed for good, and not just this attempt at it."""
    error = _meant(error)
    if faults.is_a(error, JobStopped):
        return False
    result.errors.append(
        TaskError(
            exception_class_path=f"{type(error).__module__}.{type(error).__qualname__}",
            traceback=traceback_text(error),
        )
    )
    if not faults.is_a(error, JobCancelled) and _is_tried_again(result, error):
        return False
    _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
    return True


def _meant(error: BaseException) -> BaseException:
    """What an interrupt stands for, which comes to an async task as a bare cancellation, and to others in groups."""
    job = current_job()
    if faults.interrupt_in(error, sent=job.interrupted) is None:
        return error
    if job.cancel_requested:
        return JobCancelled()
    if job.stopping:
        return JobStopped()
    return TimeoutError("the task ran longer than its timeout").with_traceback(faults.frames_of(error))


def _is_tried_again(result: TaskResult, error: BaseException) -> bool:
    job, app = current_job(), default_app()
    task = REGISTRY.get(job.name)
    policy = (task.defaults.retry if task is not None else None) or Retry()
    now = app.clock.now()
    first = result.started_at
    started = now if first is None else to_micros(first if timezone.is_aware(first) else timezone.make_aware(first))
    decision = decide(policy, attempt=job.attempt, first_started_at=started, now=now, error=error, slept=0.0)
    return decision.retry_at is not None


def _set(result: TaskResult, **values: Any) -> None:
    # As Django's own backends do: the class is frozen.
    for name, value in values.items():
        object.__setattr__(result, name, value)

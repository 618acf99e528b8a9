"""Django's TaskResult of a stored job.

A result's id is the job's number and a signature by the project's SECRET_KEY, such as `42-9c1e…`: Django's ids cannot
be guessed, and a project may rely on that. If the job has no number yet, because it is deferred until a commit, the id
is random, and becomes the job's idempotency key.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.crypto import constant_time_compare, get_random_string, salted_hmac

from embedq import Attempt, Ending, Job, JobContext, JobNotFoundError, JobState, default_app
from embedq.contrib.django.framework import Task, TaskError, TaskResult, TaskResultDoesNotExist, TaskResultStatus
from embedq.engine.transactions import TransactionBlock, current
from embedq.serializers import loads_call, loads_value
from embedq.storage import inspect
from embedq.storage.base import Transaction
from embedq.tasks.registry import REGISTRY

_STATUS = {
    JobState.RUNNING: TaskResultStatus.RUNNING,
    JobState.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    JobState.DEAD: TaskResultStatus.FAILED,
    JobState.CANCELLED: TaskResultStatus.FAILED,
}
# Released runs do not count as attempts, here as elsewhere.
_COUNTED = (Ending.SUCCEEDED, Ending.FAILED, Ending.TIMED_OUT, Ending.CANCELLED)
_TAG = "task-backend:"
_TIME_TAG = "task-run-after:"
_DEFERRED = "held-"


def result_id(job_id: int) -> str:
    """Return the id of a job's result."""
    return f"{job_id}-{_signature(job_id, settings.SECRET_KEY)}"


def deferred_id() -> str:
    """Return a new id, for the idempotency key of a deferred job."""
    return f"{_DEFERRED}{get_random_string(32)}"


def tag_of(alias: str) -> str:
    """Return the tag that names the backend of a task's job, if it is not the default one."""
    return f"{_TAG}{alias}"


def tag_of_time(run_after: datetime) -> str:
    """Return the tag that stores a `run_after` that had passed at the enqueue: the job is due at once."""
    return f"{_TIME_TAG}{run_after.isoformat()}"


def load(identity: str) -> TaskResult:
    """Return the present result of that id.

    Raises:
        TaskResultDoesNotExist: there is none, or it is no longer kept, or the id was not given by this project.
    """
    app = default_app()
    try:
        job, attempts = app.database.read(_found, identity)
    except JobNotFoundError:
        block = current(app.engine)
        if not isinstance(block, TransactionBlock):
            raise TaskResultDoesNotExist(identity) from None
        # It may have been enqueued in the transaction that is open here, and is visible only in that.
        try:
            job, attempts = block.write(_found, identity)
        except JobNotFoundError:
            raise TaskResultDoesNotExist(identity) from None
    return _result(job, attempts)


def running(job_id: int) -> TaskResult:
    """Return the present result of a job that runs here."""
    job, attempts = default_app().database.read(_job_and_attempts, job_id)
    return _result(job, attempts)


def guessed(task: Task, job: JobContext, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
    """Return the result of a job that runs here, without a read of the database."""
    now = timezone.now()
    return TaskResult(
        task=task,
        id=result_id(job.id),
        status=TaskResultStatus.RUNNING,
        enqueued_at=None,
        started_at=now,
        finished_at=None,
        last_attempted_at=now,
        args=list(args),
        kwargs=dict(kwargs),
        backend=_backend(job.tags),
        errors=[],
        worker_ids=["unknown"] * job.attempt,
    )


def _job_and_attempts(tx: Transaction, job_id: int) -> tuple[Job, list[Attempt]]:
    job = inspect.job(tx, job_id)
    # A job that has run once at most has no attempts but the one in its own row.
    quiet = (
        job.attempt <= 1 and job.crashes == 0 and job.state in (JobState.READY, JobState.SCHEDULED, JobState.RUNNING)
    )
    return job, [] if quiet else inspect.attempts(tx, job_id)


def _found(tx: Transaction, identity: str) -> tuple[Job, list[Attempt]]:
    # Django documents str, and accepts anything.
    identity = str(identity)
    if identity.startswith(_DEFERRED):
        row = tx.one("job_id_by_key", (identity,))
        if row is None:
            raise JobNotFoundError(f"no job has the key {identity}")
        return _job_and_attempts(tx, row[0])
    return _job_and_attempts(tx, _job_id(identity))


def _result(job: Job, attempts: list[Attempt]) -> TaskResult:
    key = job.idempotency_key or ""
    identity = key if key.startswith(_DEFERRED) else result_id(job.id)
    runner = REGISTRY.get(job.name)
    task = getattr(runner.function, "django_task", None) if runner is not None else None
    if task is None:
        # The job is not a task; or the task's module is not imported here, and then Django does not have it either.
        raise TaskResultDoesNotExist(identity)
    alias = _backend(job.tags)
    args, kwargs = loads_call(job.arguments)
    counted = [attempt for attempt in attempts if attempt.ending in _COUNTED]
    workers = [_worker(attempt.server) for attempt in counted]
    starts = [attempt.started_at for attempt in counted]
    if job.state is JobState.RUNNING:
        workers.append(_worker(job.server))
        starts += [job.started_at] if job.started_at else []
    result = TaskResult(
        task=_as_enqueued(task, job, alias),
        id=identity,
        status=_STATUS.get(job.state, TaskResultStatus.READY),
        enqueued_at=moment(job.created_at),
        started_at=moment(min(starts, default=None)),
        finished_at=moment(job.finished_at) if job.state.ended else None,
        last_attempted_at=moment(max(starts, default=None)),
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=list(_errors(job, attempts)),
        worker_ids=workers,
    )
    if job.state is JobState.SUCCEEDED and job.result is not None:
        object.__setattr__(result, "_return_value", loads_value(job.result))
    return result


def _as_enqueued(task: Task, job: Job, alias: str) -> Task:
    """Return the task with the queue, priority and time of the job.

    It is not validated again: a queue that TASKS no longer names must not hide the results of its tasks.
    """
    found = object.__new__(type(task))
    changed: dict[str, Any] = {
        "priority": job.priority,
        "queue_name": job.queue,
        "backend": alias,
        "run_after": _run_after(job),
    }
    for name in task.__dataclass_fields__:
        object.__setattr__(found, name, changed.get(name, getattr(task, name)))
    return found


def _run_after(job: Job) -> datetime | None:
    for tag in job.tags:
        if tag.startswith(_TIME_TAG):
            return moment(datetime.fromisoformat(tag.removeprefix(_TIME_TAG)))
    # A retry has a time of its own.
    return moment(job.run_at) if job.run_at > job.created_at and job.attempt <= 1 else None


def _errors(job: Job, attempts: list[Attempt]) -> Iterator[TaskError]:
    for attempt in attempts:
        if attempt.ending in (Ending.FAILED, Ending.TIMED_OUT):
            yield TaskError(
                exception_class_path=_class_path(attempt), traceback=attempt.traceback or attempt.error or ""
            )
        elif attempt.ending is Ending.CRASHED:
            yield TaskError(exception_class_path="embedq.JobError", traceback=attempt.error or "its process died")
    if job.state is JobState.CANCELLED:
        yield TaskError(exception_class_path="embedq.JobCancelledError", traceback=job.error or "cancelled")


def _class_path(attempt: Attempt) -> str:
    """Return the dotted path of an attempt's exception; Exception if it cannot be determined.

    The stored error begins with the class's name, and the traceback has a line with the module before that name.
    """
    name = (attempt.error or "").partition(":")[0].strip()
    if re.fullmatch(r"[\w.<>]+", name):
        lines = re.findall(rf"^((?:[\w.]+\.)?{re.escape(name)})(?::|$)", attempt.traceback or "", re.MULTILINE)
        if lines and lines[-1] != name:
            return str(lines[-1])
        if isinstance(getattr(builtins, name, None), type):
            return f"builtins.{name}"
    return "builtins.Exception"


def _backend(tags: Sequence[str]) -> str:
    return next((tag.removeprefix(_TAG) for tag in tags if tag.startswith(_TAG)), "default")


def _worker(server: int | None) -> str:
    return "unknown" if server is None else str(server)


def moment(instant: datetime | None) -> datetime | None:
    """Convert a time as Django does: aware with USE_TZ, else naive in the project's zone."""
    return instant if instant is None or settings.USE_TZ else timezone.make_naive(instant)


def _job_id(identity: str) -> int:
    number, _, signature = identity.partition("-")
    if number.isascii() and number.isdigit() and len(number) < 19:
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            if constant_time_compare(signature, _signature(int(number), secret)):
                return int(number)
    raise TaskResultDoesNotExist(identity)


def _signature(job_id: int, secret: str) -> str:
    return str(salted_hmac(__name__, str(job_id), secret=secret, algorithm="sha256").hexdigest()[:32])

"""A backend for Django's tasks: code that is written for Django's own API runs on embedq unchanged.

    TASKS = {"default": {"BACKEND": "embedq.contrib.django.tasks.EmbedQBackend", "QUEUES": [], "OPTIONS": {}}}

    @task(takes_context=True)
    def send(context, user_id): ...

    result = send.using(priority=10, run_after=tomorrow).enqueue(7)

A task is a job named after its function (`shop.tasks:send`), so `manage.py embedq`, retries by hand and the rest apply.
It runs once unless it has a retry policy, since Django documents that a task that raises has failed.

    task_results    Django's TaskResult of a stored job
    task_running    runs the function as a job, between Django's signals
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.utils import timezone

from embedq import NO_RETRY, Options, Retention, Retry, default_app
from embedq import Task as EmbedqTask
from embedq.clock import to_datetime, to_micros
from embedq.contrib.django import task_results
from embedq.contrib.django.conf import ProjectSettings
from embedq.contrib.django.framework import (
    BaseTaskBackend,
    Task,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_enqueued,
)
from embedq.contrib.django.task_running import name_of, register, registered_job
from embedq.engine.deferred import HoldBlock
from embedq.engine.transactions import current
from embedq.errors import ConfigurationError
from embedq.tasks.options import Executor
from embedq.tasks.registry import REGISTRY, TaskAdapter

_OPTIONS = ("retry", "timeout", "expires_in", "retention", "tags", "executor")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedQTask(Task):
    """Django's task, with what embedq's decorator takes besides: `@task(retry=embedq.Retry(attempts=5), timeout=60)`.

    So it is with the package django-tasks; Django 6.0's own decorator takes nothing of a backend's, and OPTIONS do it.

    Attributes:
        retry, timeout, expires_in, retention, tags, executor: as in `embedq.Options`; the backend's OPTIONS where None.
    """

    retry: Retry | None = None
    timeout: float | timedelta | None = None
    expires_in: float | timedelta | None = None
    retention: Retention | None = None
    tags: Sequence[str] | None = None
    executor: Executor | None = None


class EmbedQBackend(BaseTaskBackend):
    """Runs Django's tasks as jobs of the project's queue.

    Args:
        params: its entry in TASKS. OPTIONS holds what holds for all its tasks: `retry` (none unless given), `timeout`,
            `expires_in`, `retention`, `tags`, `executor`.
    Raises:
        ConfigurationError: an unknown option, or a value that cannot work.
    """

    task_class = EmbedQTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        unknown = sorted(str(name) for name in self.options if name not in _OPTIONS)
        if unknown:
            raise ConfigurationError(
                f"TASKS[{alias!r}] has unknown OPTIONS: {', '.join(unknown)}; there are: {', '.join(_OPTIONS)}"
            )
        self._defaults = Options.parse(**{"retry": NO_RETRY, **self.options})

    def validate_task(self, task: Task) -> None:
        """Refuse what cannot run, and let the workers of this process know the rest by name."""
        super().validate_task(task)
        self.register(task)

    def register(self, task: Task) -> None:
        """Let the workers of this process know a task by name."""
        own = {name: getattr(task, name, None) for name in _OPTIONS}
        register(task, Options.parse(**own).over(self._defaults))

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Store a job for the task, by the project's rule for `atomic()`; durable when that is committed.

        Raises:
            TypeError: an argument is not JSON.
            EnqueueError, StorageError: as for `embedq.enqueue`.
        """
        self.validate_task(task)
        args, kwargs = normalize_json(list(args)), normalize_json(dict(kwargs))
        app, job = default_app(), job_of(task)
        # The clock may be the database's.
        _ = app.database
        now = app.clock.now()
        run_after = None if task.run_after is None else _aware(task.run_after)
        if run_after is not None and to_micros(run_after) <= now:
            job = job.with_options(Options(tags=(*(job.effective.tags or ()), task_results.tag_of_time(run_after))))
        # Deferred until a commit, it has no number yet for the id of its result.
        deferred_id = task_results.deferred_id() if isinstance(current(app.engine), HoldBlock) else None
        if deferred_id is not None:
            job = job.with_options(Options(idempotency_key=deferred_id))
        call = job.call(*args, **kwargs)
        handle = app.submit(call, run_at=run_after, now=now)
        result = TaskResult(
            task=task,
            id=deferred_id or task_results.result_id(handle.id),
            status=TaskResultStatus.READY,
            enqueued_at=task_results.moment(to_datetime(now)),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """Return the result of a task. TaskResultDoesNotExist if there is none of that id, or it is no longer kept."""
        return task_results.load(result_id)

    def check(self, **_: Any) -> list[CheckMessage]:
        """E002: the app is not installed. W002: no worker takes one of the queues."""
        if not apps.is_installed("embedq.contrib.django"):
            return [Error('Add "embedq.contrib.django" to INSTALLED_APPS: it runs the tasks.', id="embedq.E002")]
        try:
            worked = ProjectSettings.read().fields.get("queues")
        except ConfigurationError:
            return []
        idle = sorted(self.queues.difference(worked or self.queues))
        return [
            CheckWarning(
                f'TASKS[{self.alias!r}] allows the queues {", ".join(idle)}, which EMBEDQ["queues"] does not name: '
                "only a worker that names them takes tasks from there.",
                hint="Name them in EMBEDQ, or run: manage.py embedq worker --queues A,B",
                id="embedq.W002",
            )
            for _ in idle[:1]
        ]


def job_of(task: Task) -> EmbedqTask[..., Any]:
    """The job of a Django task: `job_of(task).options(timeout=60).enqueue(1)`. embedq's own verbs take the task itself.

    Raises:
        ConfigurationError: the task's backend is another.
    """
    if not isinstance(task.get_backend(), EmbedQBackend):
        raise ConfigurationError(
            f"{task.module_path} runs on {task.backend!r}, which is no EmbedQBackend; name one that is: "
            "task.using(backend=…)"
        )
    job = registered_job(task)
    tags = job.defaults.tags or ()
    if task.backend != "default":
        tags = (*tags, task_results.tag_of(task.backend))
    return job.with_options(Options(queue=task.queue_name, priority=int(task.priority), tags=tags or None))


def _declared(task: Task, name: str) -> EmbedqTask[..., Any] | None:
    """The job of a task that was declared with another backend, and may have been enqueued with one of embedq's.

    The first of those in TASKS decides how it runs.
    """
    ours = (backend for backend in map(task_backends.__getitem__, settings.TASKS) if isinstance(backend, EmbedQBackend))
    backend = next(ours, None)
    if backend is None or name_of(task) != name:
        return None
    backend.register(task)
    return registered_job(task)


def _aware(moment: datetime) -> datetime:
    # With USE_TZ Django has seen to it; without, naive times are in the project's zone.
    return moment if settings.USE_TZ or timezone.is_aware(moment) else timezone.make_aware(moment)


REGISTRY.add_adapter(TaskAdapter(kind=Task, task_of=job_of, declared=_declared))

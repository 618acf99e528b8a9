"""The environment of a job in a Django project, which is that of a request, without a request.

Django's connections belong to a thread and are managed by the signals of requests, which a worker thread does not
receive. So this module manages them: one that is broken or too old is closed before a job and after it, depending on
CONN_MAX_AGE and pools. A language or time zone that one job activates does not apply to the next one.

The surprise: Django runs the database calls of `async def` code on threads, by default on one for the whole process.
Here each async job has its own, so that one does not wait for another's queries; it ends with the job.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.db import connections, reset_queries
from django.urls import get_script_prefix, set_script_prefix
from django.utils import timezone, translation

from embedq.tasks.context import JobContext

WORKER_THREADS = "embedq-worker"


class ProjectSurroundings:
    """Middleware around every job: a context manager on a worker thread, an async one on the event loop."""

    def __init__(self, job: JobContext) -> None:
        self._defaults = ExitStack()
        self._thread = ThreadSensitiveContext()
        # Connections with a transaction of the caller: a test may run jobs inside its own.
        self._borrowed: set[str] = set()

    def __enter__(self) -> None:
        if threading.current_thread().name.startswith(WORKER_THREADS):
            # With DEBUG, Django stores every query until a request begins.
            reset_queries()
        else:
            self._borrowed = {one.alias for one in connections.all(initialized_only=True) if one.in_atomic_block}
        self._tidy_connections()
        self._enter_defaults()

    def __exit__(self, *exception: object) -> None:
        self._defaults.close()
        self._tidy_connections()

    def _tidy_connections(self) -> None:
        for connection in connections.all(initialized_only=True):
            if connection.alias in self._borrowed:
                continue
            if connection.in_atomic_block:
                # The job was interrupted where its `atomic()` ends. It would never be committed, and the writes of the
                # next job would be a part of it.
                connection.in_atomic_block = connection.closed_in_transaction = False
                connection.close()
            connection.close_if_unusable_or_obsolete()

    async def __aenter__(self) -> None:
        await self._thread.__aenter__()
        self._enter_defaults()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._defaults.close()
        try:
            # The thread belongs to this job, so its open connections would be lost with it.
            await sync_to_async(connections.close_all)()
        finally:
            await self._thread.__aexit__(kind, error, traceback)

    def _enter_defaults(self) -> None:
        self._defaults.enter_context(translation.override(settings.LANGUAGE_CODE))
        self._defaults.enter_context(timezone.override(None))
        if settings.FORCE_SCRIPT_NAME is not None:
            # Otherwise `reverse` only has it in the thread that has set up Django.
            self._defaults.callback(set_script_prefix, get_script_prefix())
            set_script_prefix(settings.FORCE_SCRIPT_NAME)


def prepare() -> None:
    """Import now what Django imports when the language is first read: by the first jobs, on their threads.

    A process that forks in the middle of that, as Gunicorn's master does with a preloaded app, leaves its child
    processes a module that is never complete.
    """
    translation.get_language()


def job_environment(job: JobContext) -> Any:
    """For `EmbedQ(middleware=[…])`."""
    return ProjectSurroundings(job)

"""What a job of a Django project finds around it, and leaves behind: as a request would, only there is no request.

Django's connections belong to a thread and are looked after by the signals of requests, of which a worker thread hears
nothing. So they are looked after here: one that is broken or too old is closed before a job and after it, whatever
CONN_MAX_AGE and pools say. A language or time zone that one job activates is not the next one's.

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

from embedq.context import JobContext

WORKER_THREADS = "embedq-worker"


class ProjectSurroundings:
    """Middleware around every job: a context manager on a worker thread, an async one on the event loop."""

    def __init__(self, job: JobContext) -> None:
        self._defaults = ExitStack()
        self._thread = ThreadSensitiveContext()
        # Connections whose transaction is the caller's: a test may run jobs inside its own.
        self._borrowed: set[str] = set()

    def __enter__(self) -> None:
        if threading.current_thread().name.startswith(WORKER_THREADS):
            # With DEBUG every query is remembered, until a request begins.
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
                # The job was interrupted where its `atomic()` ends. Nobody would ever commit it, and what the next
                # job writes would be a part of it.
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
            # The thread is this job's, so whatever it has open would be lost with it.
            await sync_to_async(connections.close_all)()
        finally:
            await self._thread.__aexit__(kind, error, traceback)

    def _enter_defaults(self) -> None:
        self._defaults.enter_context(translation.override(settings.LANGUAGE_CODE))
        self._defaults.enter_context(timezone.override(None))
        if settings.FORCE_SCRIPT_NAME is not None:
            # Otherwise `reverse` knows it only in the thread that has set Django up.
            self._defaults.callback(set_script_prefix, get_script_prefix())
            set_script_prefix(settings.FORCE_SCRIPT_NAME)


def prepare() -> None:
    """Import now what Django imports when it is first asked for the language: by the first jobs, on their threads.

    A process that forks in the middle of that, as Gunicorn's master does where the app was loaded before, leaves its
    children a module that will never be complete.
    """
    translation.get_language()


def project_surroundings(job: JobContext) -> Any:
    """For `EmbedQ(middleware=[…])`."""
    return ProjectSurroundings(job)

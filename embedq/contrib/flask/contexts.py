"""Jobs run in an application context, whether on a thread, on the event loop, or in a process of their own."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from embedq import ConfigurationError, JobContext
from embedq.process import job_process

# Weak references: a queue, and its threads, must not keep alive an app that is no longer used.
_apps: weakref.WeakSet[Flask] = weakref.WeakSet()
_kept: list[Flask] = []


class InAppContext:
    """Middleware that runs each job in a context of this app or, in a job process, of the app there."""

    def __init__(self, app: Flask) -> None:
        self._app = weakref.ref(app)
        self._name = app.import_name
        _apps.add(app)
        if job_process.here():
            # The result of a factory that is called as the process's setup is not referenced elsewhere.
            _kept.append(app)

    @contextmanager
    def __call__(self, job: JobContext) -> Iterator[None]:
        app = self._app()
        if app is None:
            raise RuntimeError(
                "the Flask app of this job's queue no longer exists; keep a reference to it as long as its workers run"
            )
        with app.app_context():
            yield

    def __reduce__(self) -> tuple[type[LikeApp], tuple[str]]:
        return LikeApp, (self._name,)


class LikeApp:
    """What `InAppContext` is in a job process, which creates the app again.

    Args:
        name: the app's import name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @contextmanager
    def __call__(self, job: JobContext) -> Iterator[None]:
        with self._find().app_context():
            yield

    def _find(self) -> Flask:
        here = list(_apps)
        of_that_name = [app for app in here if app.import_name == self._name]
        for candidates in (of_that_name, here):
            if len(candidates) == 1:
                return candidates[0]
        raise ConfigurationError(
            f"{'no' if not here else 'more than one'} Flask app in this job's process: let importing the job's module "
            'create the app, or name the function that creates it: EMBEDQ_PROCESS_SETUP = "shop:create_app"'
        )

"""The default app of embedq on this project: configured from EMBEDQ, connected when needed, started with the server.

A server's process is recognised by Django's WSGI or ASGI handler, which every server creates, `runserver` too, and no
management command. So there is nothing to guess about reloaders, their parent processes and command lines.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from embedq import EmbedQ, Settings, default_app
from embedq.config import scheme_of, sqlite_path
from embedq.contrib.django.addresses import database_name, database_url
from embedq.contrib.django.conf import ProjectSettings
from embedq.contrib.django.job_environment import job_environment, prepare
from embedq.errors import ConfigurationError, StorageError, StorageMissingError
from embedq.observability.log import get_logger
from embedq.process import supervision

logger = get_logger()

AGAIN_SECONDS = 5.0
# A reload in development should not wait for a long job; running jobs go back to the queue.
RELOAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The project settings that the default app was last bound to.

    Attributes:
        url: as in its settings; if they have another, the application has configured it since.
        alias: the entry of DATABASES whose transactions count.
        name: that entry's NAME then.
        atomic: what enqueueing does in such a transaction; one of `conf.ATOMIC`.
    """

    url: str
    alias: str
    name: str
    atomic: str


_bound: Bound | None = None
_scratch: tempfile.TemporaryDirectory[str] | None = None


def bind() -> EmbedQ:
    """Configure the default app from the project's settings, unless it is connected; return it.

    Raises:
        ConfigurationError: EMBEDQ or DATABASES has an invalid value.
    """
    global _bound
    app = default_app()
    if app.engine.connected:
        return app
    project = ProjectSettings.read()
    fields = dict(project.fields)
    if os.environ.get(DJANGO_AUTORELOAD_ENV) == "true" and not os.environ.get("EMBEDQ_STOP_TIMEOUT"):
        fields.setdefault("stop_timeout", RELOAD_SECONDS)
    app.configure(
        location(project),
        middleware=[job_environment, *project.middleware],
        enqueue_middleware=project.enqueue_middleware,
        **fields,
    )
    _bound = _what_was_bound(project, app)
    return app


def bound() -> Bound | None:
    """Return what the default app is bound to; None if it is not, or the application has configured it since."""
    return _bound if _bound is not None and _bound.url == default_app().settings.url else None


def _what_was_bound(project: ProjectSettings, app: EmbedQ) -> Bound | None:
    alias, url = project.database, app.settings.url
    if alias not in connections.settings:
        return None
    here = database_url(alias)
    atomic = project.atomic
    if _scratch is not None and scheme_of(url) == "sqlite" and sqlite_path(url).parent == Path(_scratch.name):
        # A TestCase never commits, so jobs that wait for a commit would never be written.
        atomic = "at_once"
    elif atomic == "join" and (here is None or not _same_place(url, Settings.gather({"url": here}, {}).url)):
        atomic = "on_commit"
    return Bound(url=url, alias=alias, name=database_name(alias), atomic=atomic)


def _same_place(one: str, other: str) -> bool:
    if scheme_of(one) == scheme_of(other) == "sqlite":
        return sqlite_path(one).resolve() == sqlite_path(other).resolve()
    return one == other


def location(project: ProjectSettings) -> str | Path:
    """Return the URL, or the file, of the database for jobs.

    Raises:
        ConfigurationError: there is none that can store them.
    """
    global _scratch
    if not testing():
        found = project.url or database_url(project.database)
    elif project.url is None:
        found = database_url(project.database)
    else:
        # Django makes no test database of it, and tests must not touch the real one.
        found = None
    if found is None and testing():
        # A file of the test run's own. A database of Django's in memory is only visible to its own connection.
        _scratch = _scratch or tempfile.TemporaryDirectory(prefix="embedq-tests-", ignore_cleanup_errors=True)
        found = Path(_scratch.name) / "jobs.db"
    if found is None:
        raise ConfigurationError(
            f"DATABASES[{project.database!r}] is in memory, but jobs must outlive the process; give them a file: "
            'EMBEDQ = {"url": "sqlite:////var/lib/shop/jobs.db"}'
        )
    return found


def testing() -> bool:
    """Whether Django's test environment is set up, as it is by its runner and by pytest-django."""
    return hasattr(sys.modules.get("django.core.mail"), "outbox")


def connect() -> None:
    """Connect the default app when its database is needed and it was not started."""
    app = bind()
    try:
        # Existing tables need no write, which could wait for a transaction that this thread has open.
        app.connect(migrate=False)
    except StorageMissingError:
        app.connect()


def start() -> EmbedQ:
    """Run workers in this process, regardless of EMBEDQ["autostart"]. A second call changes nothing.

    Raises:
        ConfigurationError, StorageError: as for `embedq.start`.
    """
    app = bind()
    discover()
    prepare()
    return app.start()


def discover() -> None:
    """Import the modules that declare jobs, so that they can run: those that EMBEDQ["discover"] names, and those that
    the URLs lead to.
    """
    names = [module for name in ProjectSettings.read().discover for module in modules_named(name)]
    urls = getattr(django_settings, "ROOT_URLCONF", None)
    for name in dict.fromkeys([*names, *([urls] if isinstance(urls, str) else [])]):
        try:
            import_module(name)
        except Exception:
            logger.exception("%s cannot be imported, so the jobs that it declares cannot run here and are parked", name)


def modules_named(name: str) -> list[str]:
    """The modules of a name in EMBEDQ["discover"]: those that installed apps have under it, and, if there is a dot in
    it, the one that has just this name.
    """
    candidates = [f"{app.name}.{name}" for app in apps.get_app_configs() if app.name != __package__]
    return [module for module in [*candidates, *([name] if "." in name else [])] if _exists(module)]


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError as error:
        # Its package does not exist, or is a module; or something that such a package imports does not exist.
        return not f"{module}.".startswith(f"{error.name}.")
    except Exception:
        # Its package cannot be imported; the import itself reports why.
        return True


def know_tasks() -> None:
    """Register tasks of Django's own framework, if a backend in TASKS may be embedq's."""
    entries = (getattr(django_settings, "TASKS", None) or {}).values()
    paths = [str(entry.get("BACKEND", "")) for entry in entries if isinstance(entry, dict)]
    if not all(path.startswith(("django.tasks.", "django_tasks.")) for path in paths):
        # If there is no such framework, its backend reports it.
        with suppress(ImportError):
            import_module("embedq.contrib.django.tasks")


def migrate(using: str, verbosity: int = 1, **_: Any) -> None:
    """After `manage.py migrate` of the database that holds the jobs: bring embedq's tables up to date as well."""
    project = ProjectSettings.read()
    if project.url is not None or using != project.database or database_url(using) is None:
        return
    applied = EmbedQ(location(project), **project.fields).migrate()
    if applied and verbosity:
        print(f"  Applied embedq: {', '.join(applied)}")


def follow(connection: Any, **_: Any) -> None:
    """Disconnect when Django connects and the database has another name now, as at the start of tests."""
    was = bound()
    # Django connects like this to create and remove a test database, to which there must be no other connection.
    if was is not None and (connection.alias == NO_DB_ALIAS or database_name(was.alias) != was.name):
        leave()


def follow_settings(setting: str, **_: Any) -> None:
    """Apply a setting that a test overrides, from the next use on."""
    if setting in ("EMBEDQ", "DATABASES") and bound() is not None:
        leave()


def leave() -> None:
    """Close the database; the next use binds again. Workers that run here keep their database."""
    app = default_app()
    if not app.started:
        app.close()


# -- with the server ---------------------------------------------------------------------------------------------------

_watched = False


def start_with_the_server() -> None:
    """Start as soon as this process makes a WSGI or ASGI handler."""
    global _watched
    if _watched:
        return
    _watched = True
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    for handler in (WSGIHandler, ASGIHandler):
        handler.__init__ = _and_then(handler.__init__, _start_in_a_server)


def _and_then(init: Callable[..., None], action: Callable[[], None]) -> Callable[..., None]:
    @functools.wraps(init)
    def both(*args: Any, **kwargs: Any) -> None:
        init(*args, **kwargs)
        action()

    return both


def _start_in_a_server() -> None:
    if testing() or default_app().started or not ProjectSettings.read().autostart:
        return
    try:
        start()
    except StorageError as error:
        # The site can work without its jobs for a while, and Django itself starts without its database.
        logger.error("no jobs run here yet; the next attempts are every %g s: %s", AGAIN_SECONDS, error)
        _keep_trying()
        if hasattr(os, "register_at_fork"):
            # Threads are not copied into the workers of a server that forks.
            os.register_at_fork(after_in_child=_keep_trying)


def _keep_trying() -> None:
    if not default_app().started:
        supervision.start("embedq-start", _try_until_started)


def _try_until_started() -> None:
    never = threading.Event()
    while not never.wait(AGAIN_SECONDS):
        try:
            start()
        except StorageError as error:
            logger.warning("still no jobs run here: %s", error)
        except Exception:
            logger.exception("no jobs run here")
            return
        else:
            return

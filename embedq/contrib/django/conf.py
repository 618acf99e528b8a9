"""The setting EMBEDQ of a Django project.

EMBEDQ = {
    "workers": 20,                       # any field of embedq.Settings
    "database": "jobs",                  # an alias of DATABASES, instead of "default"
    "atomic": "join",                    # what enqueueing inside atomic() does; see engine/transactions.py
    "autostart": True,                   # run workers where the project serves requests
    "discover": ["jobs", "tasks"],       # modules that declare jobs: of each installed app, or "services.tasks" itself
    "default_options": {"retry": embedq.Retry(attempts=3)},  # unless the task or the enqueue sets them
    "middleware": ["shop.jobs.timed"],   # dotted paths, or the callables themselves
}
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from embedq.config import Settings
from embedq.errors import ConfigurationError

ATOMIC = ("join", "on_commit", "at_once")
# The modules of the installed apps that are imported.
DISCOVER = ("jobs", "tasks")
# With it the guard is on, unless EMBEDQ turns it off.
GUARD_MIDDLEWARE = "embedq.contrib.django.guard_requests"
_OWN = ("atomic", "autostart", "database", "discover", "enqueue_middleware", "middleware")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """The settings in EMBEDQ.

    Attributes:
        url: of a database that is not in DATABASES; None for the one at `database`.
        database: the alias of the database that stores the jobs, unless `url` is set.
        atomic: one of `ATOMIC`.
        fields: the rest, for `EmbedQ.configure`.
    """

    url: Any
    database: str
    atomic: str
    autostart: bool
    discover: tuple[str, ...]
    middleware: tuple[Callable[..., Any], ...]
    enqueue_middleware: tuple[Callable[..., Any], ...]
    fields: dict[str, Any]

    @classmethod
    def read(cls) -> ProjectSettings:
        """Read them from the project's settings, then the environment's EMBEDQ_URL, as elsewhere.

        Raises:
            ConfigurationError: an unknown key, or an invalid value.
        """
        given = getattr(django_settings, "EMBEDQ", None) or {}
        if not isinstance(given, dict):
            raise ConfigurationError(f'EMBEDQ={given!r} must be a dict, such as EMBEDQ = {{"workers": 20}}')
        known = {*(item.name for item in fields(Settings)), "default_options"}
        unknown = sorted(str(name) for name in given if name not in known and name not in _OWN)
        if unknown:
            raise ConfigurationError(
                f"EMBEDQ has unknown keys: {', '.join(unknown)}; there are: {', '.join(sorted({*known, *_OWN}))}"
            )
        atomic, autostart = given.get("atomic", "join"), given.get("autostart", True)
        if atomic not in ATOMIC:
            raise ConfigurationError(f'EMBEDQ["atomic"]={atomic!r} must be one of: {", ".join(ATOMIC)}')
        if not isinstance(autostart, bool):
            raise ConfigurationError(f'EMBEDQ["autostart"]={autostart!r} must be True or False')
        return cls(
            url=given.get("url") or os.environ.get("EMBEDQ_URL") or None,
            database=given.get("database", "default"),
            atomic=atomic,
            autostart=autostart,
            discover=_modules(given.get("discover", DISCOVER)),
            middleware=_callables("middleware", given.get("middleware", ())),
            enqueue_middleware=_callables("enqueue_middleware", given.get("enqueue_middleware", ())),
            fields={**_defaults(), **{name: given[name] for name in given if name in known and name != "url"}},
        )


def _defaults() -> dict[str, Any]:
    """Return the settings that Django determines."""
    # Django is set up in a job process.
    fields: dict[str, Any] = {}
    if not os.environ.get("EMBEDQ_PROCESS_SETUP"):
        fields["process_setup"] = "django:setup"
    if GUARD_MIDDLEWARE in django_settings.MIDDLEWARE and not os.environ.get("EMBEDQ_GUARD"):
        fields["guard"] = True
    if not os.environ.get("EMBEDQ_SECRET_KEY"):
        # Every process of the project has it, on every host. Without one, as where an image is built, only code that
        # needs it raises an error.
        with suppress(ImproperlyConfigured):
            fields["secret_key"] = salted_hmac("embedq", "functions", algorithm="sha256").hexdigest()
    return fields


def _listed(name: str, given: Any) -> tuple[Any, ...]:
    if not isinstance(given, list | tuple):
        raise ConfigurationError(f'EMBEDQ["{name}"]={given!r} must be a list')
    return tuple(given)


def _modules(given: Any) -> tuple[str, ...]:
    for name in _listed("discover", given):
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ConfigurationError(
                f'EMBEDQ["discover"] names {name!r}, which is not a module; write the names of modules in the '
                'installed apps, such as "tasks", or of one module, such as "services.tasks"'
            )
    return tuple(given)


def _callables(name: str, given: Any) -> tuple[Callable[..., Any], ...]:
    found = []
    for item in _listed(name, given):
        try:
            found.append(import_string(item) if isinstance(item, str) else item)
        except ImportError as error:
            raise ConfigurationError(f'EMBEDQ["{name}"] names {item!r}, which cannot be imported: {error}') from error
    return tuple(found)

"""The setting EMBEDQ of a Django project.

EMBEDQ = {
    "workers": 20,                       # any field of embedq.Settings
    "database": "jobs",                  # an alias of DATABASES, instead of "default"
    "atomic": "join",                    # what enqueueing inside atomic() does; see transactions.py
    "autostart": True,                   # run workers where the project serves requests
    "discover": ["jobs", "tasks"],       # modules of the installed apps that declare jobs
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
# Where it is, the guard is on unless EMBEDQ says otherwise.
GUARD_MIDDLEWARE = "embedq.contrib.django.guard_requests"
_OWN = ("atomic", "autostart", "database", "discover", "enqueue_middleware", "middleware")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """What EMBEDQ says.

    Attributes:
        url: of a database that is not in DATABASES; None for the one at `database`.
        database: the alias of the database that holds the jobs, unless `url` says otherwise.
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
        """From the project's settings; the environment's EMBEDQ_URL comes second, as elsewhere.

        Raises:
            ConfigurationError: an unknown key, or a value that cannot work.
        """
        given = getattr(django_settings, "EMBEDQ", None) or {}
        if not isinstance(given, dict):
            raise ConfigurationError(f'EMBEDQ={given!r} must be a dict, such as EMBEDQ = {{"workers": 20}}')
        known = {item.name for item in fields(Settings)}
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
            discover=_listed("discover", given.get("discover", ("jobs", "tasks"))),
            middleware=_callables("middleware", given.get("middleware", ())),
            enqueue_middleware=_callables("enqueue_middleware", given.get("enqueue_middleware", ())),
            fields={**_defaults(), **{name: given[name] for name in given if name in known and name != "url"}},
        )


def _defaults() -> dict[str, Any]:
    """What Django knows already."""
    # A job in a process of its own finds Django set up there.
    fields: dict[str, Any] = {"process_setup": "django:setup"}
    if GUARD_MIDDLEWARE in django_settings.MIDDLEWARE:
        fields["guard"] = True
    if not os.environ.get("EMBEDQ_SECRET_KEY"):
        # Every process of the project has it, on whichever host. A project without one, as where an image is built,
        # is told so only by what needs it.
        with suppress(ImproperlyConfigured):
            fields["secret_key"] = salted_hmac("embedq", "functions", algorithm="sha256").hexdigest()
    return fields


def _listed(name: str, given: Any) -> tuple[Any, ...]:
    if not isinstance(given, list | tuple):
        raise ConfigurationError(f'EMBEDQ["{name}"]={given!r} must be a list')
    return tuple(given)


def _callables(name: str, given: Any) -> tuple[Callable[..., Any], ...]:
    found = []
    for item in _listed(name, given):
        try:
            found.append(import_string(item) if isinstance(item, str) else item)
        except ImportError as error:
            raise ConfigurationError(f'EMBEDQ["{name}"] names {item!r}, which cannot be imported: {error}') from error
    return tuple(found)

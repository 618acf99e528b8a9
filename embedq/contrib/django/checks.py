"""The system checks of embedq, for `manage.py check`."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

from embedq.config import Settings
from embedq.contrib.django.addresses import database_url
from embedq.contrib.django.binding import modules_named
from embedq.contrib.django.conf import DISCOVER, ProjectSettings
from embedq.errors import ConfigurationError
from embedq.tasks.options import parse_defaults


def check_project(**_: Any) -> list[CheckMessage]:
    """E001: EMBEDQ is invalid. W001: SQLite may fail: "database is locked". W003: there is no module to discover."""
    try:
        project = ProjectSettings.read()
        url = project.url or database_url(project.database)
        settings = {**project.fields, "url": url}
        parse_defaults(settings.pop("default_options", None))
        Settings.gather(settings)
    except ConfigurationError as error:
        return [Error(str(error), id="embedq.E001")]
    return [*_check_mode(project), *_check_discover(project)]


def _check_discover(project: ProjectSettings) -> list[CheckMessage]:
    return [
        Warning(
            f'EMBEDQ["discover"] names {name!r}, and no installed app has such a module'
            + (f"; nor is there a module {name}." if "." in name else "."),
            hint="Write the name of a module in the apps, or the full name of one module as it is imported.",
            id="embedq.W003",
        )
        for name in project.discover
        if name not in DISCOVER and not modules_named(name)
    ]


def _check_mode(project: ProjectSettings) -> list[CheckMessage]:
    if project.url is None and connections[project.database].vendor == "sqlite":
        options = connections.settings[project.database].get("OPTIONS") or {}
        if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
            return [
                Warning(
                    f"DATABASES[{project.database!r}] begins its transactions in SQLite's deferred mode. One that "
                    'reads before it writes then fails with "database is locked" whenever another thread, such as a '
                    "worker, has written in between.",
                    hint='Set "OPTIONS": {"transaction_mode": "IMMEDIATE"} there, or give jobs a file of their own: '
                    'EMBEDQ = {"url": "sqlite:////var/lib/shop/jobs.db"}.',
                    id="embedq.W001",
                )
            ]
    return []
